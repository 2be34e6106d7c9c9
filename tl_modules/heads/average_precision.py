"""Mean average precision of boxes, with what both protocols ignore."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.detection import MeanAveragePrecision

from tl_modules.task import CROWD

OUT_OF_RANGE = 1e11  # COCO's areas end at 1e10 pixels


class BoxScores(Metric):
    """COCO's mean average precision, `map` over overlaps from 0.5 to 0.95 and `map50`, where defined.

    A crowd (flag 2) is COCO's `iscrowd`, exactly. A box ignored otherwise (flag 1) is matched by its overlap, by
    any number of detections, none of which counts, as Pascal VOC has its difficult objects. Two things stay COCO's: a
    detection is matched with a box that counts before one that is ignored (VOC takes the larger overlap), and
    precision is read at 101 recalls (VOC: the area, or 11).
    """

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.inner = MeanAveragePrecision(backend="faster_coco_eval")

    def update(self, preds: list[dict[str, Tensor]], target: list[dict[str, Tensor]]) -> None:
        """Add predictions and truth, a dict of boxes, labels (and scores, or flags) a picture."""
        self.inner.update(
            preds, [_official(truth, len(found["boxes"])) for truth, found in zip(target, preds, strict=True)]
        )

    def compute(self) -> dict[str, Tensor]:
        """Return the two means, without what COCO marks as undefined."""
        values = self.inner.compute()
        found = {"map": values["map"], "map50": values["map_50"]}
        return {name: value for name, value in found.items() if float(value) >= 0}

    def reset(self) -> None:
        """Forget what was added."""
        super().reset()
        self.inner.reset()


def _official(truth: dict[str, Tensor], detections: int) -> dict[str, Tensor]:
    """Return a picture's truth as COCO's evaluation takes it.

    It has no flag for a box that is ignored and no crowd: but it ignores boxes whose area is out of range, each for one
    detection, so that such a box is given as often as there are detections.

    Args:
        truth: Boxes, labels and perhaps flags.
        detections: Number of the picture's detections.
    """
    if "flags" not in truth or not bool(truth["flags"].any()):
        return {"boxes": truth["boxes"], "labels": truth["labels"]}
    flags = truth["flags"].long()
    times = torch.where((flags > 0) & (flags != CROWD), max(1, detections), 1)
    boxes, labels, flags = (truth[name].repeat_interleave(times, 0) for name in ("boxes", "labels", "flags"))
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    crowd = flags == CROWD
    area = torch.where((flags > 0) & ~crowd, OUT_OF_RANGE, area)
    return {"boxes": boxes, "labels": labels, "iscrowd": crowd.long(), "area": area}
