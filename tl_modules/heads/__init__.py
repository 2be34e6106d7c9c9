"""Heads: from features to one task's outputs, loss, metrics and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from tl_modules.heads.base import Head
from tl_modules.task import KINDS, Task

__all__ = ["HEADS", "Head", "build_head"]


def _head_of(kind: str) -> Any:
    """Return the head that a kind's file defines.

    Raises:
        ValueError: If it defines none.
    """
    for value in vars(import_module(f"{__name__}.{kind}")).values():
        if isinstance(value, type) and issubclass(value, Head) and getattr(value, "kind", None) == kind:
            return value
    raise ValueError(f"tl_modules/heads/{kind}.py defines no Head with kind = {kind!r}")


HEADS: dict[str, Any] = {kind: _head_of(kind) for kind in KINDS}


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
