"""A network for digits of 28 pixels that keeps where a stroke is, about as SHOT's (Liang et al. 2020)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from tl_modules.backbones import Backbone, ImageStem, Trunk
from tl_modules.backbones.base import COLOURS, Stemmed
from tl_modules.features import Features

WIDTHS, SIDE, WIDE = (24, 48, 96), 28, 128  # of the convolutions; pixels of a picture's side; features


class DigitsTrunk(Trunk):
    """Two pooled convolutions and a layer over all places, each with BatchNorm; no maps."""

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.channels, self.strides = WIDE, [], []
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in WIDTHS)
        self.second = nn.Conv2d(WIDTHS[0], WIDTHS[1], 5, padding=2, bias=False)
        self.third = nn.Conv2d(WIDTHS[1], WIDTHS[2], 3, padding=1, bias=False)
        self.whole = nn.Sequential(
            nn.Linear(WIDTHS[2] * (SIDE // 8) ** 2, WIDE, bias=False), nn.BatchNorm1d(WIDE), nn.ReLU()
        )

    def forward(self, stemmed: Stemmed) -> Features:
        """Return features `(B, 128)`."""
        values = F.max_pool2d(self.norms[0](stemmed.values).relu(), 2)
        values = F.max_pool2d(self.norms[1](self.second(values)).relu(), 2)
        values = F.max_pool2d(self.norms[2](self.third(values)).relu(), 2)
        return Features(self.whole(values.flatten(1)), {}, stemmed.size)


def digits(channels: int = COLOURS) -> Backbone:
    """Build the network of 0.2 million parameters.

    Args:
        channels: Channels of the images.
    """
    first = nn.Conv2d(max(COLOURS, channels), WIDTHS[0], 5, padding=2, bias=False)
    return Backbone(ImageStem(first, channels=channels), DigitsTrunk())
