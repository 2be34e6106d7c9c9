"""Networks by name: torchvision's classification networks, and timm's."""

from __future__ import annotations

from typing import Any

from torch import nn

from tl_modules.backbones.base import COLOURS, IMAGENET_MEAN, IMAGENET_STD, Backbone
from tl_modules.backbones.network import cut
from tl_modules.found import TIMM, torchvision_networks
from tl_modules.transplant import Report

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
TRIAL_SIZES = (32, 48, 64, 96, 128, 160, 192, 224, 256, 288, 384)
TRIAL_WITHOUT_SIZE = (64, 224, 256, 384)
WITH_SIDE_OUTPUTS = ("googlenet", "inception_v3")
REFUSALS = (RuntimeError, AssertionError, ValueError, IndexError)


def family(name: str, channels: int = 3, weights: str | None = None, image_size: int | None = None) -> Backbone:
    """Build a network by its name, cut into stem and trunk.

    Args:
        name: A classification network of torchvision, such as `resnet18`, or `timm/<name>`.
        channels: Channels of the images; see `cut`.
        weights: A torchvision weight name such as `DEFAULT`; for timm `DEFAULT`, its pretrained weights; None for
            random ones.
        image_size: Height and width of the images in pixels. Networks that are built for one size are built for this
            one, pretrained positions interpolated; for the others it is checked that they take it. None for the
            network's own.

    Raises:
        ValueError: If the name or the weights are unknown, or the network does not take pictures of that size.
    """
    cause: Exception | None = None
    for trial in (image_size,) if image_size else TRIAL_WITHOUT_SIZE:
        try:
            net, (mean, std) = _network(name, weights, image_size)
            backbone = cut(net, channels, trial, mean, std, not name.startswith(TIMM), weights is not None)
            break
        except OSError as error:
            said = " ".join(str(error).split())
            raise ValueError(f"backbone.weights={weights}: cannot be had for {name} ({said})") from error
        except REFUSALS as error:
            if str(error).startswith("backbone"):
                raise
            cause = error
    else:
        raise _misfit(name, image_size, cause) from cause
    if weights is not None:
        adapted = ["stem.conv.weight"] if channels > COLOURS else []
        names = [key for key in backbone.state_dict() if key not in ("stem.mean", "stem.std", *adapted)]
        backbone.report = Report(names, adapted)
    return backbone


def _misfit(name: str, image_size: int | None, cause: Exception | None) -> ValueError:
    """Return what to say of a network that does not take images of a size, or that cannot be cut."""
    said = (" ".join(str(cause).split()) or type(cause).__name__).split(". ")[0][:160]
    smallest = next((size for size in TRIAL_SIZES if _takes(name, size)), None)
    if image_size is None or smallest in (None, image_size):
        return ValueError(f"backbone={name}: cannot be cut into stem and trunk: {said}")
    takes = f"does not take images of {image_size} pixels; the smallest size that it takes is {smallest}"
    return ValueError(f"backbone={name}: {takes} ({said})")


def _takes(name: str, size: int) -> bool:
    try:
        cut(_network(name, None, size)[0], 3, size, classifier=not name.startswith(TIMM))
    except REFUSALS:
        return False
    return True


def _network(name: str, weights: str | None, size: int | None) -> tuple[nn.Module, Statistics]:
    """Return a network with the mean and standard deviation that belong to its weights.

    Raises:
        ValueError: If the name, the weights or, where the network is built for one, the size do not fit.
    """
    make = _timm if name.startswith(TIMM) else _torchvision
    return make(name.removeprefix(TIMM), weights, size)


def _torchvision(name: str, weights: str | None, size: int | None) -> tuple[nn.Module, Statistics]:
    from torchvision.models import get_model, get_model_weights

    known = ("DEFAULT", *torchvision_networks().get(name, ()))
    if weights not in (None, *known):
        raise ValueError(f"backbone.weights={weights!r} is unknown for {name}; allowed: {', '.join(known)}")
    options: dict[str, Any] = {}
    if name in WITH_SIDE_OUTPUTS:
        options = {"aux_logits": False, "transform_input": False} | ({} if weights else {"init_weights": True})
    if size and weights is None:
        options |= {"image_size": size} if name.startswith("vit_") else {}
        options |= {"input_size": (size, size)} if name.startswith("maxvit") else {}
    net = get_model(name, weights=weights, **options)
    if weights is None:
        return net, (IMAGENET_MEAN, IMAGENET_STD)
    if name in WITH_SIDE_OUTPUTS:  # their weights were trained on inputs from -1 to 1
        return net, ((0.5,) * 3, (0.5,) * 3)
    if size and name.startswith("vit_") and size != getattr(net, "image_size", size):
        net = _interpolated(name, net, size)
    transforms = get_model_weights(name)[weights].transforms()
    return net, (tuple(transforms.mean), tuple(transforms.std))


def _interpolated(name: str, net: nn.Module, size: int) -> nn.Module:
    """Return a torchvision ViT for another size of images, its positions interpolated."""
    from torchvision.models import get_model
    from torchvision.models.vision_transformer import interpolate_embeddings

    patch: Any = net.patch_size
    resized = get_model(name, weights=None, image_size=size)
    resized.load_state_dict(interpolate_embeddings(size, patch, net.state_dict()))
    return resized


def _timm(name: str, weights: str | None, size: int | None) -> tuple[nn.Module, Statistics]:
    try:
        import timm
    except ImportError as error:
        raise ValueError(f'backbone=timm/{name}: timm is not installed; pip install "tl-modules[timm]"') from error
    if not timm.is_model(name):
        from difflib import get_close_matches

        close = get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise ValueError(f"backbone=timm/{name}: timm has no such model{hint}")
    if weights not in (None, "DEFAULT"):
        raise ValueError(f"backbone.weights={weights!r}: a timm model takes DEFAULT; a tag goes into its name")
    options: dict[str, Any] = {"pretrained": weights is not None, "num_classes": 0}
    sized: dict[str, Any] = {"img_size": size} if size else {}
    try:
        net = timm.create_model(name, **options, **sized)
    except TypeError:  # a family that takes any size
        net = timm.create_model(name, **options)
    config: Any = net.pretrained_cfg
    return net, (tuple(config["mean"]), tuple(config["std"]))
