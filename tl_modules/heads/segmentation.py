"""A label per pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric

from tl_modules.features import Features
from tl_modules.heads import drawing
from tl_modules.heads.base import NEVER, Batch, Head, Judged, Placement, pairs_counted
from tl_modules.heads.pyramid import WIDTH, Pyramid
from tl_modules.processes import total
from tl_modules.task import IGNORE

BACKGROUND = "background"


class MeanIoU(Metric):
    """Mean intersection over union of the names that occur in truth or prediction, with and without background.

    Args:
        labels: The names.
    """

    confusion: Tensor
    full_state_update = False

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__()
        self.labels = list(labels)
        k = len(self.labels)
        self.add_state("confusion", torch.zeros(k, k, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add label maps `(B, H, W)`; 255 in the truth is left out."""
        k = len(self.labels)
        valid = target != IGNORE
        index = target[valid] * k + preds[valid]
        self.confusion += torch.bincount(index, minlength=k * k).view(k, k)

    def compute(self) -> dict[str, Tensor]:
        """Return `miou` and, where there is a background, `miou_foreground`."""
        hit = self.confusion.diagonal().float()
        union = self.confusion.sum(0) + self.confusion.sum(1) - self.confusion.diagonal()
        occurs = union > 0
        iou = hit / union.clamp(min=1)
        values = {}
        if bool(occurs.any()):
            values["miou"] = iou[occurs].mean()
        front = occurs & torch.tensor([name != BACKGROUND for name in self.labels], device=occurs.device)
        if BACKGROUND in self.labels and bool(front.any()):
            values["miou_foreground"] = iou[front].mean()
        return values


class Segmentation(Head):
    """A pyramid's maps summed at the finest and classified per pixel (Kirillov et al. 2019, semantic branch).

    The loss is cross-entropy with weights against rare names' neglect (square root of inverse frequency within the
    batch) plus soft Dice over the names that occur (Milletari et al. 2016), so that small objects do not drown in
    background.

    Args:
        dim: Length of the pooled features; not used.
        channels: Channels of the maps.
        strides: Strides of the maps in pixels.
        labels: The names.
        key: The batch's field with label maps `(B, H, W)`; 255 is ignored.
    """

    kind: ClassVar[str] = "segmentation"
    field: ClassVar[str] = "mask"
    monitor: ClassVar[str] = "miou"
    directions: ClassVar[Mapping[str, str]] = {"miou": "max", "miou_foreground": "max"}
    rows: ClassVar[tuple[str, ...]] = ("classify.weight", "classify.bias")
    needs_maps: ClassVar[bool] = True
    in_place: ClassVar[bool] = True

    def __init__(
        self, dim: int, channels: Sequence[int], strides: Sequence[int], labels: Sequence[str], key: str = "mask"
    ) -> None:
        super().__init__(labels, key)
        self.pyramid = Pyramid(channels, strides, finest=2)
        self.mix = nn.Sequential(nn.GroupNorm(8, WIDTH), nn.ReLU())
        self.classify = nn.Conv2d(WIDTH, len(labels), 1)

    def forward(self, features: Features) -> Tensor:
        """Return logits `(B, K, H, W)` at the input's size."""
        maps = self.pyramid(features)
        size = maps[0].shape[-2:]
        total = maps[0]
        for coarse in maps[1:]:
            total = total + F.interpolate(coarse, size=size, mode="nearest")
        logits = self.classify(self.mix(total)).float()
        return F.interpolate(logits, size=features.size, mode="bilinear", align_corners=False)

    @classmethod
    def check(cls, batch: Batch, key: str, labels: Sequence[str]) -> None:
        """Refuse label maps of another shape, and values that are neither labels nor 255.

        Raises:
            ValueError: If there is such a value, with the sample it is in.
        """
        masks, count = batch[key], len(labels)
        if masks.ndim != 3:
            raise ValueError(f"{key} must be a label per pixel, (B, H, W), not {tuple(masks.shape)}")
        if masks.is_floating_point() and bool((part := masks != masks.round()).any()):
            row = int(part.flatten(1).any(1).nonzero()[0])
            hint = "labels are whole numbers; ToTensor divides by 255, PILToTensor does not"
            raise ValueError(f"{key}={float(masks[part][0]):.4g} in sample {cls.sample_of(batch, key, row)}: {hint}")
        low, high = (int(value) for value in masks.aminmax())
        if low >= 0 and high < count:
            return
        wrong = (masks < 0) | ((masks >= count) & (masks != IGNORE))
        if bool(wrong.any()):
            row = int(wrong.flatten(1).any(1).nonzero()[0])
            value = int(masks[row][wrong[row]][0])
            sample = cls.sample_of(batch, key, row)
            allowed = f"0 to {count - 1}, a label's index, or {IGNORE} for what is ignored"
            raise ValueError(f"{key}={value} in sample {sample}: must be {allowed}")

    @classmethod
    def to_union(cls, batch: Batch, key: str, columns: Tensor, count: int) -> dict[str, Any]:
        """Return label maps with the labels' indices in the union; 255 stays."""
        full = torch.full((256,), IGNORE, device=batch[key].device)
        full[: len(columns)] = torch.where(columns < 0, IGNORE, columns)
        return {key: full[batch[key].long()]}

    @classmethod
    def no_targets(cls, key: str, labels: Sequence[str], size: tuple[int, int] | None) -> dict[str, Any]:
        """Return the label maps `(0, H, W)` of no sample."""
        return {key: torch.zeros(0, *(size or (0, 0)), dtype=torch.long)}

    def restrict(self, outputs: Tensor, annotated: Tensor) -> Tensor:
        """Return the outputs: which names a pixel may have, its own decides (see `loss`)."""
        return outputs

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return weighted cross-entropy plus soft Dice.

        Of merged datasets a pixel with a name has no other one, so that its softmax is over all names; a pixel of
        background may be of any name that its dataset does not annotate, and is judged on the others alone.
        """
        target = self.targets(batch)
        if "annotated" in batch:
            known = batch["annotated"][:, :, None, None] | ~self._open(target, batch["names"])[:, None]
            outputs = outputs.masked_fill(~known, NEVER)
        valid = target != IGNORE
        k = outputs.shape[1]
        named = torch.where(valid, target, 0)
        counts = total(torch.bincount(target[valid], minlength=k).float())
        weight = torch.where(counts > 0, counts.clamp(min=1).rsqrt(), 0.0)
        logs = outputs.log_softmax(1)
        cross = F.nll_loss(logs, target, weight, ignore_index=IGNORE, reduction="sum")
        p = logs.exp() * valid[:, None]
        right = p.gather(1, named[:, None]).flatten()  # of the true name, zero where there is none
        overlap = right.new_zeros(k).index_add(0, named.flatten(), right)
        sums = total(torch.cat([cross[None], overlap, p.sum((0, 2, 3))]))
        cross, overlap, found = sums[0], sums[1 : k + 1], sums[k + 1 :]
        dice = 1 - (2 * overlap + 1) / (found + counts + 1)
        occurs = (counts > 0).float()
        return cross / (weight * counts).sum().clamp(min=1) + (dice * occurs).sum() / occurs.sum().clamp(min=1)

    def targets(self, batch: Batch) -> Tensor:
        """Return the label maps `(B, H, W)`, of whatever integers they came as."""
        target: Tensor = batch[self.key].long()
        return target

    @staticmethod
    def _open(target: Tensor, names: Sequence[str]) -> Tensor:
        """Return where a label map says that there is none of its dataset's names: in the background."""
        return target == (list(names).index(BACKGROUND) if BACKGROUND in names else -1)

    def predict(self, outputs: Tensor) -> Tensor:
        """Return label maps `(B, H, W)`."""
        return outputs.argmax(1)

    def metrics(self, labels: Sequence[str]) -> MeanIoU:
        """Return mean IoU with and without background."""
        return MeanIoU(labels)

    def reported(self, labels: Sequence[str]) -> dict[str, str]:
        """Return the metrics with `max`; foreground is what a background leaves."""
        front = BACKGROUND in labels
        return {name: mode for name, mode in super().reported(labels).items() if front or name != "miou_foreground"}

    def named(self, predictions: Tensor, labels: Sequence[str]) -> list[dict[str, Any]]:
        """Return the number of `pixels` of each name that was found, per sample."""
        counts = [torch.bincount(mask.flatten(), minlength=len(labels)).tolist() for mask in predictions]
        return [{"pixels": {n: c for n, c in zip(labels, row, strict=True) if c}} for row in counts]

    def judged(self, predictions: Tensor, targets: Tensor, labels: Sequence[str]) -> list[Judged]:
        """Return the share of pixels with a name that have the true one; label maps fit in no table."""
        valid = targets != IGNORE
        misses = ((predictions != targets) & valid).flatten(1).sum(1)
        shares = (1 - misses / valid.flatten(1).sum(1).clamp(min=1)).tolist()
        return [Judged(None, None, None, share) for share in shares]

    def judgeable(
        self, predictions: Tensor, targets: Tensor, known: Tensor, labels: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """Return the targets without pixels of background that were given a name the dataset does not annotate."""
        return predictions, targets.masked_fill(self._open(targets, labels) & ~known[predictions], IGNORE)

    def confused(self, predictions: Tensor, targets: Tensor, labels: Sequence[str]) -> Tensor:
        """Return the number of pixels by true and by predicted name."""
        valid = targets != IGNORE
        return pairs_counted(targets[valid], predictions[valid], len(labels))

    def drawn(self, predictions: Tensor, labels: Sequence[str]) -> list[Any]:
        """Return the label maps."""
        return list(predictions.cpu())

    @classmethod
    def draw(cls, axis: Any, target: Any, labels: Sequence[str], truth: Any = None) -> None:
        """Lay the label map over the picture."""
        drawing.label_map(axis, target, cls.legend(labels), IGNORE)

    @classmethod
    def legend(cls, labels: Sequence[str]) -> list[drawing.Colour]:
        """Return a colour per name, none for a background."""
        return drawing.colours(len(labels), background=BACKGROUND in labels)

    @classmethod
    def on_file(cls, named: dict[str, Any], prediction: Any, labels: Sequence[str], placed: Placement) -> Any:
        """Return the label map at the size of the picture's file, nearest neighbours; count its pixels."""
        height, width = placed.size
        left, top = placed.offset
        rows = ((torch.arange(height) + 0.5) * placed.scale + top).long().clamp(0, prediction.shape[0] - 1)
        columns = ((torch.arange(width) + 0.5) * placed.scale + left).long().clamp(0, prediction.shape[1] - 1)
        mask = prediction[rows][:, columns]
        counts = torch.bincount(mask.flatten(), minlength=len(labels)).tolist()
        named["pixels"] = {name: count for name, count in zip(labels, counts, strict=True) if count}
        named["mask"] = mask
        return mask

    @classmethod
    def table(cls, rows: Sequence[dict[str, Any]], labels: Sequence[str]) -> list[list[Any]]:
        """Return a line per input with its mask's file and each label's pixels."""
        lines = [[row["input"], row["mask"], *(row["pixels"].get(name, 0) for name in labels)] for row in rows]
        return [["input", "mask", *labels], *lines]
