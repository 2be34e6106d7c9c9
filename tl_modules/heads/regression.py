"""One number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanAbsoluteError, Metric
from torchmetrics.utilities import dim_zero_cat

from tl_modules.heads import drawing
from tl_modules.heads.base import Batch, Defined, Judged, VectorHead
from tl_modules.processes import mean

TOLD, SAME = 1e-6, 1e-12  # a deviation beside the largest value, from which on float32 and float64 can tell


class DefinedR2(Metric):
    """R² where it is defined: two values or more, not all equal.

    Predictions and values are kept, and the sums are of their distances to the mean, in float64: a difference of two
    sums of squares would cancel where the values are far from zero.
    """

    full_state_update = False
    predicted: list[Tensor]
    values: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("predicted", [], dist_reduce_fx="cat")
        self.add_state("values", [], dist_reduce_fx="cat")

    def update(self, predicted: Tensor, values: Tensor) -> None:
        """Add predictions and true values, `(B,)` each."""
        self.predicted.append(predicted.detach())
        self.values.append(values.detach())

    def compute(self) -> Tensor:
        """Return R², or NaN."""
        predicted, values = (dim_zero_cat(one).double().cpu() for one in (self.predicted, self.values))
        spread = (values - values.mean()).square().sum() if len(values) > 1 else torch.zeros(())
        if float(spread) == 0:
            return torch.tensor(float("nan"), device=self.device)
        return (1 - (predicted - values).square().sum() / spread).float().to(self.device)


class Regression(VectorHead):
    """A linear output in units of the training targets' mean and standard deviation; mean absolute error and R².

    The loss is in these units, so that it is the same whatever the targets' own; predictions and metrics are in the
    targets' own. Until `fit_targets` is called the mean is 0 and the deviation 1. Both are buffers: they are saved,
    resumed, planted and exported with the head.

    Args:
        dim: Length of the pooled features.
        channels: Channels of the maps; not used.
        strides: Strides of the maps; not used.
        labels: None; a regression task has no names.
        key: The batch's field with values `(B,)`.
    """

    kind: ClassVar[str] = "regression"
    field: ClassVar[str] = "value"
    has_labels: ClassVar[bool] = False
    monitor: ClassVar[str] = "mae"
    mode: ClassVar[str] = "min"
    directions: ClassVar[Mapping[str, str]] = {"mae": "min", "r2": "max"}

    def __init__(
        self, dim: int, channels: Sequence[int], strides: Sequence[int], labels: Sequence[str] = (), key: str = "value"
    ) -> None:
        super().__init__(dim, 1, labels, key)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def upgraded(self, state: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
        """Return a state dict with the units of an older one, whose head learned in its targets' own.

        Args:
            state: The state dict.
            prefix: What the head's names begin with in it.
        """
        if f"{prefix}linear.weight" not in state:
            return dict(state)
        units = (("mean", 0.0), ("std", 1.0), ("count", 1))
        return {**{f"{prefix}{name}": self.get_buffer(name).new_tensor(value) for name, value in units}, **state}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(self.upgraded(state_dict, prefix), prefix, *args)

    def wants_targets(self) -> bool:
        """Tell whether mean and standard deviation are still unknown."""
        return int(self.get_buffer("count")) == 0

    @torch.no_grad()
    def fit_targets(self, values: Tensor) -> None:
        """Set mean and standard deviation from the training targets `(N,)`; what is not finite is left out.

        Raises:
            ValueError: If they differ by less than float32 can tell beside their size.
        """
        values = values.detach().double().cpu().flatten()
        values = values[torch.isfinite(values)]
        if len(values) == 0:
            return
        mean, std = values.mean(), values.std(correction=0)
        largest = values.abs().max()
        constant = std <= TOLD * largest
        if constant and std > SAME * largest:
            spread = f"a standard deviation of {float(std):.3g} around {float(mean):.6g}"
            raise ValueError(
                f"{self.key}: its training targets have {spread}, too little for float32; subtract an offset"
            )
        self.get_buffer("mean").copy_(mean)
        self.get_buffer("std").copy_(torch.ones_like(std) if constant else std)
        self.get_buffer("count").fill_(len(values))

    @classmethod
    def check(cls, batch: Batch, key: str, labels: Sequence[str]) -> None:
        """Refuse values that are not one number per sample.

        Raises:
            ValueError: If they have another shape.
        """
        target = torch.as_tensor(batch[key])
        if target.ndim != 1 and target.shape[1:] != (1,):
            raise ValueError(f"{key} must be one number per sample, (B,), not {tuple(target.shape)}")

    def restrict(self, outputs: Tensor, annotated: Tensor) -> Tensor:
        """Return the outputs: there are no names to rule out."""
        return outputs

    @classmethod
    def to_union(cls, batch: Batch, key: str, columns: Tensor, count: int) -> dict[str, Any]:
        """Return the values as they are: there are no names."""
        return {key: batch[key]}

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the mean smooth absolute error (Huber 1964 with threshold 1) in standard deviations."""
        target = (self.targets(batch) - self.get_buffer("mean")) / self.get_buffer("std")
        return mean(F.smooth_l1_loss(outputs[:, 0], target, reduction="sum"), len(target))

    def predict(self, outputs: Tensor) -> Tensor:
        """Return values `(B,)` in the targets' own units."""
        return outputs[:, 0] * self.get_buffer("std") + self.get_buffer("mean")

    def targets(self, batch: Batch) -> Tensor:
        """Return the true values `(B,)`; a column `(B, 1)` of them is taken for such."""
        target: Tensor = batch[self.key].float()
        return target.flatten()

    def metrics(self, labels: Sequence[str]) -> Defined:
        """Return mean absolute error and R²."""
        return Defined({"mae": MeanAbsoluteError(), "r2": DefinedR2()}, compute_groups=False)  # type: ignore[dict-item]

    def named(self, predictions: Tensor, labels: Sequence[str]) -> list[dict[str, Any]]:
        """Return `value` per sample."""
        return [{"value": value} for value in predictions.tolist()]

    def judged(self, predictions: Tensor, targets: Tensor, labels: Sequence[str]) -> list[Judged]:
        """Return the values, and the absolute error below zero."""
        pairs = zip(targets.tolist(), predictions.tolist(), strict=True)
        return [Judged(truth, value, None, -abs(truth - value)) for truth, value in pairs]

    def drawn(self, predictions: Tensor, labels: Sequence[str]) -> list[Any]:
        """Return the values."""
        return list(predictions.cpu())

    @classmethod
    def draw(cls, axis: Any, target: Any, labels: Sequence[str], truth: Any = None) -> None:
        """Write the value; a prediction agrees that is less than one half away."""
        agrees = None if truth is None else abs(float(target) - float(truth)) < 0.5
        drawing.title(axis, f"{float(target):.2f}".rstrip("0").rstrip("."), agrees)
