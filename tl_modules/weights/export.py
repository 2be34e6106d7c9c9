"""A trained role for other programs: a plain module, ONNX, or its backbone's weights as its library loads them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tl_modules.backbones import ImageStem, NetworkTrunk, OwnTrunk, PassStem
from tl_modules.backbones.huggingface import EncoderTrunk
from tl_modules.heads import Head


class Exported(nn.Module):
    """Stem, trunk and head of one role, from images to predictions; in evaluation mode.

    Args:
        stem: The role's stem; it is copied, as the others are.
        trunk: Its trunk.
        head: Its head.
        labels: The role's label names, in the order of the outputs.

    Attributes:
        labels: The same.
        kind: The task's kind.

    Raises:
        ValueError: If the stem does not take images: texts are cut into words by Python, which no graph holds.
    """

    def __init__(self, stem: nn.Module, trunk: nn.Module, head: Head, labels: Sequence[str]) -> None:
        super().__init__()
        if not isinstance(stem, ImageStem | PassStem):
            raise ValueError(f"export: {type(stem).__name__} does not take images, and only these can be exported")
        self.stem, self.trunk, self.head = (copy.deepcopy(part) for part in (stem, trunk, head))
        self.labels, self.kind = list(labels), head.kind
        self.columns = [head.labels.index(name) for name in labels]
        self.requires_grad_(False).cpu().eval()

    def forward(self, image: Tensor) -> Any:
        """Return predictions for images `(B, C, H, W)`, uint8 or floats in 0..1.

        Classification and multilabel: probabilities `(B, K)`. Regression: values `(B,)`. Segmentation: label indices
        `(B, H, W)`. Detection: boxes `(B, P, 4)` in pixels and scores `(B, P, K)` of all places, before non-maximum
        suppression (`torchvision.ops.batched_nms`).
        """
        head: Any = self.head
        outputs = head(self.trunk(self.stem({"image": image})))
        if self.columns != list(range(len(head.labels))):
            outputs = head.select(outputs, self.columns)
        return head.tensors(outputs)


def to_onnx(model: Exported, path: str | Path | None, images: Tensor | None, **options: Any) -> Any:
    """Write a role as ONNX, for batches of any size.

    Args:
        model: The role.
        path: The file; None for none.
        images: Images `(B, C, H, W)` as they will come; their size stays fixed, their number does not.
        **options: Options of `torch.onnx.export` beside these.

    Returns:
        What `torch.onnx.export` returns.

    Raises:
        ValueError: If there are no images.
    """
    if images is None:
        raise ValueError("input_sample=None: give images (B, C, H, W), or set the module's example_input_array")
    images = images.detach().cpu()
    images = images if len(images) > 1 else torch.cat([images, images])  # the tracer takes a single one for a constant
    given = {"dynamo": True, "dynamic_shapes": ({0: torch.export.Dim("batch")},), "input_names": ["image"], **options}
    return torch.onnx.export(model, (images,), path, **given)


def network_state_dict(
    stem: nn.Module, trunk: nn.Module, head: Head, labels: Sequence[str], classifier: bool | None = None
) -> dict[str, Tensor]:
    """Return a role's backbone as the library or module that it came from loads it, with `strict=True`.

    Args:
        stem: The role's stem.
        trunk: Its trunk.
        head: Its head.
        labels: The role's label names, in the order that the classifier's rows shall have.
        classifier: Whether the head stands in for the network's classifier, so that a network of torchvision or timm is
            built with `num_classes=len(labels)`; None where it can: a linear head on a network whose classifier is one
            linear layer. Without it the network's classifier is to be an `Identity` (`num_classes=0` in timm).

    Returns:
        Copies on the CPU. Names are those of the network of torchvision or timm, of the encoder of Hugging Face, of a
        module of one's own, and for the other backbones those of a `Backbone`. Networks of torchvision and timm take
        images that are normalised already: `(image - stem.mean) / stem.std` of images in 0..1; here the stem does it.

    Raises:
        ValueError: If a classifier is asked for, and the head is none.
    """
    if isinstance(trunk, NetworkTrunk):
        state = {f"{trunk.first}.{key.removeprefix('conv.')}": value for key, value in stem.state_dict().items()}
        state = {key: value for key, value in state.items() if not key.endswith((".mean", ".std"))}
        state |= {key.removeprefix("net."): value for key, value in trunk.state_dict().items()}
        linear = getattr(head, "linear", None)
        can = trunk.linear_classifier and isinstance(linear, nn.Linear) and linear.in_features == trunk.dim
        if classifier and not can:
            raise ValueError(f"classifier=True: a {head.kind} head cannot stand in for this network's classifier")
        if can and classifier is not False:
            assert isinstance(linear, nn.Linear)
            rows = [head.labels.index(name) for name in labels] if labels else [0]
            state |= {f"{trunk.classifiers[0]}.{key}": value[rows] for key, value in linear.state_dict().items()}
    elif isinstance(trunk, EncoderTrunk):
        state = {f"{trunk.embeddings}.{key.removeprefix('embed.')}": v for key, v in stem.state_dict().items()}
        state |= {key.removeprefix("net."): value for key, value in trunk.state_dict().items()}
    elif isinstance(trunk, OwnTrunk):
        state = {key.removeprefix("net."): value for key, value in trunk.state_dict().items()}
    else:
        state = {f"stem.{key}": value for key, value in stem.state_dict().items()}
        state |= {f"trunk.{key}": value for key, value in trunk.state_dict().items()}
    return {key: value.detach().cpu().clone() for key, value in state.items()}


def save_state_dict(state: dict[str, Tensor], path: str | Path) -> None:
    """Write a state dict, as safetensors where the file's name says so, else as torch's.

    Args:
        state: The state dict.
        path: The file.

    Raises:
        ValueError: If the safetensors library is missing.
    """
    if Path(path).suffix != ".safetensors":
        torch.save(state, path)
        return
    try:
        from safetensors.torch import save_file
    except ImportError as error:
        raise ValueError(f"{path}: the safetensors library is not installed; pip install safetensors") from error
    save_file({key: value.contiguous() for key, value in state.items()}, str(path))
