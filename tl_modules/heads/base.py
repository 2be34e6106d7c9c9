"""What every head is: from features to one task's outputs, with its loss, metrics and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from tl_modules.features import Features
from tl_modules.heads import drawing

Batch = Mapping[str, Any]
NEVER = -1e4


class Placement(NamedTuple):
    """Where a picture's file lies in the image that was made of it: pixel (x, y) is at `scale * (x, y) + offset`.

    Args:
        scale: Pixels of the image per pixel of the file.
        offset: Where the file's left upper corner lies, (x, y) in pixels.
        size: Height and width of the file's picture in pixels.
    """

    scale: float = 1.0
    offset: tuple[int, int] = (0, 0)
    size: tuple[int, int] = (0, 0)


class Judged(NamedTuple):
    """One sample of a test: what is true, what was predicted, and how right that is.

    Args:
        truth: The target in words, or as a number; None where it does not fit in a cell of a table.
        prediction: The same of the prediction.
        score: The probability that the prediction was given; None where the head gives none.
        right: How right it is, higher is better: 1 or 0, a share, or an error below zero.
    """

    truth: str | float | None
    prediction: str | float | None
    score: float | None
    right: float


class Head(nn.Module):
    """A head for one kind of task, which nothing else knows: loss, metrics, predictions, merging and drawing.

    Outputs of the basic kind are logits with the names in dimension 1. A subclass says `kind`, `monitor`, `forward`,
    `loss`, `predict`, `metrics` and `named`; merging needs `to_union` too, and `drawn` shows more than a line of text.

    Args:
        labels: The names, in the order of the outputs.
        key: The field of a batch that holds the targets.

    Example:
        >>> import torch
        >>> from tl_modules.heads import HEADS
        >>> head = HEADS["classification"](8, [], [], ["a", "b"])
        >>> head.predict(torch.zeros(1, 2))
        tensor([[0.5000, 0.5000]])
    """

    kind: ClassVar[str]
    monitor: ClassVar[str]
    mode: ClassVar[str] = "max"
    directions: ClassVar[Mapping[str, str]] = {}  # by metric, `max` or `min`; `monitor` with `mode` where empty
    field: ClassVar[str] = ""  # of a sample, that holds the target; the kind's name where empty
    has_labels: ClassVar[bool] = True
    one_label: ClassVar[bool] = False  # whether each sample has exactly one, so that splits keep the proportions
    needs_maps: ClassVar[bool] = False
    in_place: ClassVar[bool] = False  # whether predictions lie in the picture, so that all of it has to be seen
    rows: ClassVar[tuple[str, ...]] = ()  # tensors with a row per label, in the labels' order

    def __init__(self, labels: Sequence[str], key: str) -> None:
        super().__init__()
        self.labels, self.key = list(labels), key

    def restrict(self, outputs: Any, annotated: Tensor) -> Any:
        """Rule out, for each sample, the names that its dataset does not annotate.

        Where only a part of a sample has a name, and that part no other one, it is for `loss` to tell them apart.

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

    @classmethod
    def beside(cls, key: str) -> tuple[str, ...]:
        """Return a batch's fields that go with the targets' own, by default none.

        Args:
            key: The targets' field.
        """
        return ()

    @classmethod
    def of_pair(cls, target: Any, key: str, labels: Sequence[str], where: str) -> dict[str, Any]:
        """Return the second of a pair `(image, target)` as a sample's fields.

        Args:
            target: The target.
            key: The targets' field.
            labels: The task's names.
            where: The sample, for errors.
        """
        return {key: target}

    @classmethod
    def check(cls, batch: Batch, key: str, labels: Sequence[str]) -> None:
        """Refuse targets of a batch that mean nothing; by default all are in order.

        Args:
            batch: A batch; `id` names its samples.
            key: The targets' field.
            labels: The task's names.
        """

    @staticmethod
    def sample_of(batch: Batch, key: str, row: int) -> str:
        """Return which sample a row of a batch's targets is of, for errors: its id, or its place.

        Args:
            batch: The batch.
            key: The targets' field.
            row: The row.
        """
        row = int(batch[f"{key}_rows"][row]) if f"{key}_rows" in batch else row
        return str(batch["id"][row] if "id" in batch else row)

    @classmethod
    def merges(cls) -> bool:
        """Tell whether this kind says how targets are merged."""
        return cls.to_union.__func__ is not Head.to_union.__func__  # type: ignore[attr-defined]

    @classmethod
    def to_union(cls, batch: Batch, key: str, columns: Tensor, count: int) -> dict[str, Any]:
        """Return a batch's targets and what is beside them in the label space of several datasets.

        Args:
            batch: A batch with targets.
            key: The targets' field.
            columns: The index in the union of each of the batch's own names, int64; several may have one, and -1 is
                a name that is dropped: its boxes are left out, its pixels ignored. No sample's one label is dropped.
            count: Names of the union.

        Raises:
            ValueError: If this kind does not say how.
        """
        raise ValueError(f"{cls.__name__} does not say how its targets are merged: it has no to_union")

    @classmethod
    def no_targets(cls, key: str, labels: Sequence[str], size: tuple[int, int] | None) -> dict[str, Any]:
        """Return the targets of no sample as a batch holds them, by default `(0,)`.

        Args:
            key: Their field.
            labels: The names.
            size: Height and width of the images in pixels, if there are any.
        """
        return {key: torch.zeros(0)}

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the mean loss of a batch's targets, a scalar; exactly zero, tied to the outputs, without any.

        Where several processes train, each has its part of the batch: `processes.mean` and `processes.total` make the
        mean that of the whole.
        """
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

    def judgeable(self, predictions: Any, targets: Any, known: Tensor, labels: Sequence[str]) -> tuple[Any, Any]:
        """Return predictions and targets of a dataset that does not annotate all names, without what it cannot tell.

        By default all can be told: a sample that has one name has no other.

        Args:
            predictions: What `predict` returned, over all names.
            targets: What `targets` returned.
            known: Which names it annotates, `(K,)`.
            labels: All names.
        """
        return predictions, targets

    def confused(self, predictions: Any, targets: Any, labels: Sequence[str]) -> Tensor | None:
        """Return how often each name was predicted where each is true; None for a kind that has no such table.

        Args:
            predictions: What `predict` returned.
            targets: What `targets` returned for the same samples.
            labels: The names.

        Returns:
            int64 `(K + 1, K + 1)`, a row per true name and a column per predicted one; the last of both is for nothing.
        """
        return None

    def reported(self, labels: Sequence[str]) -> dict[str, str]:
        """Return the metrics over a label space that a checkpoint can be chosen by, each with `max` or `min`."""
        return {self.monitor: self.mode, **self.directions}

    def named(self, predictions: Any, labels: Sequence[str]) -> list[dict[str, Any]]:
        """Return predictions as plain values with label names, a dict per sample."""
        raise TypeError(f"{type(self).__name__} has no names")

    def judged(self, predictions: Any, targets: Any, labels: Sequence[str]) -> list[Judged]:
        """Return what a test keeps of each sample; nothing by default.

        Args:
            predictions: What `predict` returned.
            targets: What `targets` returned for the same samples.
            labels: The task's names.
        """
        return []

    @classmethod
    def truths(cls, batch: Batch, key: str) -> list[Any]:
        """Return the targets of a batch one by one, as `draw` takes them.

        Args:
            batch: A batch with targets.
            key: Their field.
        """
        return list(batch[key])

    def drawn(self, predictions: Any, labels: Sequence[str]) -> list[Any]:
        """Return predictions one by one, as `draw` takes them; by default as `named` says them."""
        return self.named(predictions, labels)

    @classmethod
    def draw(cls, axis: Any, target: Any, labels: Sequence[str], truth: Any = None) -> None:
        """Draw a target or a prediction on a sample; by default it is written above.

        Args:
            axis: Matplotlib's axes, which hold the sample already.
            target: One of `truths` or of `drawn`.
            labels: The task's names.
            truth: For a prediction, the sample's target.
        """
        said = []
        for key, value in (target if isinstance(target, Mapping) else {"": target}).items():
            if isinstance(value, list):
                said.append(", ".join(map(str, value)) or "none")
            elif not isinstance(value, Mapping):
                said.append(f"{value:.3g}" if isinstance(value, float) else f"{key} {value}".strip())
        drawing.title(axis, "  ".join(said))

    @classmethod
    def legend(cls, labels: Sequence[str]) -> list[drawing.Colour]:
        """Return the colour of each name where colours tell them apart; by default none does."""
        return []

    @classmethod
    def on_file(cls, named: dict[str, Any], prediction: Any, labels: Sequence[str], placed: Placement) -> Any:
        """Return a prediction as it is drawn on the picture's file, and bring what `named` says to its pixels.

        By default all that `named` says is written above the picture.

        Args:
            named: What `named` returned for the sample; changed in place. A mask `(H, W)` under `mask` is saved.
            prediction: What `drawn` returned for it.
            labels: The task's names.
            placed: Where the file lies in the image.
        """
        return named

    @classmethod
    def table(cls, rows: Sequence[dict[str, Any]], labels: Sequence[str]) -> list[list[Any]]:
        """Return predictions as lines of a table, the header first; by default one line per input.

        Args:
            rows: What `named` returned, each with `input`, its name.
            labels: The task's names.
        """
        return [list(rows[0]), *(list(row.values()) for row in rows)]


def pairs_counted(true: Tensor, found: Tensor, count: int) -> Tensor:
    """Return how often each pair of indices occurs, int64 `(K + 1, K + 1)`.

    Args:
        true: Indices of true names `(N,)`; `count` stands for nothing.
        found: Indices of predicted ones, likewise.
        count: The number of names, K.
    """
    side = count + 1
    return torch.bincount(true * side + found, minlength=side * side).view(side, side)


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
