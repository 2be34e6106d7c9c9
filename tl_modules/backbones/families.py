"""Networks by name: torchvision's classification networks, and timm's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from tl_modules.backbones.base import COLOURS, IMAGENET_MEAN, IMAGENET_STD, Backbone, Classifier
from tl_modules.backbones.network import NetworkTrunk, cut, last_layer
from tl_modules.discovery import TIMM, torchvision_networks
from tl_modules.weights.transfer import Report

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
Built = tuple[nn.Module, Statistics, Classifier | None]
IMAGENET = 1000
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
            net, (mean, std), classifier = _network(name, weights, image_size)
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
    trunk = backbone.trunk
    assert isinstance(trunk, NetworkTrunk)
    trunk.categories = categories_of(name, net)
    if name.startswith(TIMM):
        own: Any = net.pretrained_cfg
        named = own.get("classifier") or ()
        trunk.classifiers = (named,) if isinstance(named, str) else tuple(named)
        trunk.linear_classifier = len(trunk.classifiers) == 1
    if weights is not None:
        backbone.classifier = classifier
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


def categories_of(name: str, net: nn.Module) -> list[str]:
    """Return the names of the outputs of a network's published weights, or none where they are not known.

    Args:
        name: A network of torchvision, or `timm/<name>`.
        net: The network.
    """
    from torchvision.models import get_model_weights

    if not name.startswith(TIMM):
        enum = get_model_weights(name)
        return list(enum["DEFAULT"].meta.get("categories") or ()) if len(enum) else []
    config: Any = net.pretrained_cfg
    enum = get_model_weights("resnet18")  # timm's order of ImageNet's thousand is torchvision's
    return list(enum["DEFAULT"].meta["categories"]) if config.get("num_classes") == IMAGENET else []


def statistics_of(name: str, file: str) -> Statistics:
    """Return the mean and standard deviation that a torchvision network's weights in a file were trained with.

    Args:
        name: The network.
        file: The file's name; those of its published weight of that name, else of its default one.
    """
    from torchvision.models import get_model_weights

    if name in WITH_SIDE_OUTPUTS:  # their weights were trained on inputs from -1 to 1
        return (0.5,) * 3, (0.5,) * 3
    enum = get_model_weights(name)
    if not len(enum):
        return IMAGENET_MEAN, IMAGENET_STD
    transforms = next((w for w in enum if w.url.endswith(f"/{file}")), enum["DEFAULT"]).transforms()
    return tuple(transforms.mean), tuple(transforms.std)


def _network(name: str, weights: str | None, size: int | None) -> Built:
    """Return a network with the mean and standard deviation, and the classifier, that belong to its weights.

    Raises:
        ValueError: If the name, the weights or, where the network is built for one, the size do not fit.
    """
    make = _timm if name.startswith(TIMM) else _torchvision
    return make(name.removeprefix(TIMM), weights, size)


def _torchvision(name: str, weights: str | None, size: int | None) -> Built:
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
        return net, (IMAGENET_MEAN, IMAGENET_STD), None
    published = get_model_weights(name)[weights]
    classifier = _linear(net.get_submodule(last_layer(net)), published.meta.get("categories") or ())
    if name in WITH_SIDE_OUTPUTS:
        return net, statistics_of(name, ""), classifier
    if size and name.startswith("vit_") and size != getattr(net, "image_size", size):
        net = _interpolated(name, net, size)
    transforms = published.transforms()
    return net, (tuple(transforms.mean), tuple(transforms.std)), classifier


def _linear(layer: Any, categories: Sequence[str]) -> Classifier | None:
    """Return a linear classifier with the names of its rows, or None if it is none or they are not known."""
    if not isinstance(layer, nn.Linear) or layer.bias is None or layer.out_features != len(categories):
        return None
    state = {f"linear.{key}": value.detach().clone() for key, value in layer.named_parameters()}
    return Classifier("classification", list(categories), state, folded=True)


def _interpolated(name: str, net: nn.Module, size: int) -> nn.Module:
    """Return a torchvision ViT for another size of images, its positions interpolated."""
    from torchvision.models import get_model
    from torchvision.models.vision_transformer import interpolate_embeddings

    patch: Any = net.patch_size
    resized = get_model(name, weights=None, image_size=size)
    resized.load_state_dict(interpolate_embeddings(size, patch, net.state_dict()))
    return resized


def _timm(name: str, weights: str | None, size: int | None) -> Built:
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
    options: dict[str, Any] = {"pretrained": True} if weights else {"pretrained": False, "num_classes": 0}
    sized: dict[str, Any] = {"img_size": size} if size else {}
    try:
        net = timm.create_model(name, **options, **sized)
    except TypeError:  # a family that takes any size
        net = timm.create_model(name, **options)
    whole: Any = net
    config, classifier = whole.pretrained_cfg, None
    if weights is not None:
        classifier = _linear(whole.get_classifier(), categories_of(f"{TIMM}{name}", net))
        whole.reset_classifier(0)
    return net, (tuple(config["mean"]), tuple(config["std"])), classifier
