"""Backbones: from a batch to features, in two parts (stem and trunk)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from torch import nn

from tl_modules.backbones.base import Backbone, ImageStem, Stemmed, Trunk
from tl_modules.backbones.families import family, statistics_of
from tl_modules.backbones.network import NetworkTrunk
from tl_modules.backbones.own import OwnTrunk, PassStem, own
from tl_modules.discovery import TIMM, imported, names_in, torchvision_networks

__all__ = [
    "BACKBONES",
    "Backbone",
    "ImageStem",
    "NetworkTrunk",
    "OwnTrunk",
    "PassStem",
    "Stemmed",
    "Trunk",
    "build_backbone",
]

BACKBONES = (*names_in("backbones"), *torchvision_networks())


def build_backbone(spec: nn.Module | Mapping[str, Any] | str, channels: int = 3) -> Backbone:
    """Build a backbone.

    A name is that of a file of this package whose function of the same name builds it, of a network of torchvision or
    timm, or the import path of a function or class of one's own, whose module is imported. That one returns a
    `Backbone` or any module from images to vectors, and is given the images' channels if it has such an argument.

    Args:
        spec: A name of `BACKBONES`, `timm/<name>` or an import path, a mapping with `name` and its options (`weights`
            for all, a file or run folder or a name of the library's; `image_size` for a network of torchvision or timm;
            `encoders` for `document`; `model` for `huggingface`), or a module of one's own, which is copied.
        channels: Channels of the images.

    Raises:
        ValueError: If the name or an option is unknown, or a file of weights does not fit.
    """
    if isinstance(spec, nn.Module):
        return own(spec, channels)
    options: dict[str, Any] = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = str(options.pop("name", None))
    by_family = name in torchvision_networks() or name.startswith(TIMM)
    mine = "." in name and not by_family
    if name not in BACKBONES and not by_family and not mine:
        own_one = "the import path of one of your own"
        raise ValueError(f"backbone={name!r} is unknown; allowed: {', '.join(BACKBONES)}, timm/<name>, or {own_one}")
    build: Callable[..., Any]
    if mine:
        build = imported(name, "backbone")
    else:
        build = partial(family, name) if by_family else getattr(import_module(f"{__name__}.{name}"), name)
    weights = options.get("weights")
    from_file = weights is not None and Path(str(weights)).exists()
    if from_file or weights is None:
        options.pop("weights", None)
    elif "weights" not in signature(build).parameters:
        raise ValueError(f"backbone.weights={weights!r}: must be a file of weights or the folder of a run that exists")
    takes = [option for option in signature(build).parameters if option not in ("name", "channels")]
    options = {key: value for key, value in options.items() if value is not None or key in takes}
    unknown = sorted(set(options) - set(takes))
    if unknown:
        raise ValueError(f"backbone.{unknown[0]} is no option of {name}; allowed: {', '.join(takes) or 'none'}")
    if "channels" in signature(build).parameters:
        options["channels"] = channels
    built = build(**options)
    backbone = built if isinstance(built, Backbone) else own(built, channels)
    if from_file:
        from tl_modules.weights.files import load_weights

        path = Path(str(weights))
        backbone.report = load_weights(backbone, path)
        stem, moved = backbone.stem, {*backbone.report.loaded, *backbone.report.adapted}
        if isinstance(stem, ImageStem) and name in torchvision_networks() and "stem.mean" not in moved:
            stem.normalise_by(*statistics_of(name, path.name))
    return backbone
