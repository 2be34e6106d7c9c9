"""When a stage is validated, and which of its checkpoints is kept as the best."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

NEVER = sys.maxsize  # not infinity: Lightning then validates at each epoch's end


def validation_steps(steps: int, validations: int) -> list[int]:
    """Return the optimiser steps after which a stage is validated: fixed fractions of it and its end.

    Args:
        steps: Optimiser steps of the stage.
        validations: How many are wanted; a stage with fewer steps is validated after each.
    """
    count = min(steps, validations)
    return [round(k * steps / count) for k in range(1, count + 1)]


class ValidateAt(Callback):
    """Validate after some optimiser steps; Lightning's own interval is constant.

    Args:
        steps: Which, counted from the stage's start.
        accumulate: Batches per optimiser step; an epoch is a whole number of these.
    """

    def __init__(self, steps: Sequence[int], accumulate: int = 1) -> None:
        self.due = {step * accumulate for step in steps}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set whether the batch behind was followed by a validation; a resumed run asks for it."""
        batches = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        trainer.val_check_batch = batches if batches in self.due else NEVER

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Set whether this batch is followed by a validation, which Lightning decides right after."""
        self.on_train_start(trainer, pl_module)


def with_score(trainer: Trainer, monitor: str) -> None:
    """Let a score that is undefined on the validation set count as no number; to Lightning one that is absent is wrong.

    Args:
        trainer: Has just validated.
        monitor: The score's name.
    """
    trainer.callback_metrics.setdefault(monitor, torch.tensor(math.nan))


class BestCheckpoint(ModelCheckpoint):
    """Keep the checkpoint with the best score; of equal ones that with the lower validation loss, then the later.

    A score that is not a number never wins. What was the best is remembered with its score wherever the folder is.

    Args:
        dirpath: The folder.
        monitor: The score's name.
        mode: `max` or `min`.
        loss: The name of the validation loss.
    """

    def __init__(self, dirpath: Path, monitor: str, mode: str, loss: str) -> None:
        names: dict[str, Any] = {"filename": "best", "enable_version_counter": False, "auto_insert_metric_name": False}
        super().__init__(dirpath, monitor=monitor, mode=mode, save_top_k=1, save_on_train_epoch_end=False, **names)
        self.loss, self.best_loss = loss, math.inf

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if this is the best; a score that is undefined on the validation set counts as no number."""
        with_score(trainer, str(self.monitor))
        super().on_validation_end(trainer, pl_module)

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Tell whether the current checkpoint becomes the best, and remember its loss.

        Args:
            trainer: Knows the validation loss.
            current: The score.
        """
        loss = float(trainer.callback_metrics.get(self.loss, math.inf))
        loss = math.inf if math.isnan(loss) else loss
        wins = trainer.strategy.reduce_boolean_decision(self._wins(current, loss))
        self.best_loss = loss if wins else self.best_loss
        return wins

    def _wins(self, current: Tensor | None, loss: float) -> bool:
        if current is None or math.isnan(score := float(current)):
            return False
        if self.best_model_score is None:
            return True
        best = float(self.best_model_score)
        if score == best:
            return loss <= self.best_loss
        return score > best if self.mode == "max" else score < best

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {**super().state_dict(), "best_loss": self.best_loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the best so far, which lies in this folder even where that was moved."""
        score, path = state_dict["best_model_score"], self.format_checkpoint_name({})
        if score is not None:
            self.best_model_score = self.kth_value = score
            self.best_model_path = self.kth_best_model_path = path
            self.best_k_models = {path: score}
        self.best_loss = state_dict["best_loss"]
