"""When a stage is validated."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

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
