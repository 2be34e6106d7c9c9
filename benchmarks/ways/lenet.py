"""LeNet, on which Sener and Koltun (2018) compare joint objectives; it keeps where in the picture a digit is."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from tl_modules.backbones import Backbone, ImageStem, Trunk
from tl_modules.backbones.base import COLOURS, Stemmed
from tl_modules.features import Features

WIDTHS, SIDE = (10, 20, 64), 36  # of the layers; pixels of a picture's side


class LeNetTrunk(Trunk):
    """A pooled convolution and a layer over all its places; no maps."""

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.channels, self.strides = WIDTHS[2], [], []
        self.conv = nn.Conv2d(WIDTHS[0], WIDTHS[1], 5)
        places = ((SIDE - 4) // 2 - 4) // 2
        self.whole = nn.Linear(WIDTHS[1] * places**2, WIDTHS[2])

    def forward(self, stemmed: Stemmed) -> Features:
        """Return features `(B, 64)`."""
        values = F.max_pool2d(stemmed.values.relu(), 2)
        values = F.max_pool2d(self.conv(values).relu(), 2)
        return Features(self.whole(values.flatten(1)).relu(), {}, stemmed.size)


def lenet(channels: int = COLOURS) -> Backbone:
    """Build the network for pictures of 36 pixels.

    Args:
        channels: Channels of the images.
    """
    return Backbone(ImageStem(nn.Conv2d(max(COLOURS, channels), WIDTHS[0], 5), channels=channels), LeNetTrunk())
