"""Backbones: from a batch to features, in two parts (stem and trunk)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from tl_modules.backbones.bag import bag
from tl_modules.backbones.base import Backbone, ImageStem, Stemmed, Trunk
from tl_modules.backbones.inputs import inputs
from tl_modules.backbones.own import OwnTrunk, own
from tl_modules.backbones.resnet import RESNETS, resnet
from tl_modules.backbones.small import small

__all__ = ["BACKBONES", "Backbone", "ImageStem", "OwnTrunk", "Stemmed", "Trunk", "build_backbone"]

BACKBONES = ("small", "bag", "inputs", *RESNETS)
_OPTIONS = {"small": (), "bag": ("buckets", "width", "dim"), "inputs": ("encoders", "width", "dim")}


def build_backbone(spec: nn.Module | Mapping[str, Any] | str, channels: int = 3) -> Backbone:
    """Build a backbone.

    Args:
        spec: A name of `BACKBONES`, a mapping with `name` and its options (`weights` for a ResNet, `encoders` for
            `inputs`), or a module of one's own, which is copied.
        channels: Channels of the images.

    Raises:
        ValueError: If the name or an option is unknown.
    """
    if isinstance(spec, nn.Module):
        return own(spec, channels)
    options: dict[str, Any] = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = str(options.pop("name", None))
    if name not in BACKBONES:
        raise ValueError(f"backbone={name!r} is unknown; allowed: {', '.join(BACKBONES)}")
    allowed = _OPTIONS.get(name, ("weights",))
    if options.get("weights") is None:
        options.pop("weights", None)
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise ValueError(f"backbone.{unknown[0]} is no option of {name}; allowed: {', '.join(allowed) or 'none'}")
    if name == "small":
        return small(channels)
    if name == "bag":
        return bag(**options)
    if name == "inputs":
        encoders = options.pop("encoders", {"image": "small", "text": "bag"})
        wrong = sorted(set(encoders) - {"image", "text"})
        if wrong or not encoders:
            raise ValueError(f"backbone.encoders={dict(encoders)!r}: inputs are image and text")
        return inputs({key: build_backbone(value, channels) for key, value in encoders.items()}, **options)
    return resnet(name, channels, **options)
