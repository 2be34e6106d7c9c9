"""A small backbone without batch normalisation, whose output for a sample depends on no other sample of its batch."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from tl_modules.backbones import Backbone, ImageStem, Trunk
from tl_modules.backbones.base import COLOURS, Stemmed
from tl_modules.features import Features

WIDTHS = (16, 24, 32, 48)
GROUPS = 4


class PlainTrunk(Trunk):
    """Three blocks of convolution and group normalisation; maps at strides 2, 4 and 8."""

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.channels, self.strides = WIDTHS[-1], list(WIDTHS[1:]), [2, 4, 8]
        self.norm = nn.GroupNorm(GROUPS, WIDTHS[0])
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a, b, 3, stride=1 if b == WIDTHS[1] else 2, padding=1, bias=False),
                nn.GroupNorm(GROUPS, b),
                nn.ReLU(),
            )
            for a, b in pairwise(WIDTHS)
        )

    def forward(self, stemmed: Stemmed) -> Features:
        """Return pooled features `(B, 48)` and the three maps."""
        x, maps = self.norm(stemmed.values).relu(), {}
        for stride, block in zip(self.strides, self.blocks, strict=True):
            x = maps[stride] = block(x)
        return Features(x.mean((2, 3)), maps, stemmed.size)


def plain(channels: int = COLOURS) -> Backbone:
    """Build the network.

    Args:
        channels: Channels of the images.
    """
    conv = nn.Conv2d(max(COLOURS, channels), WIDTHS[0], 5, stride=2, padding=2, bias=False)
    return Backbone(ImageStem(conv, channels=channels), PlainTrunk())
