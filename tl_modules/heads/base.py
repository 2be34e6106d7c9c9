"""What every head is: from features to one task's outputs, with its loss, metrics and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from tl_modules.features import Features

Batch = Mapping[str, Any]
NEVER = -1e4


class Head(nn.Module):
    """A head for one kind of task; subclasses say the rest.

    Outputs of the basic kind are logits with the names in dimension 1.

    Args:
        labels: The names, in the order of the outputs.
        key: The field of a batch that holds the targets.
    """

    kind: ClassVar[str]
    monitor: ClassVar[str]
    mode: ClassVar[str] = "max"
    directions: ClassVar[Mapping[str, str]] = {}  # by metric, `max` or `min`; `monitor` with `mode` where empty
    needs_maps: ClassVar[bool] = False
    rows: ClassVar[tuple[str, ...]] = ()  # tensors with a row per label, in the labels' order

    def __init__(self, labels: Sequence[str], key: str) -> None:
        super().__init__()
        self.labels, self.key = list(labels), key

    def restrict(self, outputs: Any, annotated: Tensor) -> Any:
        """Rule out, for each sample, the names that its dataset does not annotate.

        Args:
            outputs: Raw outputs.
            annotated: `(B, K)`, true where a name is annotated.

        Returns:
            The outputs with those logits at a large negative constant, so that no gradient reaches them.
        """
        shape = annotated.shape + (1,) * (outputs.ndim - 2)
        return outputs.masked_fill(~annotated.view(shape), NEVER)

    def select(self, outputs: Any, columns: Sequence[int]) -> Any:
        """Return the outputs of some names, in their order."""
        return outputs[:, torch.as_tensor(columns, device=outputs.device)]

    def upgraded(self, state: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
        """Return a head of this kind's state dict with what an older version did not write; by default as it is.

        Args:
            state: The state dict.
            prefix: What the head's names begin with in it.
        """
        return dict(state)

    def wants_targets(self) -> bool:
        """Tell whether `fit_targets` is to be called before the head learns; by default it is not."""
        return False

    def fit_targets(self, values: Tensor) -> None:
        """Take what the head has to know of its training targets; by default nothing.

        Args:
            values: The targets of all training samples, `(N, ...)`.
        """

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the mean loss of a batch's targets, a scalar; exactly zero, tied to the outputs, without any."""
        raise TypeError(f"{type(self).__name__} has no loss")

    def predict(self, outputs: Any) -> Any:
        """Return predictions as `metrics` compares them."""
        raise TypeError(f"{type(self).__name__} has no predictions")

    def tensors(self, outputs: Any) -> Any:
        """Return predictions as tensors whose shapes do not depend on their values, for export."""
        return self.predict(outputs)

    def targets(self, batch: Batch) -> Any:
        """Return what `metrics` compares predictions with."""
        return batch[self.key]

    def metrics(self, labels: Sequence[str]) -> Metric | MetricCollection:
        """Return the metrics over a label space; they compute a dict of scalars."""
        raise TypeError(f"{type(self).__name__} has no metrics")

    def reported(self, labels: Sequence[str]) -> dict[str, str]:
        """Return the metrics over a label space that a checkpoint can be chosen by, each with `max` or `min`."""
        return {self.monitor: self.mode, **self.directions}

    def named(self, predictions: Any, labels: Sequence[str]) -> list[dict[str, Any]]:
        """Return predictions as plain values with label names, a dict a sample."""
        raise TypeError(f"{type(self).__name__} has no names")


class Defined(MetricCollection):
    """A collection that leaves out what is undefined (NaN, or torchmetrics' -1) instead of reporting it as a number."""

    def compute(self) -> dict[str, Tensor]:
        """Return the metrics that are defined."""
        return {name: value for name, value in super().compute().items() if bool(torch.isfinite(value))}


class VectorHead(Head):
    """A linear layer on the pooled features.

    Args:
        dim: Length of the pooled features.
        outputs: Number of outputs.
        labels: The names.
        key: The targets' field.
    """

    def __init__(self, dim: int, outputs: int, labels: Sequence[str], key: str) -> None:
        super().__init__(labels, key)
        self.linear = nn.Linear(dim, outputs)

    def forward(self, features: Features) -> Tensor:
        """Return `(B, outputs)` as float32."""
        logits: Tensor = self.linear(features.pooled)
        return logits.float()
