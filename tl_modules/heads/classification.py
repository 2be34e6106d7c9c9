"""One label of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import BinaryF1Score, MulticlassAccuracy, MulticlassAUROC, MulticlassF1Score
from torchmetrics.functional.classification import binary_auroc
from torchmetrics.utilities.data import dim_zero_cat

from tl_modules.heads import drawing
from tl_modules.heads.base import Batch, Defined, Judged, VectorHead, pairs_counted
from tl_modules.processes import mean


class PositiveF1(BinaryF1Score):
    """F1 of one of two labels.

    Args:
        positive: The label's index.
    """

    def __init__(self, positive: int) -> None:
        super().__init__()
        self.positive = positive

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add probabilities `(B, 2)` and labels `(B,)`."""
        super().update((preds.argmax(1) == self.positive).long(), (target == self.positive).long())


class MacroAUROC(MulticlassAUROC):
    """Mean one-against-rest AUROC of the labels that have both positives and negatives."""

    def compute(self) -> Tensor:  # type: ignore[override]
        """Return the mean, or NaN where no label has both."""
        scores, target = dim_zero_cat(self.preds), dim_zero_cat(self.target).flatten()
        counts = torch.bincount(target, minlength=scores.shape[1])
        both = torch.where((counts > 0) & (counts < counts.sum()))[0].tolist()
        values = [binary_auroc(scores[:, i], (target == i).long()) for i in both]
        return torch.stack(values).mean() if values else torch.tensor(float("nan"), device=scores.device)


class Classification(VectorHead):
    """Softmax over the names; accuracy, macro-F1 and macro-AUROC.

    Args:
        dim: Length of the pooled features.
        channels: Channels of the maps; not used.
        strides: Strides of the maps; not used.
        labels: The names.
        key: The batch's field with label indices `(B,)`.
        positive: Of two names, the one whose F1 is reported too.
    """

    kind: ClassVar[str] = "classification"
    field: ClassVar[str] = "label"
    one_label: ClassVar[bool] = True
    monitor: ClassVar[str] = "accuracy"
    directions: ClassVar[Mapping[str, str]] = {"accuracy": "max", "macro_f1": "max", "auroc": "max", "f1": "max"}
    rows: ClassVar[tuple[str, ...]] = ("linear.weight", "linear.bias")

    def __init__(
        self,
        dim: int,
        channels: Sequence[int],
        strides: Sequence[int],
        labels: Sequence[str],
        key: str = "label",
        positive: str | None = None,
    ) -> None:
        super().__init__(dim, len(labels), labels, key)
        self.positive = positive

    @classmethod
    def check(cls, batch: Batch, key: str, labels: Sequence[str]) -> None:
        """Refuse labels that are no index of a name.

        Raises:
            ValueError: If there is such a label, with the sample it is of.
        """
        target = torch.as_tensor(batch[key])
        if target.ndim != 1 or target.is_floating_point() or target.dtype == torch.bool:
            said = f"{str(target.dtype).removeprefix('torch.')} {tuple(target.shape)}"
            raise ValueError(f"{key} must be a label's index per sample, integers (B,), not {said}")
        wrong = (target < 0) | (target >= len(labels))
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            sample = cls.sample_of(batch, key, row)
            raise ValueError(f"{key}={int(target[row])} in sample {sample}: must be 0 to {len(labels) - 1}")

    @classmethod
    def to_union(cls, batch: Batch, key: str, columns: Tensor, count: int) -> dict[str, Any]:
        """Return the labels' indices in the union."""
        return {key: columns[batch[key].long()]}

    @classmethod
    def no_targets(cls, key: str, labels: Sequence[str], size: tuple[int, int] | None) -> dict[str, Any]:
        """Return the labels `(0,)` of no sample."""
        return {key: torch.zeros(0, dtype=torch.long)}

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the mean cross-entropy."""
        target = self.targets(batch)
        return mean(F.cross_entropy(outputs, target, reduction="sum"), len(target))

    def targets(self, batch: Batch) -> Tensor:
        """Return the labels `(B,)`, of whatever integers they came as."""
        target: Tensor = batch[self.key].long()
        return target

    def predict(self, outputs: Tensor) -> Tensor:
        """Return probabilities `(B, K)`."""
        return outputs.softmax(1)

    def metrics(self, labels: Sequence[str]) -> Defined:
        """Return accuracy, macro-F1 over the labels, macro-AUROC and, where one is named, the positive label's F1."""
        k = len(labels)
        made: dict[str, Metric] = {
            "accuracy": MulticlassAccuracy(k, average="micro", validate_args=False),
            "macro_f1": MulticlassF1Score(k, average="macro", validate_args=False),
        }
        if k > 1:
            made["auroc"] = MacroAUROC(k, average="none", thresholds=None, validate_args=False)
        if self.positive in labels and k == 2:
            made["f1"] = PositiveF1(list(labels).index(str(self.positive)))
        return Defined(made, compute_groups=False)  # type: ignore[arg-type]

    def reported(self, labels: Sequence[str]) -> dict[str, str]:
        """Return the metrics with `max`: AUROC needs two labels, F1 a named one of two."""
        absent = {"auroc"} if len(labels) < 2 else set()
        absent |= set() if self.positive in labels and len(labels) == 2 else {"f1"}
        return {name: mode for name, mode in super().reported(labels).items() if name not in absent}

    def named(self, predictions: Tensor, labels: Sequence[str]) -> list[dict[str, Any]]:
        """Return `label` and `probability` per sample."""
        best, index = predictions.max(1)
        pairs = zip(best.tolist(), index.tolist(), strict=True)
        return [{"label": labels[i], "probability": p} for p, i in pairs]

    def judged(self, predictions: Tensor, targets: Tensor, labels: Sequence[str]) -> list[Judged]:
        """Return the names, the probability of the one predicted, and whether it is the true one."""
        scores, indices = predictions.max(1)
        rows = zip(targets.tolist(), indices.tolist(), scores.tolist(), strict=True)
        return [Judged(labels[truth], labels[index], score, float(truth == index)) for truth, index, score in rows]

    def confused(self, predictions: Tensor, targets: Tensor, labels: Sequence[str]) -> Tensor:
        """Return the number of samples by true and by predicted name."""
        return pairs_counted(targets, predictions.argmax(1), len(labels))

    def drawn(self, predictions: Tensor, labels: Sequence[str]) -> list[Any]:
        """Return the likeliest label's index per sample."""
        return list(predictions.argmax(1).cpu())

    @classmethod
    def draw(cls, axis: Any, target: Any, labels: Sequence[str], truth: Any = None) -> None:
        """Write the label's name."""
        drawing.title(axis, labels[int(target)], None if truth is None else int(truth) == int(target))
