"""One number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanAbsoluteError, R2Score

from tl_modules.heads.base import Batch, Defined, VectorHead


class DefinedR2(R2Score):
    """R² where it is defined: two values or more, not all equal."""

    def compute(self) -> Tensor:
        """Return R², or NaN."""
        spread = self.sum_squared_error - self.sum_error**2 / self.total.clamp(min=1)
        if int(self.total) < 2 or float(spread.sum()) <= 1e-12:
            return torch.tensor(float("nan"), device=self.total.device)
        return super().compute()


class Regression(VectorHead):
    """A linear output; mean absolute error and R².

    Args:
        dim: Length of the pooled features.
        channels: Channels of the maps; not used.
        strides: Strides of the maps; not used.
        labels: None; a regression task has no names.
        key: The batch's field with values `(B,)`.
    """

    kind: ClassVar[str] = "regression"
    monitor: ClassVar[str] = "mae"
    mode: ClassVar[str] = "min"
    directions: ClassVar[Mapping[str, str]] = {"mae": "min", "r2": "max"}

    def __init__(
        self, dim: int, channels: Sequence[int], strides: Sequence[int], labels: Sequence[str] = (), key: str = "value"
    ) -> None:
        super().__init__(dim, 1, labels, key)

    def restrict(self, outputs: Tensor, annotated: Tensor) -> Tensor:
        """Return the outputs: there are no names to rule out."""
        return outputs

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the mean smooth absolute error (Huber 1964 with threshold 1)."""
        target = batch[self.key].float()
        return F.smooth_l1_loss(outputs[:, 0], target) if len(target) else outputs.sum() * 0

    def predict(self, outputs: Tensor) -> Tensor:
        """Return values `(B,)`."""
        return outputs[:, 0]

    def targets(self, batch: Batch) -> Tensor:
        """Return the true values `(B,)`."""
        target: Tensor = batch[self.key].float()
        return target

    def metrics(self, labels: Sequence[str]) -> Defined:
        """Return mean absolute error and R²."""
        return Defined({"mae": MeanAbsoluteError(), "r2": DefinedR2()}, compute_groups=False)  # type: ignore[dict-item]

    def named(self, predictions: Tensor, labels: Sequence[str]) -> list[dict[str, Any]]:
        """Return `value` a sample."""
        return [{"value": value} for value in predictions.tolist()]
