"""Checkpoints of a stage: after each validation, by the clock, and when the run is asked to stop."""

from __future__ import annotations

import math
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from tl_run.callbacks.choosing import NEVER, with_score
from tl_run.folder import first_process
from tl_run.journal import Journal
from tl_run.stopping import Interrupted, Stopping


class Checkpoints(Checkpoint):
    """Save a stage so that a kill at any moment loses little, and remember which checkpoint is the best.

    The best has the best score; of equal ones it is that with the lower validation loss, then the later. A score that
    is not a number never wins. Each checkpoint is a file of its own, which the journal names with its checksum.

    Args:
        journal: The run's journal.
        stage: The stage's name.
        monitor: The score's name.
        mode: `max` or `min`.
        stopping: Tells whether the run is asked to stop.
        minutes: The longest time without a checkpoint; None for those after validations alone.
    """

    def __init__(
        self, journal: Journal, stage: str, monitor: str, mode: str, stopping: Stopping, minutes: float | None
    ) -> None:
        self.journal, self.stage, self.monitor, self.mode = journal, stage, monitor, mode
        self.loss = f"{monitor.rpartition('/')[0]}/loss"
        self.stopping, self.minutes = stopping, minutes
        self.best: dict[str, Any] | None = None  # step, score and loss
        self.files: dict[int, str] = {}
        self.seen, self.saved_at = 0, time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals from Lightning, which ends a run without saving, and start the clock."""
        self.seen, self.saved_at = trainer.global_step, time.monotonic()
        self.stopping.take()
        self.stopping.training = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A signal that comes from here on ends the run at once: all is saved."""
        self.stopping.training = False
        self.leave_if_asked(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop listening between steps."""
        self.stopping.training = False

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Save at an optimiser step's end if it is time, or the run is asked to stop; a validation saves anyway."""
        if trainer.global_step == self.seen:
            return
        self.seen = trainer.global_step
        followed = trainer.val_check_batch != NEVER or self.seen >= trainer.max_steps > 0
        asked = self._agreed(trainer, self.stopping.asked is not None)
        late = self.minutes is not None and time.monotonic() - self.saved_at >= 60 * self.minutes
        if not followed and (asked or self._agreed(trainer, late)):
            self._write_row(trainer)
            self.save(trainer)
            self.leave_if_asked(trainer, asked)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, and note whether this is the best; a score that is undefined counts as no number."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        with_score(trainer, self.monitor)
        score = float(trainer.callback_metrics[self.monitor])
        loss = float(trainer.callback_metrics.get(self.loss, math.inf))
        loss = math.inf if math.isnan(loss) else loss
        if trainer.strategy.reduce_boolean_decision(self._wins(score, loss)):
            self.best = {"step": trainer.global_step, "score": score, "loss": loss}
        self.save(trainer)
        if self.seen < trainer.max_steps or trainer.max_steps < 0:
            self.leave_if_asked(trainer, self._agreed(trainer, self.stopping.asked is not None))

    def _wins(self, score: float, loss: float) -> bool:
        if math.isnan(score):
            return False
        if self.best is None:
            return True
        if score == self.best["score"]:
            return loss <= float(self.best["loss"])
        return bool(score > self.best["score"] if self.mode == "max" else score < self.best["score"])

    @staticmethod
    def _agreed(trainer: Trainer, one: bool) -> bool:
        """Return what any process says, the same for all."""
        return bool(trainer.strategy.reduce_boolean_decision(one, all=False)) if trainer.world_size > 1 else one

    @staticmethod
    def _write_row(trainer: Trainer) -> None:
        """Write what was logged in the step before it is saved: Lightning does so only after this hook."""
        trainer._logger_connector.update_train_step_metrics()

    def save(self, trainer: Trainer) -> None:
        """Save the current step as a generation."""
        step = trainer.global_step
        name = f"step-{step:08d}.ckpt"
        trainer.save_checkpoint(self.journal.place(self.stage) / name)
        self.files[step] = name
        files = {self.files[one]: None for one in (step, *([self.best["step"]] if self.best else []))}
        if first_process():
            known = {
                file: digest
                for one in self.journal.stage(self.stage)["checkpoints"]
                for file, digest in one["files"].items()
            }
            written = getattr(trainer.strategy.checkpoint_io, "digests", {})
            files = {file: written.get(file, known.get(file)) for file in files}
            best = {key: value if math.isfinite(value) else None for key, value in (self.best or {}).items()}
            generation = {"step": step, "file": name, "best": best or None, "files": files}
            self.journal.add(self.stage, {**generation, "metrics": self.journal.metrics()})
        self.saved_at = time.monotonic()

    def leave_if_asked(self, trainer: Trainer, asked: bool | None = None) -> None:
        """End the run if it is asked to stop.

        Raises:
            Interrupted: If it is.
        """
        if self.stopping.asked is not None if asked is None else asked:
            raise Interrupted(self.stopping.asked or "SIGTERM", trainer.global_step, self.stage)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the best so far; its file lies beside the one that is loaded."""
        self.best = state_dict["best"]
        if self.best is not None:
            self.files[self.best["step"]] = f"step-{self.best['step']:08d}.ckpt"
