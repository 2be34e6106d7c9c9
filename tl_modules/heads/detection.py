"""Boxes with labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.fcos import FCOSClassificationHead, FCOSRegressionHead
from torchvision.ops import batched_nms, box_iou, generalized_box_iou_loss, sigmoid_focal_loss

from tl_modules.features import Features
from tl_modules.heads import drawing
from tl_modules.heads.average_precision import BoxScores
from tl_modules.heads.base import Batch, Head, Judged, Placement, pairs_counted
from tl_modules.heads.pyramid import WIDTH, Levels, Pyramid
from tl_modules.processes import mean
from tl_modules.task import box_fields

SCORE, OVERLAP, MOST = 0.05, 0.5, 100
SHOWN = 0.4  # boxes with a lower score are not drawn
RADIUS = 1.5
NORM = partial(nn.GroupNorm, 8)  # torchvision's 32 groups, of two channels each, are slow in bf16, channels last
TYPICAL, FARTHEST = 4.0, 5.0  # strides that untrained distances are about, largest exponent


class Outputs(NamedTuple):
    """Raw outputs at all places: logits `(B, P, K)`, distances `(B, P, 4)` in strides, centre-ness `(B, P)`."""

    logits: Tensor
    distances: Tensor
    centred: Tensor
    centres: Tensor
    stride: Tensor
    size: tuple[int, int]


class Distances(FCOSRegressionHead):  # type: ignore[misc]
    """Distances to the four sides and centre-ness as torchvision's, but for the exponential of the paper (section 3.2).

    A rectifier, which torchvision puts there, starts at boxes without area and learns slower.
    """

    def forward(self, x: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return distances `(B, P, 4)` in strides and centre-ness `(B, P, 1)` at all places of all maps."""
        seen = [self.conv(level) for level in x]
        distances = torch.cat([self.bbox_reg(level).flatten(2).movedim(1, 2) for level in seen], 1)
        centred = torch.cat([self.bbox_ctrness(level).flatten(2).movedim(1, 2) for level in seen], 1)
        return TYPICAL * distances.float().clamp(max=FARTHEST).exp(), centred


class Detection(Head):
    """FCOS (Tian et al. 2019) on a light pyramid: a box from each place inside an object.

    Args:
        dim: Length of the pooled features; not used.
        channels: Channels of the maps.
        strides: Strides of the maps in pixels.
        labels: The names.
        key: The batch's field with boxes, xyxy in pixels, a list of `(N, 4)`; for their labels and flags see
            `task.box_fields`.
    """

    kind: ClassVar[str] = "detection"
    field: ClassVar[str] = "boxes"
    monitor: ClassVar[str] = "map50"
    directions: ClassVar[Mapping[str, str]] = {"map50": "max", "map": "max"}
    rows: ClassVar[tuple[str, ...]] = ("classification.cls_logits.weight", "classification.cls_logits.bias")
    needs_maps: ClassVar[bool] = True
    in_place: ClassVar[bool] = True

    def __init__(
        self, dim: int, channels: Sequence[int], strides: Sequence[int], labels: Sequence[str], key: str = "boxes"
    ) -> None:
        super().__init__(labels, key)
        self.label_key, self.flag_key = box_fields(key)
        self.pyramid, self.classification, self.regression = self.layers(channels, strides)

    def layers(self, channels: Sequence[int], strides: Sequence[int]) -> tuple[Pyramid | Levels, nn.Module, nn.Module]:
        """Return what makes the maps that are read, and what reads labels and boxes in them.

        Args:
            channels: Channels of the backbone's maps.
            strides: Their strides in pixels.
        """
        return (
            Pyramid(channels, strides, finest=4),
            FCOSClassificationHead(WIDTH, 1, len(self.labels), num_convs=2, norm_layer=NORM),
            Distances(WIDTH, 1, num_convs=2, norm_layer=NORM),
        )

    def places(self, size: tuple[int, int], cells: tuple[int, int], stride: int, device: torch.device) -> list[Tensor]:
        """Return where a map's rows and columns lie, in pixels; one that does not fill the picture is in its middle.

        Args:
            size: Height and width of the picture in pixels.
            cells: Rows and columns of the map.
            stride: Its stride in pixels.
            device: Where the tensors are.
        """
        return [
            side / 2 + (torch.arange(n, device=device) - (n - 1) / 2) * stride
            for side, n in zip(size, cells, strict=True)
        ]

    def of_level(self, reach: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Tell which boxes are a map's by the farthest of their sides.

        Args:
            reach: Its distance in pixels.
            low: The least that is the map's.
            high: The most.
        """
        return (reach > low) & (reach <= high)

    def forward(self, features: Features) -> Outputs:
        """Return raw outputs at all places of all maps."""
        maps = self.pyramid(features)
        empty = not torch.compiler.is_compiling() and len(maps[0]) == 0  # an exported program takes any number
        if empty:  # torchvision's heads take one sample at least
            maps = [torch.cat([level, level.new_zeros(1, *level.shape[1:])]) for level in maps]
        logits, (distances, centred) = self.classification(maps), self.regression(maps)
        if empty:
            logits, distances, centred = logits[:0], distances[:0], centred[:0]
        size = features.size or (0, 0)
        centres, strides = [], []
        for level, stride in zip(maps, self.pyramid.strides, strict=True):
            y, x = torch.meshgrid(*self.places(size, level.shape[-2:], stride, level.device), indexing="ij")
            centres.append(torch.stack([x, y], -1).view(-1, 2))
            strides.append(torch.full((level.shape[-2] * level.shape[-1],), float(stride), device=level.device))
        centred = centred[..., 0].float()
        return Outputs(logits.float(), distances, centred, torch.cat(centres), torch.cat(strides), size)

    def restrict(self, outputs: Outputs, annotated: Tensor) -> Outputs:
        """Return the outputs: which names a place may have, its box decides (see `loss`)."""
        return outputs

    def select(self, outputs: Outputs, columns: Sequence[int]) -> Outputs:
        """Return the outputs of some names, in their order."""
        index = torch.as_tensor(columns, device=outputs.logits.device)
        return outputs._replace(logits=outputs.logits[..., index])

    @classmethod
    def beside(cls, key: str) -> tuple[str, ...]:
        """Return the fields of the boxes' labels and flags."""
        return box_fields(key)

    @classmethod
    def of_pair(cls, target: Any, key: str, labels: Sequence[str], where: str) -> dict[str, Any]:
        """Return torchvision's `{"boxes": xyxy (N, 4), "labels": (N,)}`, with labels from 0, as a sample's fields.

        Raises:
            ValueError: If it is none, or has labels that are none of the task's.
        """
        if not isinstance(target, Mapping) or not {"boxes", "labels"} <= set(target):
            keys = ", ".join(map(str, target)) if isinstance(target, Mapping) else ""
            found = f"a dict with {keys}" if isinstance(target, Mapping) else type(target).__name__
            said = "the target of a detection pair must be a dict with boxes and labels"
            raise ValueError(f"{where}: {said}, not {found}")
        boxes = torch.as_tensor(target["boxes"], dtype=torch.float32).reshape(-1, 4)
        names = torch.as_tensor(target["labels"], dtype=torch.int64)
        if len(names) and not 0 <= int(names.min()) <= int(names.max()) < len(labels):
            hint = "; they count from 1, as those of Faster R-CNN do: subtract 1" if int(names.min()) > 0 else ""
            given = f"{int(names.min())} to {int(names.max())}"
            raise ValueError(f"{where}: box labels {given} must be 0 to {len(labels) - 1}{hint}")
        return {key: boxes, box_fields(key)[0]: names}

    @classmethod
    def check(cls, batch: Batch, key: str, labels: Sequence[str]) -> None:
        """Refuse boxes that are not four numbers in pixels, and labels of boxes that are no index of a name.

        Raises:
            ValueError: If there is one, with the sample it is in.
        """
        field = box_fields(key)[0]
        if field not in batch:
            raise ValueError(f"{field} is missing: the batch has {key}, but not what each box is of")
        for row, (boxes, names) in enumerate(zip(batch[key], batch[field], strict=True)):
            sample = cls.sample_of(batch, key, row)
            if boxes.ndim != 2 or boxes.shape[1] != 4 or not bool(torch.isfinite(boxes).all()):
                raise ValueError(f"{key} in sample {sample}: must be (N, 4) finite numbers, not {tuple(boxes.shape)}")
            if len(names) != len(boxes):
                raise ValueError(f"{field} in sample {sample}: has {len(names)} labels of {len(boxes)} boxes")
            if len(names) and not 0 <= int(names.min()) <= int(names.max()) < len(labels):
                given = f"{int(names.min())} to {int(names.max())}"
                raise ValueError(f"{field} in sample {sample}: {given} must be 0 to {len(labels) - 1}")
        there = [boxes for boxes in batch[key] if len(boxes)]
        largest = max((float(boxes.max()) for boxes in there), default=0.0)
        if 0 < largest <= 1 and any(bool((boxes != boxes.round()).any()) for boxes in there):
            said = f"no box reaches beyond {largest:.4g}; are they shares of the picture's sides?"
            raise ValueError(f"{key}: must be in pixels, but {said}")

    @classmethod
    def to_union(cls, batch: Batch, key: str, columns: Tensor, count: int) -> dict[str, Any]:
        """Return the boxes with their labels' indices in the union; boxes without flags all count."""
        labels, flags = box_fields(key)
        ignored = batch.get(flags, [torch.zeros_like(names) for names in batch[labels]])
        made = {key: batch[key], labels: [columns[names] for names in batch[labels]], flags: ignored}
        if bool((columns < 0).any()):
            kept = [names >= 0 for names in made[labels]]
            made = {field: [one[good] for one, good in zip(some, kept, strict=True)] for field, some in made.items()}
        return made

    @classmethod
    def no_targets(cls, key: str, labels: Sequence[str], size: tuple[int, int] | None) -> dict[str, Any]:
        """Return the boxes and their labels of no sample, empty lists."""
        return {key: [], box_fields(key)[0]: []}

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return focal loss of the labels, GIoU loss of the boxes and cross-entropy of the centre-ness.

        A box with a flag is learned by no place, and places inside it are not taught that its label is not there.
        Of merged datasets an object has one name: a place that answers for a box is taught that no other name is
        there, and a place without one only that those are not which its dataset annotates.

        Raises:
            ValueError: If a box has no width or no height.
        """
        boxes, labels, unsure = self._counted(outputs, batch)
        wanted = torch.zeros_like(outputs.logits)
        box = torch.zeros_like(outputs.distances)
        inside = torch.zeros(outputs.logits.shape[:2], dtype=torch.bool, device=box.device)
        for row, (own, names) in enumerate(zip(boxes, labels, strict=True)):
            if len(own) == 0:
                continue
            match = self._match(own, outputs)
            inside[row] = match >= 0
            box[row] = own[match.clamp(min=0)]
            wanted[row, inside[row], names[match[inside[row]]]] = 1
        judged = None if unsure is None else ~unsure | (wanted > 0)
        if "annotated" in batch:
            known = batch["annotated"][:, None] | inside[..., None]
            judged = known if judged is None else judged & known
        if judged is None:
            loss = sigmoid_focal_loss(outputs.logits, wanted, reduction="sum")
        else:
            loss = (sigmoid_focal_loss(outputs.logits, wanted, reduction="none") * judged).sum()
        if bool(inside.any()):
            centres = outputs.centres.expand(len(inside), -1, -1)[inside]
            stride = outputs.stride.expand(len(inside), -1)[inside]
            found = _to_boxes(centres, outputs.distances[inside], stride)
            loss = loss + generalized_box_iou_loss(found, box[inside], reduction="sum")
            sides = torch.cat([centres - box[inside][:, :2], box[inside][:, 2:] - centres], 1)
            x, y = sides[:, [0, 2]], sides[:, [1, 3]]
            centred = (x.amin(1) / x.amax(1) * (y.amin(1) / y.amax(1))).clamp(min=0).sqrt()
            loss = loss + F.binary_cross_entropy_with_logits(outputs.centred[inside], centred, reduction="sum")
        else:  # every parameter takes part in every loss
            loss = loss + outputs.distances.sum() * 0 + outputs.centred.sum() * 0
        return mean(loss, inside.sum())

    def _counted(self, outputs: Outputs, batch: Batch) -> tuple[list[Tensor], list[Tensor], Tensor | None]:
        """Return the boxes without a flag and their labels, and where the others' labels may be, `(B, P, K)`."""
        boxes, labels, flags = batch[self.key], batch[self.label_key], batch.get(self.flag_key)
        if flags is None or not any(bool(one.any()) for one in flags):
            return boxes, labels, None
        unsure = torch.zeros_like(outputs.logits, dtype=torch.bool)
        x, y = outputs.centres[:, :1], outputs.centres[:, 1:]
        for row, (own, names, flag) in enumerate(zip(boxes, labels, flags, strict=True)):
            out = flag > 0
            left, top, right, bottom = own[out].unbind(1)
            inside = (x > left) & (x < right) & (y > top) & (y < bottom)
            for column, name in enumerate(names[out].tolist()):
                unsure[row, inside[:, column], name] = True
        counted = [[one[flag == 0] for one, flag in zip(some, flags, strict=True)] for some in (boxes, labels)]
        return counted[0], counted[1], unsure

    def _match(self, boxes: Tensor, outputs: Outputs) -> Tensor:
        """Return for each place the box it answers for, -1 for none: centre sampling, and the smallest wins."""
        width_height = boxes[:, 2:] - boxes[:, :2]
        if bool((width_height <= 0).any()):
            bad = boxes[(width_height <= 0).any(1)][0].tolist()
            raise ValueError(f"{self.key}: the box {bad} has no width or no height")
        centres, stride = outputs.centres[:, None], outputs.stride[:, None]
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        near = (centres - middle).abs().amax(-1) < RADIUS * stride
        sides = torch.cat([centres - boxes[:, :2], boxes[:, 2:] - centres], -1)
        reach = sides.amax(-1)
        finest, coarsest = outputs.stride.min(), outputs.stride.max()
        low = torch.where(stride == finest, 0.0, 4 * stride)
        high = torch.where(stride == coarsest, float("inf"), 8 * stride)
        fits = near & (sides.amin(-1) > 0) & self.of_level(reach, low, high)
        area = torch.where(fits, width_height.prod(1), float("inf"))
        smallest, index = area.min(1)
        return torch.where(torch.isfinite(smallest), index, -1)

    def predict(self, outputs: Outputs) -> list[dict[str, Tensor]]:
        """Return boxes, scores and labels per picture, at most 100, after non-maximum suppression per label."""
        everywhere, scores = self.tensors(outputs)
        found = []
        for row in range(len(scores)):
            place, label = torch.where(scores[row] > SCORE)
            score = scores[row, place, label]
            if len(score) > 10 * MOST:
                score, best = score.topk(10 * MOST)
                place, label = place[best], label[best]
            boxes = everywhere[row, place]
            keep = batched_nms(boxes, score, label, OVERLAP)[:MOST]
            found.append({"boxes": boxes[keep], "scores": score[keep], "labels": label[keep]})
        return found

    def tensors(self, outputs: Outputs) -> tuple[Tensor, Tensor]:
        """Return boxes `(B, P, 4)` in pixels and scores `(B, P, K)` of all places."""
        reach = outputs.distances * outputs.stride[:, None]
        boxes = torch.cat([outputs.centres - reach[..., :2], outputs.centres + reach[..., 2:]], -1)
        height, width = outputs.size
        boxes = torch.stack([boxes[..., i].clamp(0, (width, height)[i % 2]) for i in range(4)], -1)
        return boxes, (outputs.logits.sigmoid() * outputs.centred.sigmoid()[..., None]).sqrt()

    def targets(self, batch: Batch) -> list[dict[str, Tensor]]:
        """Return the true boxes, labels and, where there are any, flags per picture."""
        names = {"boxes": self.key, "labels": self.label_key, "flags": self.flag_key}
        columns = {name: batch[key] for name, key in names.items() if key in batch}
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def metrics(self, labels: Sequence[str]) -> BoxScores:
        """Return mean average precision."""
        return BoxScores()

    def named(self, predictions: list[dict[str, Tensor]], labels: Sequence[str]) -> list[dict[str, Any]]:
        """Return a list of `boxes` a sample, each with corners in pixels, label and score."""
        samples = []
        for found in predictions:
            rows = zip(found["boxes"].tolist(), found["labels"].tolist(), found["scores"].tolist(), strict=True)
            samples.append({"boxes": [{"box": box, "label": labels[i], "score": s} for box, i, s in rows]})
        return samples

    def judged(
        self, predictions: list[dict[str, Tensor]], targets: list[dict[str, Tensor]], labels: Sequence[str]
    ) -> list[Judged]:
        """Return the F1 of the boxes worth showing: each finds at most one true box of its label, by an IoU of 0.5.

        A true box with a flag need not be found, and what finds none but such a box is not counted.
        """
        samples = []
        for found, true in zip(predictions, targets, strict=True):
            shown = found["scores"] > SHOWN
            boxes, names = found["boxes"][shown], found["labels"][shown]
            counts = true.get("flags", torch.zeros_like(true["labels"])) == 0
            fits = (box_iou(boxes, true["boxes"]) >= OVERLAP) & (names[:, None] == true["labels"])
            excused = fits[:, ~counts].any(1)
            fits, hits, extra = fits[:, counts], 0, 0
            for row, excuse in zip(fits, excused, strict=True):  # by descending score
                free = row.nonzero().flatten()
                if len(free):
                    hits, fits[:, free[0]] = hits + 1, False
                elif not excuse:
                    extra += 1
            count = hits + extra + int(counts.sum())
            samples.append(Judged(None, None, None, 2 * hits / count if count else 1.0))
        return samples

    def judgeable(
        self,
        predictions: list[dict[str, Tensor]],
        targets: list[dict[str, Tensor]],
        known: Tensor,
        labels: Sequence[str],
    ) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
        """Leave out detections of names that the dataset does not annotate, but for those that lie on a true box."""
        kept = []
        for found, true in zip(predictions, targets, strict=True):
            lies_on = (box_iou(found["boxes"], true["boxes"]) >= OVERLAP).any(1)
            good = known[found["labels"]] | lies_on
            kept.append({key: values[good] for key, values in found.items()})
        return kept, targets

    def confused(
        self, predictions: list[dict[str, Tensor]], targets: list[dict[str, Tensor]], labels: Sequence[str]
    ) -> Tensor:
        """Return the number of boxes worth showing by the name of the true box that they lie on, and by their own.

        They lie on the one with the largest IoU, of 0.5 at least. The last row has those that lie on none, the last
        column the true boxes that nothing lies on. What lies on a box with a flag is not counted.
        """
        count = len(labels)
        table = torch.zeros(count + 1, count + 1, dtype=torch.long)
        for found, true in zip(predictions, targets, strict=True):
            shown = found["scores"] > SHOWN
            boxes, names = found["boxes"][shown], found["labels"][shown]
            nothing = boxes.new_full((len(boxes), 1), OVERLAP)
            overlap = box_iou(boxes, true["boxes"])
            index = torch.cat([overlap, nothing], 1).argmax(1)
            flags = true.get("flags", torch.zeros_like(true["labels"]))
            own = torch.cat([true["labels"], true["labels"].new_tensor([count])])[index]
            fits = torch.cat([flags, flags.new_zeros(1)])[index] == 0
            missed = true["labels"][(flags == 0) & ~(overlap >= OVERLAP).any(0)]
            pairs = [(own[fits], names[fits]), (missed, torch.full_like(missed, count))]
            table += sum(pairs_counted(*pair, count).cpu() for pair in pairs)
        return table

    @classmethod
    def truths(cls, batch: Batch, key: str) -> list[Any]:
        """Return boxes, their labels' indices and, where there are any, their flags per picture."""
        fields = [key, *(field for field in box_fields(key) if field in batch)]
        return list(zip(*(batch[field] for field in fields), strict=True))

    def drawn(self, predictions: list[dict[str, Tensor]], labels: Sequence[str]) -> list[Any]:
        """Return the boxes with a score that is worth showing and their labels' indices, per picture."""
        kept = [(one["scores"] > SHOWN, one) for one in predictions]
        return [(one["boxes"][good].cpu(), one["labels"][good].cpu()) for good, one in kept]

    @classmethod
    def draw(cls, axis: Any, target: Any, labels: Sequence[str], truth: Any = None) -> None:
        """Draw the boxes; those that are not counted are dotted."""
        corners, indices, *flags = target
        drawing.boxes(axis, corners, indices, labels, *flags)

    @classmethod
    def legend(cls, labels: Sequence[str]) -> list[drawing.Colour]:
        """Return a colour per name."""
        return drawing.colours(len(labels))

    @classmethod
    def on_file(cls, named: dict[str, Any], prediction: Any, labels: Sequence[str], placed: Placement) -> Any:
        """Bring the boxes to the pixels of the picture's file; return those that are worth drawing."""
        (left, top), (height, width) = placed.offset, placed.size
        limits = (width, height, width, height)
        for one in named["boxes"]:
            moved = [(v - (left, top)[i % 2]) / placed.scale for i, v in enumerate(one["box"])]
            one["box"] = [round(min(max(v, 0.0), float(most)), 1) for v, most in zip(moved, limits, strict=True)]
        kept = [one for one in named["boxes"] if one["score"] > SHOWN]
        return [one["box"] for one in kept], [list(labels).index(one["label"]) for one in kept]

    @classmethod
    def table(cls, rows: Sequence[dict[str, Any]], labels: Sequence[str]) -> list[list[Any]]:
        """Return a line per box."""
        header = ["input", "label", "score", "left", "top", "right", "bottom"]
        return [header, *([r["input"], b["label"], f"{b['score']:.4f}", *b["box"]] for r in rows for b in r["boxes"])]


def _to_boxes(centres: Tensor, distances: Tensor, stride: Tensor) -> Tensor:
    """Return boxes `(N, 4)` from places and distances to the four sides in strides."""
    reach = distances * stride[:, None]
    return torch.cat([centres - reach[:, :2], centres + reach[:, 2:]], 1)
