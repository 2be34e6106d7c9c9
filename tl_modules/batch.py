"""Batches as the modules read them: dicts whose keys name the roles they serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tl_modules.heads import head_of
from tl_modules.task import ROLES, Task

Batch = dict[str, Any]
TOLERANCE = 1e-3  # of images in 0..1: what rounding leaves


def by_roles(batch: Any, key: str, tasks: Mapping[str, Task]) -> dict[str, Batch]:
    """Return a batch as `{roles: batch dict}`, where `roles` is one role or `source+target`.

    Args:
        batch: Such a dict, a plain batch dict, images alone, or a pair `(images, targets)`; torchvision's detection
            pairs `(images, [{"boxes", "labels"}, ...])` with labels from 0 too.
        key: Whose batch it is if it does not say so itself.
        tasks: Task by role, to name the second of a pair.

    Raises:
        ValueError: If it is none of these, or its images are floats out of range.
    """
    made = _by_roles(batch, key, tasks)
    for part in made.values():
        check_range(part)
    return made


def says_roles(batch: Any) -> bool:
    """Tell whether a batch is a dict whose keys name the roles that its parts serve."""
    return isinstance(batch, Mapping) and bool(batch) and all(set(str(k).split("+")) <= set(ROLES) for k in batch)


def check_range(batch: Batch) -> None:
    """Refuse images that are floats outside of 0..1: they would be normalised twice. uint8 ones cost nothing.

    Args:
        batch: A batch dict as it comes, every one; finding the range of 32 float images of 224 pixels takes 1 ms.

    Raises:
        ValueError: If the images are out of range.
    """
    image = batch.get("image")
    if not isinstance(image, Tensor) or image.dtype == torch.uint8 or not image.numel():
        return
    if not image.is_floating_point():
        found = str(image.dtype).removeprefix("torch.")
        raise ValueError(f"images must be uint8, or floats in 0..1; these are {found}")
    low, high = (float(value) for value in image.detach().aminmax())
    if low < -TOLERANCE or high > 1 + TOLERANCE:
        cure = "remove the normalisation: it belongs to the backbone's weights" if low < 0 else "divide them by 255"
        raise ValueError(f"images must be uint8, or floats in 0..1; these are in [{low:.3g}, {high:.3g}]; {cure}")


def check_not_nan(batch: Batch) -> None:
    """Refuse images that are not numbers: what is said of them would count. In training they end in a divergence.

    Args:
        batch: A batch dict.

    Raises:
        ValueError: If a value is NaN; the text names the first such sample.
    """
    image = batch.get("image")
    if not isinstance(image, Tensor) or not image.is_floating_point() or not bool(image.isnan().any()):
        return
    row = int(image.isnan().flatten(1).any(1).nonzero()[0])
    raise ValueError(f"image of sample {batch['id'][row] if 'id' in batch else row}: has values that are NaN")


def _by_roles(batch: Any, key: str, tasks: Mapping[str, Task]) -> dict[str, Batch]:
    if isinstance(batch, Mapping):
        if says_roles(batch):
            there = {str(name): part for name, part in batch.items() if part is not None}  # None: a loader has run out
            return {name: _by_roles(part, name, tasks)[name] for name, part in there.items()}
        return {key: dict(batch)}
    if isinstance(batch, Tensor):
        return {key: {"image": batch}}
    if isinstance(batch, Sequence) and len(batch) == 2 and _are_images(batch[0]):
        images, targets = batch
        role = key.split("+")[-1]
        if role not in tasks:
            raise ValueError(f"{role}: the module has no such role; allowed: {', '.join(tasks)}")
        task = tasks[role]
        if not isinstance(images, Tensor):
            shapes = sorted({tuple(image.shape) for image in images})
            if len(shapes) > 1:
                raise ValueError(f"images differ in shape within a batch: {', '.join(map(str, shapes[:3]))}")
            images = torch.stack(list(images))
        if isinstance(targets, Sequence) and targets and isinstance(targets[0], Mapping):
            each = [targets_of_pair(target, task, f"sample {place}") for place, target in enumerate(targets)]
            return {key: {"image": images, **{name: [one[name] for one in each] for name in each[0]}}}
        return {key: {"image": images, task.key: targets}}
    if isinstance(batch, Sequence) and len(batch) == 1 and isinstance(batch[0], Tensor):
        return {key: {"image": batch[0]}}
    raise ValueError(f"a batch must be a dict, images or a pair (images, targets), not {type(batch).__name__}")


def _are_images(value: Any) -> bool:
    listed = isinstance(value, Sequence) and bool(value) and all(isinstance(one, Tensor) for one in value)
    return isinstance(value, Tensor) or listed


def targets_of_pair(target: Any, task: Task, where: str) -> Batch:
    """Return the second of a pair `(image, target)` under the task's names, as its head takes it.

    Args:
        target: A target, or torchvision's `{"boxes": xyxy (N, 4), "labels": (N,)}` of a detection task.
        task: The task.
        where: The sample, for the error.

    Raises:
        ValueError: If it is no target of the task's.
    """
    return head_of(task.kind).of_pair(target, task.key, task.labels, where)


def size_of(batch: Batch) -> int:
    """Return the number of samples in a batch."""
    for name in ("id", "image", "text"):
        if name in batch and f"{name}_rows" not in batch:
            return len(batch[name])
    raise ValueError(f"a batch needs an image, a text or ids; this one holds {', '.join(batch)}")


def targets_of(batch: Batch, task: Task, key: str) -> tuple[Batch, Tensor | None] | None:
    """Return a task's targets in a batch.

    Args:
        batch: The batch.
        task: The task whose targets are wanted.
        key: The name under which the head reads them.

    Returns:
        The targets under the head's names and the rows of the samples that have one (None: all), or None where no
        sample has.
    """
    if task.key not in batch:
        return None
    found = {key: batch[task.key]}
    head = head_of(task.kind)
    for mine, name in zip(head.beside(task.key), head.beside(key), strict=True):
        if mine in batch:
            found[name] = batch[mine]
    rows = batch.get(f"{task.key}_rows")
    return found, rows


def annotated(
    batch: Batch, rows: Tensor | None, tasks: Mapping[str, Task], names: Sequence[str], device: torch.device
) -> Tensor:
    """Return which names each sample's own dataset annotates, all of them where what it lacks is `negative`.

    Args:
        batch: A merged batch; `role` `(B,)` is the index in `ROLES` of each sample's dataset.
        rows: The rows that have a target; None for all.
        tasks: Task by role.
        names: The merged label space.
        device: Where the result is needed.

    Returns:
        A mask `(B, K)`.
    """
    table = torch.stack([known_names(tasks[role], names, device) for role in ROLES])
    role = batch["role"] if rows is None else batch["role"][rows]
    return table[role]


def known_names(task: Task, names: Sequence[str], device: torch.device) -> Tensor:
    """Return of which names of a union it is known whether they are in a dataset's samples, booleans `(K,)`.

    Args:
        task: The dataset's task.
        names: The union.
        device: Where the result is needed.
    """
    known = [task.absent == "negative" or name in task.labels for name in names]
    return torch.tensor(known, dtype=torch.bool, device=device)
