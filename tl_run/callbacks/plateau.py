"""Training until nothing gets better."""

from __future__ import annotations

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from tl_run.callbacks.choosing import with_score


class Plateau(EarlyStopping):
    """End a stage when its selection metric was not better in so many validations, one after the other.

    A run that was killed after the last of these, before its stage was over, ends there too.

    Args:
        monitor: The metric, such as `val/target/accuracy`.
        mode: `max` or `min`.
        patience: Validations without a better value.
    """

    def __init__(self, monitor: str, mode: str, patience: int) -> None:
        super().__init__(monitor, patience=patience, mode=mode, check_finite=False, check_on_train_epoch_end=False)

    @property
    def reached(self) -> bool:
        """Whether the stage is at its end."""
        return self.wait_count >= self.patience

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stay at the end where the checkpoint was written there: Lightning does not restore `should_stop`."""
        super().on_train_start(trainer, pl_module)
        trainer.should_stop = trainer.should_stop or self.reached

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count a validation where the metric is undefined as one without a better value."""
        with_score(trainer, self.monitor)
        super().on_validation_end(trainer, pl_module)

    def says(self) -> str:
        """Return why the stage ended."""
        return f"no better {self.monitor} in {self.patience} validations" if self.reached else "all steps"
