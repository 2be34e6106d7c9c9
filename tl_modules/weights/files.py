"""Weights from files: state dicts of whole networks, and checkpoints or run folders of ours."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tl_modules.backbones.base import Backbone, Classifier, Trunk
from tl_modules.backbones.network import NetworkTrunk
from tl_modules.weights.runs import chosen_checkpoint
from tl_modules.weights.transfer import Report, transplant

WRAPPED_IN = ("state_dict", "model_state_dict", "model")
SAFETENSORS = ".safetensors"
OF_THE_DATA = ("stem.mean", "stem.std")


def read_weights(path: Path) -> dict[str, Any]:
    """Return what a file of weights holds; nothing in it is run.

    Raises:
        ValueError: If the file is missing, cut short, or holds anything but tensors and plain values.
    """
    file = chosen_checkpoint(path)
    try:
        if file.suffix == SAFETENSORS:
            return dict(load_file(file))
        content = torch.load(file, map_location="cpu", weights_only=True)
    except ImportError as error:
        raise ValueError(f"{path}: the safetensors library is not installed; pip install safetensors") from error
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: holds more than tensors and plain values, which could run code") from error
    except Exception as error:  # a file that is no pickle may fail in any way
        raise ValueError(f"{path}: cannot be read as weights; is the file whole?") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: must hold a state dict, not a {type(content).__name__}")
    return dict(content)


def load_file(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a file of safetensors.

    Raises:
        ImportError: If the library is missing.
    """
    from safetensors.torch import load_file as load

    return load(str(file))


def load_weights(backbone: Backbone, path: Path) -> Report:
    """Initialise a backbone from a file, all of it or not at all.

    A network's state dict may bring its classifier, and a checkpoint brings its target's head: neither is a backbone's,
    so it is kept beside as the backbone's `classifier`, whose rows new heads take by name. The first layer is adapted
    to pictures with more channels, and a ViT's positions to their size.

    Args:
        backbone: The backbone; its tensors are overwritten.
        path: A state dict of the whole network or of a `Backbone`, a checkpoint of a TransferModule, or the folder of
            a run, whose target's backbone is taken.

    Returns:
        What became of each tensor.

    Raises:
        ValueError: If the file is no such thing, or does not fit; the text lists the tensors.
    """
    content = read_weights(path)
    if "transfer" in content:
        stem, trunk, _ = content["transfer"]["wiring"]["target"]
        prefixes = {f"parts.stem.{stem}.": "stem.", f"parts.trunk.{trunk}.": "trunk."}
        pairs = [(key, value, old) for key, value in content["state_dict"].items() for old in prefixes]
        state = {prefixes[old] + key.removeprefix(old): value for key, value, old in pairs if key.startswith(old)}
        backbone.classifier = _head_of(content)
    else:
        state = next((content[key] for key in WRAPPED_IN if isinstance(content.get(key), Mapping)), content)
        if not state or not all(isinstance(value, Tensor) for value in state.values()):
            raise ValueError(f"{path}: must hold a state dict, names and tensors")
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return load_state(backbone, state, str(path))


def load_state(backbone: Backbone, state: Mapping[str, Tensor], said: str) -> Report:
    """Initialise a backbone from a state dict of its own or of the whole network, all of it or not at all.

    Args:
        backbone: The backbone; its tensors are overwritten.
        state: The state dict.
        said: What errors call it.

    Returns:
        What became of each tensor.

    Raises:
        ValueError: If it does not fit; the text lists the tensors.
    """
    whole = not any(key.startswith("trunk.") for key in state)
    if whole and isinstance(backbone.trunk, NetworkTrunk):
        state = _of_network(backbone.trunk, state)
    elif whole and isinstance(backbone.trunk, Trunk):
        state, brought = backbone.trunk.named(state)
        backbone.classifier = brought or backbone.classifier
    own = backbone.state_dict()
    dropped = [key for key in state if key.startswith("classifier:")]
    found = {key: value for key, value in state.items() if key not in dropped}
    wrong = [f"{key} is missing" for key in own if key not in found and key not in OF_THE_DATA]
    wrong += [f"{key} is unknown" for key in found if key not in own]
    misfits = [key for key, value in found.items() if key in own and not _fits(key, own[key], value)]
    wrong += [f"{key} is {tuple(found[key].shape)}, not {tuple(own[key].shape)}" for key in misfits]
    if wrong:
        more = f" and {len(wrong) - 6} more" if len(wrong) > 6 else ""
        raise ValueError(f"{said}: does not fit this backbone: {', '.join(wrong[:6])}{more}")
    found = {key: _resized(backbone, key, own[key], value) for key, value in found.items()}
    report = transplant(backbone, found)
    if dropped:
        backbone.classifier = _classifier_of(backbone, state)
    report.reinitialised = [key for key in report.reinitialised if key not in OF_THE_DATA]
    report.unused += [f"trunk.{key.removeprefix('classifier:')}" for key in dropped]
    return report


def _head_of(content: Mapping[str, Any]) -> Classifier:
    """Return the head of a checkpoint's target."""
    carried, name = content["transfer"], content["transfer"]["wiring"]["target"][2]
    prefix = f"parts.head.{name}."
    state = {key.removeprefix(prefix): value for key, value in content["state_dict"].items() if key.startswith(prefix)}
    return Classifier(carried["tasks"]["target"]["kind"], list(carried["labels"][name]), state, folded=False)


def _classifier_of(backbone: Backbone, state: Mapping[str, Tensor]) -> Classifier | None:
    """Return a network's linear classifier if it has as many outputs as its published weights have categories."""
    trunk = backbone.trunk
    if not isinstance(trunk, NetworkTrunk) or len(trunk.classifiers) != 1:
        return None
    found = {f"linear.{leaf}": state.get(f"classifier:{trunk.classifiers[0]}.{leaf}") for leaf in ("weight", "bias")}
    linear = {key: value for key, value in found.items() if value is not None}
    if len(linear) < 2 or tuple(linear["linear.weight"].shape) != (len(trunk.categories), backbone.dim):
        return None
    given = tuple(f"trunk.{trunk.classifiers[0]}.{key.removeprefix('linear.')}" for key in linear)
    return Classifier("classification", trunk.categories, linear, folded=True, given=given)


def _of_network(trunk: NetworkTrunk, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a whole network's state dict under the names of a backbone."""
    named = {}
    for key, value in state.items():
        module, _, leaf = key.rpartition(".")
        if module == trunk.first:
            named[f"stem.conv.{leaf}"] = value
        elif module in trunk.classifiers or key.startswith(("AuxLogits.", "aux1.", "aux2.")):
            named[f"classifier:{key}"] = value
        else:
            named[f"trunk.net.{key}"] = value
    return named


def _fits(key: str, own: Tensor, given: Tensor) -> bool:
    first = key.endswith(("stem.conv.weight", *OF_THE_DATA))
    channels = first and own.shape[0] == given.shape[0] and own.shape[2:] == given.shape[2:]
    positions = key.endswith("pos_embedding") and own.ndim == 3 and own.shape[2] == given.shape[2]
    return own.shape == given.shape or channels or positions


def _resized(backbone: Backbone, key: str, own: Tensor, given: Tensor) -> Tensor:
    """Return a ViT's positions for another size of images; other tensors as they are."""
    if not key.endswith("pos_embedding") or own.shape == given.shape:
        return given
    from torchvision.models.vision_transformer import interpolate_embeddings

    net: Any = backbone.trunk.net
    assert isinstance(net, nn.Module)
    size, patch = int(net.image_size), int(net.patch_size)  # type: ignore[arg-type]
    return next(iter(interpolate_embeddings(size, patch, {"encoder.pos_embedding": given}).values()))


def unweighted(spec: Any) -> Any:
    """Return a backbone's options without its weights: a checkpoint brings its own and needs the file no more.

    Args:
        spec: A name, a mapping, or None.
    """
    if not isinstance(spec, Mapping):
        return spec
    plain = {key: value for key, value in spec.items() if key != "weights"}
    if isinstance(plain.get("encoders"), Mapping):
        plain["encoders"] = {key: unweighted(value) for key, value in plain["encoders"].items()}
    return plain
