"""Boxes with labels as torchvision's FCOS reads them, so that its weights fit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.fcos import FCOSClassificationHead, FCOSRegressionHead
from torchvision.ops import batched_nms

from tl_modules.heads.detection import MOST, SCORE, TYPICAL, Detection, Outputs
from tl_modules.heads.pyramid import Levels

GRID = 32  # torchvision fills pictures up with zeros to sides that this divides
CANDIDATES, OVERLAP = 1000, 0.6  # of a map before non-maximum suppression; the most that two boxes of a label overlap


def filled(side: int) -> int:
    """Return a picture's side in pixels after it is filled up."""
    return -(-side // GRID) * GRID


class Fcos(Detection):
    """FCOS (Tian et al. 2019) in torchvision's layout: four convolutions per branch, distances by a rectifier.

    Its parameters, outputs, loss and predictions are those of `torchvision.models.detection.FCOS` on the same maps,
    but for two things. A box of no label's is predicted from a score of 0.05 on, as by every head here, where
    torchvision asks for 0.2; and which of several boxes a place answers for is told by their areas themselves, which
    torchvision rounds to eight square pixels.

    Args:
        dim: Length of the pooled features; not used.
        channels: Channels of the pyramid's maps, all the same.
        strides: Strides of the maps in pixels.
        labels: The names.
        key: The batch's field with boxes; see `Detection`.
    """

    def layers(self, channels: Sequence[int], strides: Sequence[int]) -> tuple[Levels, nn.Module, nn.Module]:
        """Return what makes the maps that are read, and what reads labels and boxes in them."""
        regression = FCOSRegressionHead(channels[0], 1)
        nn.init.constant_(regression.bbox_reg.bias, TYPICAL)  # about zero, a rectifier would start at empty boxes
        return Levels(strides), FCOSClassificationHead(channels[0], 1, len(self.labels)), regression

    def places(self, size: tuple[int, int], cells: tuple[int, int], stride: int, device: torch.device) -> list[Tensor]:
        """Return where a map's rows and columns lie, in pixels: from the picture's corner on."""
        whole = zip(size, cells, strict=True)
        return [torch.arange(n, device=device, dtype=torch.float32) * (filled(side) // n) for side, n in whole]

    def of_level(self, reach: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Tell which boxes are a map's by the farthest of their sides; those on a bound are no map's."""
        return (reach > low) & (reach < high)

    def predict(self, outputs: Outputs) -> list[dict[str, Tensor]]:
        """Return boxes, scores and labels per picture, at most 100, after non-maximum suppression per label."""
        everywhere, scores = self.tensors(outputs)
        levels = [outputs.stride == stride for stride in self.pyramid.strides]
        found = []
        for boxes, score in zip(everywhere, scores, strict=True):
            kept = []
            for level in levels:
                place, label = torch.where((score > SCORE) & level[:, None])
                best = score[place, label].topk(min(CANDIDATES, len(place))).indices
                kept.append(torch.stack([place[best], label[best]]))
            place, label = torch.cat(kept, 1)
            boxes, score = boxes[place], score[place, label]
            keep = batched_nms(boxes, score, label, OVERLAP)[:MOST]
            found.append({"boxes": boxes[keep], "scores": score[keep], "labels": label[keep]})
        return found
