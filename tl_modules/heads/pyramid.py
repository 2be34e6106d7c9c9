"""A light feature pyramid over a backbone's maps."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from tl_modules.features import Features

WIDTH = 64


class Pyramid(nn.Module):
    """Maps of one width that see all coarser ones (Lin et al. 2017).

    Args:
        channels: Channels of the backbone's maps, finest first.
        strides: Their strides in pixels.
        finest: Maps finer than this stride are left out, if any other is there.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], finest: int) -> None:
        super().__init__()
        pairs = sorted(zip(strides, channels, strict=True))
        kept = [pair for pair in pairs if pair[0] >= finest] or pairs[-1:]
        self.strides = [stride for stride, _ in kept]
        self.fpn = FeaturePyramidNetwork([c for _, c in kept], WIDTH)

    def forward(self, features: Features) -> list[Tensor]:
        """Return the maps `(B, 64, H_i, W_i)`, finest first."""
        return list(self.fpn({str(stride): features.maps[stride] for stride in self.strides}).values())


class Levels(nn.Module):
    """A pyramid's maps as the backbone gives them.

    Args:
        strides: Their strides in pixels.
    """

    def __init__(self, strides: Sequence[int]) -> None:
        super().__init__()
        self.strides = sorted(strides)

    def forward(self, features: Features) -> list[Tensor]:
        """Return the maps `(B, C, H_i, W_i)`, finest first."""
        return [features.maps[stride] for stride in self.strides]
