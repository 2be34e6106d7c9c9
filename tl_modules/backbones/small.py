"""A small convolutional network for quick runs on a CPU."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import nn

from tl_modules.backbones.base import COLOURS, Backbone, ImageStem, Stemmed, Trunk
from tl_modules.features import Features

WIDTHS = (32, 64, 128, 192)


class SmallTrunk(Trunk):
    """Three blocks of convolution and normalisation, pooled in between; maps at strides 2, 4 and 8."""

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.channels, self.strides = WIDTHS[-1], list(WIDTHS[1:]), [2, 4, 8]
        self.norm = nn.BatchNorm2d(WIDTHS[0])
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Identity() if b == WIDTHS[1] else nn.MaxPool2d(2),
                nn.Conv2d(a, b, 3, padding=1, bias=False),
                nn.BatchNorm2d(b),
                nn.ReLU(),
            )
            for a, b in pairwise(WIDTHS)
        )

    def forward(self, stemmed: Stemmed) -> Features:
        """Return pooled features `(B, 192)` and the three maps."""
        x = F.relu(self.norm(stemmed.values))
        maps = {}
        for stride, block in zip(self.strides, self.blocks, strict=True):
            x = maps[stride] = block(x)
        return Features(x.mean((2, 3)), maps, stemmed.size)


def small(channels: int = 3) -> Backbone:
    """Build the network of about 0.3 million parameters.

    Args:
        channels: Channels of the images; pictures with fewer than three go through colour filters as well.
    """
    conv = nn.Conv2d(max(COLOURS, channels), WIDTHS[0], 5, stride=2, padding=2, bias=False)
    return Backbone(ImageStem(conv, channels=channels), SmallTrunk())
