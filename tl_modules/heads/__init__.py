"""Heads: from features to one task's outputs, loss, metrics and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from inspect import signature
from typing import Any

from tl_modules.discovery import imported
from tl_modules.heads.base import Head, Judged, Placement
from tl_modules.task import KINDS, Task

__all__ = ["HEADS", "Head", "Judged", "Placement", "build_head", "head_of"]


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


def head_of(kind: str) -> type[Head]:
    """Return the head of a kind: ours, or the class of one's own that an import path names.

    Args:
        kind: One of `HEADS`, or a path such as `my_project.heads.Ordinal` whose module is imported.

    Raises:
        ValueError: If there is none, or it is no `Head`.
    """
    if "." not in kind:
        return HEADS[kind]
    found = imported(kind, "kind")
    if not (isinstance(found, type) and issubclass(found, Head)):
        raise ValueError(f"kind={kind!r}: must be a subclass of tl_modules.heads.Head")
    return found


def build_head(
    task: Task,
    dim: int,
    channels: Sequence[int],
    strides: Sequence[int],
    labels: Sequence[str] | None = None,
    made: type[Head] | None = None,
) -> Head:
    """Build the head for a task.

    Args:
        task: The task.
        dim: Length of the backbone's pooled features.
        channels: Channels of its maps, finest first.
        strides: Strides of its maps in pixels.
        labels: The names, where they are more than the task's own.
        made: The head's class, where it is not the kind's own.

    Raises:
        ValueError: If the head needs maps and the backbone has none.
    """
    made = made or head_of(task.kind)
    if made.needs_maps and not channels:
        raise ValueError(f"task {task.name!r}: a {task.kind} head needs a backbone with feature maps; this has none")
    options = {"positive": task.positive} if "positive" in signature(made).parameters else {}
    names = list(task.labels if labels is None else labels)
    build: Any = made
    head: Head = build(dim, channels, strides, names, task.key, **options)
    head.kind = task.kind  # type: ignore[misc]  # of one's own it is the import path
    return head
