"""What every backbone is: a stem, then a trunk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from tl_modules.features import Features
from tl_modules.weights.transfer import Report, adapt_channels, adapt_statistics

if TYPE_CHECKING:
    from tl_modules.heads.base import Head

COLOURS = 3
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
        heads: By kind of task the head that its weights were trained with, where that is not the kind's own.
    """

    dim: int
    channels: list[int]
    strides: list[int]
    heads: ClassVar[Mapping[str, type[Head]]] = {}

    def named(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Classifier | None]:
        """Return a whole network's state dict under the names of a `Backbone`, and the head that it brings.

        By default it is under them.

        Args:
            state: The state dict.
        """
        return dict(state), None


class Classifier(NamedTuple):
    """What weights bring beside a backbone: a head's kind, its names in order, and its state dict.

    `folded` tells whether its names are published ones, which are compared without case;
    `given` are its tensors' names in the report of the weights, where that counts them;
    `whole` tells whether a new head takes what is no name's row where it knows none of the names too.
    """

    kind: str
    labels: list[str]
    state: dict[str, Tensor]
    folded: bool
    given: tuple[str, ...] = ()
    whole: bool = False


class Backbone(nn.Module):
    """A stem and a trunk that fit each other.

    Args:
        stem: Batch dict → `Stemmed`: input normalisation and the first layer with weights.
        trunk: `Stemmed` → `Features`.

    Attributes:
        report: What became of its tensors where weights were loaded; empty for random ones.
        classifier: The head that came with them, if any; a new head takes its rows by name.

    Example:
        >>> from tl_modules.backbones import build_backbone
        >>> features = build_backbone("small")({"image": torch.zeros(2, 3, 32, 32, dtype=torch.uint8)})
        >>> features.pooled.shape, sorted(features.maps)
        (torch.Size([2, 192]), [2, 4, 8])
    """

    def __init__(self, stem: nn.Module, trunk: Trunk) -> None:
        super().__init__()
        self.stem, self.trunk = stem, trunk
        self.dim, self.channels, self.strides = trunk.dim, trunk.channels, trunk.strides
        self.report = Report()
        self.classifier: Classifier | None = None

    def forward(self, batch: Mapping[str, Any]) -> Features:
        """Return the features of a batch dict."""
        features: Features = self.trunk(self.stem(batch))
        return features


class ImageStem(nn.Module):
    """Normalise images as the weights want it and apply the first convolution.

    Mean and standard deviation belong to the weights, not to the data: they are buffers that travel with the stem.
    The filters' channels are filled with the images' in turn, before normalisation: a grey picture meets colour filters
    as the same grey in every channel. So it gives what the unmodified network gives for it, at the borders too, which
    filters summed over their channels do not: the network pads normalised values with zeros.

    Args:
        conv: The network's first convolution.
        mean: Mean a channel of images in 0..1; repeated or cut to the convolution's channels.
        std: Standard deviation per channel.
        channels: Channels of the images, at most the convolution's, which it is by default.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
        channels: int | None = None,
    ) -> None:
        super().__init__()
        self.conv = conv
        filters = conv.in_channels
        self.channels = filters if channels is None else channels
        for name in ("mean", "std"):
            self.register_buffer(name, torch.zeros(1, filters, 1, 1))
        self.normalise_by(mean, std)

    def normalise_by(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Set mean and standard deviation, repeated or cut to the filters' channels."""
        for name, values in (("mean", mean), ("std", std)):
            buffer = self.get_buffer(name)
            buffer.copy_(torch.tensor([values[i % len(values)] for i in range(buffer.shape[1])]).view_as(buffer))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take filters for grey alone, as older checkpoints hold them, for those of every channel."""
        given = state_dict.get(f"{prefix}conv.weight")
        if given is not None and given.ndim == 4 and given.shape[1] == 1:
            filters = self.conv.in_channels
            state_dict[f"{prefix}conv.weight"] = adapt_channels(given, filters)
            for name in ("mean", "std"):
                if f"{prefix}{name}" in state_dict:
                    state_dict[f"{prefix}{name}"] = adapt_statistics(state_dict[f"{prefix}{name}"], filters)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, batch: Mapping[str, Any]) -> Stemmed:
        """Return the first layer's output for `batch["image"]`, uint8 or float in 0..1, `(B, C, H, W)`.

        Raises:
            ValueError: If the batch has no image, or one with other channels than the stem.
        """
        if "image" not in batch:
            raise ValueError(f"an image backbone needs samples with an image; this batch holds {', '.join(batch)}")
        image: Tensor = batch["image"]
        size = (image.shape[-2], image.shape[-1])
        filters, given = self.conv.in_channels, image.shape[1]
        if given not in (1, self.channels):
            raise ValueError(f"images have {given} channels, but their stem takes {self.channels}")
        if given == 1:
            image = image.expand(-1, filters, -1, -1)
        elif given < filters:
            image = image[:, [i % given for i in range(filters)]]
        if not image.is_floating_point():
            image = image.float() / 255
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        return Stemmed(self.conv(self.filled((image - mean) / std).to(self.conv.weight.dtype)), size)

    def filled(self, image: Tensor) -> Tensor:
        """Return normalised pictures as the first convolution takes them, by default as they are."""
        return image
