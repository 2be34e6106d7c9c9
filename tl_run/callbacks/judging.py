"""What a test says of each sample."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from tl_modules.heads import Judged
from tl_run.folder import first_process, write_whole

COLUMNS = ("id", *Judged._fields)


class SampleTables(Callback):
    """Write `test.csv`, and `test_source.csv` where the source is tested too: a row per sample.

    Its columns are the sample's id and what its head says of it: truth, prediction, score, and how right it is.

    Args:
        folder: Where they are written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[str, list[tuple[Any, ...]]] = {}

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        """Keep what is said of a batch's samples."""
        for role, judged in (outputs or {}).items():
            self.rows.setdefault(role, []).extend((name, *one) for name, one in judged)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the tables of the roles whose heads say something."""
        for role, rows in self.rows.items():
            if rows and first_process():
                text = io.StringIO()
                writer = csv.writer(text, lineterminator="\n")
                writer.writerows([COLUMNS, *rows])
                write_whole(self.folder / test_table(role), text.getvalue().encode())


def test_table(role: str) -> str:
    """Return the name of a role's file."""
    return "test.csv" if role == "target" else f"test_{role}.csv"
