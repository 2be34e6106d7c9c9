"""What every backbone is: a stem, then a trunk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tl_modules.features import Features
from tl_modules.transplant import Report

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Stemmed(NamedTuple):
    """A stem's output: values `(B, ...)` and the input's height and width in pixels, if it has any."""

    values: Tensor
    size: tuple[int, int] | None = None


class Trunk(nn.Module):
    """From a stem's output to features.

    Attributes:
        dim: Length of the pooled vector.
        channels: Channels of each map, finest first.
        strides: Stride of each map in pixels, finest first.
    """

    dim: int
    channels: list[int]
    strides: list[int]


class Backbone(nn.Module):
    """A stem and a trunk that fit each other.

    Args:
        stem: Batch dict → `Stemmed`: input normalisation and the first layer with weights.
        trunk: `Stemmed` → `Features`.

    Attributes:
        report: What became of its tensors where weights were loaded; empty for random ones.
    """

    def __init__(self, stem: nn.Module, trunk: Trunk) -> None:
        super().__init__()
        self.stem, self.trunk = stem, trunk
        self.dim, self.channels, self.strides = trunk.dim, trunk.channels, trunk.strides
        self.report = Report()

    def forward(self, batch: Mapping[str, Any]) -> Features:
        """Return the features of a batch dict."""
        features: Features = self.trunk(self.stem(batch))
        return features


class ImageStem(nn.Module):
    """Normalise images as the weights want it and apply the first convolution.

    Mean and standard deviation belong to the weights, not to the data: they are buffers that travel with the stem.

    Args:
        conv: The network's first convolution.
        mean: Mean a channel of images in 0..1; repeated or cut to the convolution's channels.
        std: Standard deviation a channel.
    """

    def __init__(
        self, conv: nn.Conv2d, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD
    ) -> None:
        super().__init__()
        self.conv = conv
        channels = conv.in_channels
        for name, values in (("mean", mean), ("std", std)):
            filled = torch.tensor([values[i % len(values)] for i in range(channels)])
            self.register_buffer(name, filled.view(1, channels, 1, 1))

    def forward(self, batch: Mapping[str, Any]) -> Stemmed:
        """Return the first layer's output for `batch["image"]`, uint8 or float in 0..1, `(B, C, H, W)`.

        Raises:
            ValueError: If the batch has no image, or one with other channels than the stem.
        """
        if "image" not in batch:
            raise ValueError(f"an image backbone needs samples with an image; this batch holds {', '.join(batch)}")
        image: Tensor = batch["image"]
        size = (image.shape[-2], image.shape[-1])
        channels = self.conv.in_channels
        if image.shape[1] == 1 and channels > 1:
            image = image.expand(-1, channels, -1, -1)
        if image.shape[1] != channels:
            raise ValueError(f"images have {image.shape[1]} channels, but their stem takes {channels}")
        if not image.is_floating_point():
            image = image.float() / 255
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        return Stemmed(self.conv((image - mean) / std), size)
