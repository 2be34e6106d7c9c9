"""Any number of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.classification import MultilabelAveragePrecision, MultilabelF1Score
from torchmetrics.functional.classification import binary_average_precision
from torchmetrics.utilities.data import dim_zero_cat

from tl_modules.heads import drawing
from tl_modules.heads.base import Batch, Defined, Judged, VectorHead
from tl_modules.processes import mean

UNKNOWN = -1  # in what metrics are given: whether the sample has the label cannot be told


class MeanAP(MultilabelAveragePrecision):
    """Mean average precision over the labels that occur; -1 in the truth is left out."""

    def compute(self) -> Tensor:  # type: ignore[override]
        """Return the mean, or NaN where no label occurs."""
        scores, target = dim_zero_cat(self.preds), dim_zero_cat(self.target)
        occur = torch.where((target > 0).any(0))[0].tolist()
        told = target >= 0
        values = [binary_average_precision(scores[told[:, i], i], target[told[:, i], i]) for i in occur]
        return torch.stack(values).mean() if values else torch.tensor(float("nan"), device=scores.device)


class Multilabel(VectorHead):
    """A sigmoid per name; mean average precision and macro-F1 at 0.5.

    Args:
        dim: Length of the pooled features.
        channels: Channels of the maps; not used.
        strides: Strides of the maps; not used.
        labels: The names.
        key: The batch's field with zeros and ones `(B, K)`.
    """

    kind: ClassVar[str] = "multilabel"
    field: ClassVar[str] = "labels"
    monitor: ClassVar[str] = "map"
    directions: ClassVar[Mapping[str, str]] = {"map": "max", "f1": "max"}
    rows: ClassVar[tuple[str, ...]] = ("linear.weight", "linear.bias")

    def __init__(
        self, dim: int, channels: Sequence[int], strides: Sequence[int], labels: Sequence[str], key: str = "labels"
    ) -> None:
        super().__init__(dim, len(labels), labels, key)

    @classmethod
    def check(cls, batch: Batch, key: str, labels: Sequence[str]) -> None:
        """Refuse values that are neither zero nor one.

        Raises:
            ValueError: If there is such a value, with the sample it is of, or not one per name.
        """
        target = torch.as_tensor(batch[key])
        if target.ndim != 2 or target.shape[1] != len(labels):
            raise ValueError(f"{key} must be (B, {len(labels)}), a zero or one per name, not {tuple(target.shape)}")
        wrong = (target != 0) & (target != 1)
        if bool(wrong.any()):
            row = int(wrong.any(1).nonzero()[0])
            value = float(target[row][wrong[row]][0])
            raise ValueError(f"{key}={value:g} in sample {cls.sample_of(batch, key, row)}: must be 0 or 1")

    @classmethod
    def to_union(cls, batch: Batch, key: str, columns: Tensor, count: int) -> dict[str, Any]:
        """Return zeros and ones `(B, count)`: zeros of names not the batch's own, of joined ones the largest."""
        given = batch[key].float()
        wide = given.new_zeros(len(given), count)
        for place, column in enumerate(columns.tolist()):
            if column >= 0:
                wide[:, column] = torch.maximum(wide[:, column], given[:, place])
        return {key: wide}

    @classmethod
    def no_targets(cls, key: str, labels: Sequence[str], size: tuple[int, int] | None) -> dict[str, Any]:
        """Return the zeros and ones `(0, K)` of no sample."""
        return {key: torch.zeros(0, len(labels))}

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the mean binary cross-entropy over the annotated names."""
        target = batch[self.key].float()
        weight = batch["annotated"].float() if "annotated" in batch else torch.ones_like(target)
        total = F.binary_cross_entropy_with_logits(outputs, target, weight, reduction="sum")
        return mean(total, weight.sum())

    def predict(self, outputs: Tensor) -> Tensor:
        """Return probabilities `(B, K)`."""
        return outputs.sigmoid()

    def targets(self, batch: Batch) -> Tensor:
        """Return the targets as integers `(B, K)`."""
        target: Tensor = batch[self.key].long()
        return target

    def metrics(self, labels: Sequence[str]) -> Defined:
        """Return mean average precision and macro-F1."""
        k = len(labels)
        made = {
            "map": MeanAP(k, average="none", validate_args=False),
            "f1": MultilabelF1Score(k, average="macro", ignore_index=UNKNOWN, validate_args=False),
        }
        return Defined(made, compute_groups=False)  # type: ignore[arg-type]

    def named(self, predictions: Tensor, labels: Sequence[str]) -> list[dict[str, Any]]:
        """Return the `labels` above one half and all `probabilities` per sample."""
        rows = [dict(zip(labels, row, strict=True)) for row in predictions.tolist()]
        return [{"labels": [name for name, p in row.items() if p > 0.5], "probabilities": row} for row in rows]

    def judged(self, predictions: Tensor, targets: Tensor, labels: Sequence[str]) -> list[Judged]:
        """Return the names that are true and those above one half, and the share of names that are told rightly."""
        found, true = predictions > 0.5, targets > 0.5
        shares = (found == true).float().mean(1).tolist() if labels else [1.0] * len(found)
        said = [
            ["; ".join(n for n, on in zip(labels, row, strict=True) if on) for row in one.tolist()]
            for one in (true, found)
        ]
        return [Judged(truth, made, None, share) for truth, made, share in zip(*said, shares, strict=True)]

    def judgeable(
        self, predictions: Tensor, targets: Tensor, known: Tensor, labels: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """Return the targets with -1 for names that the dataset does not annotate."""
        return predictions, targets.masked_fill(~known, UNKNOWN)

    def confused(self, predictions: Tensor, targets: Tensor, labels: Sequence[str]) -> Tensor:
        """Return, for samples with a label (the last row: without any), how often it and each wrong one was predicted.

        The last column has those where it was missed.
        """
        found, true = (predictions > 0.5).long(), targets.clamp(min=0)
        wrong = found * (1 - true)
        table = F.pad(true.T @ wrong + torch.diag((true * found).sum(0)), (0, 1, 0, 1))
        table[:-1, -1] = (true * (1 - found)).sum(0)
        table[-1, :-1] = wrong[true.sum(1) == 0].sum(0)
        return table

    def drawn(self, predictions: Tensor, labels: Sequence[str]) -> list[Any]:
        """Return which labels are above one half, per sample."""
        return list((predictions > 0.5).cpu())

    @classmethod
    def draw(cls, axis: Any, target: Any, labels: Sequence[str], truth: Any = None) -> None:
        """Write the labels' names."""
        said = [
            ", ".join(name for name, on in zip(labels, one.tolist(), strict=True) if on) or "none"
            for one in (target, *([] if truth is None else [truth]))
        ]
        drawing.title(axis, said[0], None if truth is None else said[0] == said[1])

    @classmethod
    def table(cls, rows: Sequence[dict[str, Any]], labels: Sequence[str]) -> list[list[Any]]:
        """Return a line per input with the labels and each one's probability."""
        lines = [[row["input"], ";".join(row["labels"]), *row["probabilities"].values()] for row in rows]
        return [["input", "labels", *labels], *lines]
