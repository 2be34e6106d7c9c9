"""Stochastic weight averaging over a stage's steps."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging


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
