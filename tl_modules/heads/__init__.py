"""Heads: from features to one task's outputs, loss, metrics and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tl_modules.heads.base import Head
from tl_modules.heads.classification import Classification
from tl_modules.heads.detection import Detection
from tl_modules.heads.multilabel import Multilabel
from tl_modules.heads.regression import Regression
from tl_modules.heads.segmentation import Segmentation
from tl_modules.tasks import Task

__all__ = ["HEADS", "Classification", "Detection", "Head", "Multilabel", "Regression", "Segmentation", "build_head"]

HEADS: dict[str, Any] = {head.kind: head for head in (Classification, Multilabel, Regression, Segmentation, Detection)}


def build_head(
    task: Task, dim: int, channels: Sequence[int], strides: Sequence[int], labels: Sequence[str] | None = None
) -> Head:
    """Build the head for a task.

    Args:
        task: The task.
        dim: Length of the backbone's pooled features.
        channels: Channels of its maps, finest first.
        strides: Strides of its maps in pixels.
        labels: The names, where they are more than the task's own.

    Raises:
        ValueError: If the head needs maps and the backbone has none.
    """
    kind = HEADS[task.kind]
    if kind.needs_maps and not channels:
        raise ValueError(f"task {task.name!r}: a {task.kind} head needs a backbone with feature maps; this has none")
    options = {"positive": task.positive} if task.kind == "classification" else {}
    head: Head = kind(dim, channels, strides, list(task.labels if labels is None else labels), task.key, **options)
    return head
