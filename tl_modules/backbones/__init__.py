"""Backbones: from a batch to features, in two parts (stem and trunk)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from inspect import signature
from typing import Any

from torch import nn

from tl_modules.backbones.base import Backbone, ImageStem, Stemmed, Trunk
from tl_modules.backbones.own import OwnTrunk, own
from tl_modules.backbones.resnet import RESNETS, resnet
from tl_modules.found import names_in

__all__ = ["BACKBONES", "Backbone", "ImageStem", "OwnTrunk", "Stemmed", "Trunk", "build_backbone"]

BACKBONES = (*names_in("backbones"), *RESNETS)


def build_backbone(spec: nn.Module | Mapping[str, Any] | str, channels: int = 3) -> Backbone:
    """Build a backbone.

    A name is that of a ResNet, or of a file of this package whose function of the same name builds it.

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
    build: Callable[..., Backbone]
    build = partial(resnet, name) if name in RESNETS else getattr(import_module(f"{__name__}.{name}"), name)
    takes = [option for option in signature(build).parameters if option not in ("name", "channels")]
    if options.get("weights") is None:
        options.pop("weights", None)
    unknown = sorted(set(options) - set(takes))
    if unknown:
        raise ValueError(f"backbone.{unknown[0]} is no option of {name}; allowed: {', '.join(takes) or 'none'}")
    if "channels" in signature(build).parameters:
        options["channels"] = channels
    return build(**options)
