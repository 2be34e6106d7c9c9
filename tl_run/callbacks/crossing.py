"""What a test of two merged datasets says of their names, as a table and a picture in the run's folder."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from tl_modules.union import UnionScores
from tl_run.folder import first_process, write_whole
from tl_run.report import crossing, pictures


class UnionTables(Callback):
    """Write which names of one dataset are predicted on the samples of the other, where two are merged.

    Args:
        folder: Where it is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the table and the picture, if the module's kind of task has such a table."""
        scores = getattr(pl_module, "union_scores", None)
        if isinstance(scores, UnionScores) and scores.confusion and first_process():
            tables = crossing.crossed(scores.confusion, scores.tasks, scores.labels)
            write_whole(self.folder / crossing.TABLE, crossing.as_csv(tables).encode())
            if len(scores.labels) <= crossing.MOST_DRAWN:
                pictures.crossed(tables, self.folder / crossing.PICTURE)
