"""A trained role as a plain module: for `torch.export`, ONNX, or any program without Lightning."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tl_modules.backbones import ImageStem, PassStem
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
