"""What a Trainer writes into a run's folder: checkpoints that are whole or absent, and metrics that survive a kill."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only

from tl_modules.weights.runs import digest_of
from tl_run.folder import FIELDS, first_process, read_metrics, write_whole


class CheckpointFiles(TorchCheckpointIO):
    """Write checkpoints so that a kill never leaves half of one, and remember their checksums by file name."""

    def __init__(self) -> None:
        super().__init__()
        self.digests: dict[str, str] = {}

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Save to a temporary file, sync it and rename it."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_whole(Path(path), buffer.getvalue())
        self.digests[Path(path).name] = digest_of(buffer.getvalue())


class MetricsFile(Logger):
    """Append every logged number to `metrics.csv`, one a row.

    Args:
        path: The file.
        stage: The stage's name.
        keep_until: On resume, the optimiser step of the checkpoint: later rows of the stage are cut.
        earlier: The stages before it, whose rows stay.
    """

    def __init__(self, path: Path, stage: str, keep_until: int = 0, earlier: Collection[str] = ()) -> None:
        super().__init__()
        self.path, self.stage = path, stage
        self._last: tuple[int | None, set[str]] | None = None
        if first_process():
            rows = read_metrics(path)
            own = [row for row in rows if row["stage"] == stage and int(row["step"]) < keep_until]
            kept = [row for row in rows if row["stage"] in earlier] + own
            text = io.StringIO()
            writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(kept)
            write_whole(path, text.getvalue().encode())

    @property
    def name(self) -> str:
        """The logger's name."""
        return "metrics"

    @property
    def version(self) -> str:
        """The stage."""
        return self.stage

    @property
    @rank_zero_experiment
    def experiment(self) -> None:
        """There is no experiment object."""

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Leave hyperparameters to `config.yaml` and the checkpoints."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append the numbers of one step; what is saved in the middle of one is written before, and comes again."""
        if self._last == (step, set(metrics)):
            return
        self._last = step, set(metrics)
        rows = [(self.stage, step, name, repr(float(value))) for name, value in metrics.items() if name != "epoch"]
        with open(self.path, "a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
