"""Progress of a stage on the terminal, or a line per validation where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class StageProgress(Callback):
    """Show a stage's name, epoch, step and watched metric.

    Args:
        stage: The stage's name.
        monitor: The metric it is watched by, such as `val/target/accuracy`.
        steps: Optimiser steps of the stage.
        passes: Tells the passes so far through the training set of the role that it is watched by.
    """

    def __init__(self, stage: str, monitor: str, steps: int, passes: Callable[[], float]) -> None:
        self.stage, self.monitor, self.steps, self.passes = stage, monitor, steps, passes
        self.live = sys.stderr.isatty()
        columns = ("[bold]{task.description}", "epoch {task.fields[epoch]}", "step {task.completed}/{task.total}")
        watched = "{task.fields[watched]}"
        self.bar = Progress(
            *(TextColumn(text) for text in columns),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn(watched),
            console=Console(stderr=True),
        )
        self.watched = ""

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start the clock and the bar."""
        self.began, self.first = time.perf_counter(), trainer.global_step
        if self.live and trainer.is_global_zero:
            self.task = self.bar.add_task(self.stage, total=self.steps, epoch=f"{self.passes():.1f}", watched="")
            self.bar.start()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Move the bar."""
        if self.live and trainer.is_global_zero:
            values = {"epoch": f"{self.passes():.1f}", "watched": self.watched}
            self.bar.update(self.task, completed=trainer.global_step, **values)  # type: ignore[arg-type]

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Take the watched metric; without a terminal print a line."""
        value = trainer.callback_metrics.get(self.monitor)
        self.watched = "" if value is None else f"{self.monitor} {float(value):.4f}"
        if not self.live and trainer.is_global_zero and trainer.state.fn == "fit":
            done = trainer.global_step - self.first
            left = (time.perf_counter() - self.began) / max(done, 1) * (self.steps - trainer.global_step)
            where = f"epoch {self.passes():.1f}  step {trainer.global_step}/{self.steps}"
            print(f"{self.stage}  {where}  {self.watched}  {left:.0f} s left", file=sys.stderr, flush=True)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Leave the bar as it stands."""
        self.bar.stop()

    def on_exception(self, trainer: Trainer, *_: Any) -> None:
        """Give the terminal back."""
        self.bar.stop()
