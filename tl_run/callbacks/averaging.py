"""Averages of a stage's weights, over its last steps or over all with the later ones counting more."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class AveragedWeights(WeightAveraging):
    """Average the weights, and the running statistics, of a stage's last steps (Izmailov et al. 2018).

    Validation and checkpoints have the average. Lightning's own `StochasticWeightAveraging` counts epochs and puts the
    average in place at the end of a fit, after the last checkpoint, so that here it would have no effect.

    Args:
        start: The fraction of the stage's steps from which on they are averaged.

    Raises:
        ValueError: If the fraction is out of range.
    """

    def __init__(self, start: float = 0.75) -> None:
        if not 0 <= start < 1:
            raise ValueError(f"start={start}: must be at least 0 and less than 1")
        super().__init__()
        self.start = start

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Tell that each step counts."""
        return step_idx is not None

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Add the step's weights; before the start they alone are the average."""
        steps = trainer.max_steps if trainer.max_steps > 0 else trainer.estimated_stepping_batches
        if self._average_model is not None and trainer.global_step <= self.start * steps:
            self._average_model.n_averaged.zero_()
        super().on_train_batch_end(trainer, pl_module, *args)


class MovingAverage(WeightAveraging):
    """Exponential moving average of the weights, and the running statistics (Polyak and Juditsky 1992).

    Validation and checkpoints have the average. Its decay rises to `decay` as `(1 + steps) / (10 + steps)`, so that in
    a short stage the first weights are forgotten too; and what does not move, as a frozen part, stays to the bit. With
    Lightning's own `EMAWeightAveraging` neither is so.

    Args:
        decay: Weight of the average against the step's weights, a fraction.

    Raises:
        ValueError: If the fraction is out of range.
    """

    def __init__(self, decay: float = 0.99) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"decay={decay}: must be above 0 and less than 1")
        super().__init__(avg_fn=self.mixed)
        self.decay = decay

    def mixed(self, average: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
        """Return the average with a step's tensor; of whole numbers the step's.

        Args:
            average: The average so far.
            current: The step's.
            steps: How many steps are in the average.
        """
        if not average.is_floating_point():
            return current
        decay = min(self.decay, (1 + float(steps)) / (10 + float(steps)))
        return torch.lerp(average, current, 1 - decay)
