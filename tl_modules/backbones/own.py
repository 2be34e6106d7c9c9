"""A user's own module as a backbone."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tl_modules.backbones.base import Backbone, Stemmed, Trunk
from tl_modules.features import Features


class PassStem(nn.Module):
    """Give images in 0..1 as they are."""

    def forward(self, batch: Mapping[str, Any]) -> Stemmed:
        """Return `batch["image"]` as floats in 0..1, `(B, C, H, W)`."""
        image = batch["image"]
        image = image if image.is_floating_point() else image.float() / 255
        return Stemmed(image, (image.shape[-2], image.shape[-1]))


class OwnTrunk(Trunk):
    """A module that maps images `(B, C, H, W)` in 0..1 to vectors `(B, D)` or to `Features`.

    Args:
        net: The module.
        channels: Channels of the images, for the one trial pass that finds the features' shape.

    Raises:
        ValueError: If the trial pass fails or gives something else.
    """

    def __init__(self, net: nn.Module, channels: int = 3) -> None:
        super().__init__()
        self.net = net
        was_training = net.training
        net.eval()
        try:
            with torch.no_grad():
                out = net(torch.zeros(1, channels, 64, 64, dtype=_type_of(net)))
        except Exception as error:
            raise ValueError(
                f"backbone={type(net).__name__} fails on images (1, {channels}, 64, 64): {error}; give a Backbone "
                "(tl_modules.backbones.Backbone) for other inputs"
            ) from error
        net.train(was_training)
        if isinstance(out, torch.Tensor) and out.ndim == 2:
            out = Features(out)
        if not isinstance(out, Features):
            raise ValueError(f"backbone={type(net).__name__} must return a tensor (B, D) or Features")
        self.dim = out.pooled.shape[1]
        _check_features(net, self.dim)
        self.strides = sorted(out.maps)
        self.channels = [out.maps[stride].shape[1] for stride in self.strides]

    def forward(self, stemmed: Stemmed) -> Features:
        """Return the module's output as features."""
        out = self.net(stemmed.values.to(_type_of(self.net)))
        return out if isinstance(out, Features) else Features(out, {}, stemmed.size)


def _type_of(net: nn.Module) -> torch.dtype:
    """Return the type of a module's weights."""
    return next((one.dtype for one in net.parameters() if one.is_floating_point()), torch.float32)


def _check_features(net: nn.Module, dim: int) -> None:
    """Refuse a classifier of torchvision, timm or the like, which would give its classes' scores as features.

    Args:
        net: The module.
        dim: Width of what it gives.

    Raises:
        ValueError: If its last layer is a classifier's.
    """
    library = type(net).__module__.split(".")[0]
    name, last = next(
        ((name, m) for name, m in reversed(list(net.named_modules())) if not list(m.children())), ("", net)
    )
    if library in ("torchvision", "timm") and isinstance(last, nn.Linear) and last.out_features == dim:
        raise ValueError(
            f"backbone={type(net).__name__} gives the scores of {dim} classes, not features: "
            f"replace its layer {name!r} by torch.nn.Identity(), or give the network by its name "
            "(a projection that is meant: wrap the network in torch.nn.Sequential)"
        )


def own(net: nn.Module, channels: int = 3) -> Backbone:
    """Return a copy of a user's module as a backbone.

    It is copied, since one instance in two roles would silently be shared. A `Backbone` keeps its stem; any other
    module counts as all trunk.

    Args:
        net: The module.
        channels: Channels of the images.
    """
    net = copy.deepcopy(net)
    return net if isinstance(net, Backbone) else Backbone(PassStem(), OwnTrunk(net, channels))
