"""Two datasets merged into one over the union of their label names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.naming import naming
from tl_modules.heads import head_of
from tl_modules.task import INPUTS, ROLES, Task

Batch = dict[str, Any]


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter not in "_-" and not letter.isspace())


def twins(tasks: Mapping[str, Task]) -> dict[str, str]:
    """Return the source's names that differ from one of the target's only in case, spaces or dashes, with that one.

    Args:
        tasks: Task by role.
    """
    names = {role: tasks[role].labels if role in tasks else () for role in ROLES}
    known = {_plain(name): name for name in names["target"]}
    alike = {name: known[_plain(name)] for name in names["source"] if _plain(name) in known}
    return {name: twin for name, twin in alike.items() if name != twin and name not in names["target"]}


def joining(alike: Mapping[str, str]) -> str:
    """Return the option that makes names which differ in spelling alone the same.

    Args:
        alike: The target's name by the source's.
    """
    return f'"source.labels={{{", ".join(f"{name}: {twin}" for name, twin in alike.items())}}}" makes them one'


def union_labels(tasks: Mapping[str, Task]) -> list[str]:
    """Return the names of all tasks, each once, the source's first.

    Raises:
        ValueError: If the kinds differ, or two names differ only in case, spaces or dashes (map one to the other).
    """
    kinds = {task.kind for task in tasks.values()}
    if len(kinds) > 1:
        raise ValueError(f"datasets of different kinds cannot be merged: {', '.join(sorted(kinds))}")
    union = list(dict.fromkeys(name for role in ROLES if role in tasks for name in tasks[role].labels))
    alike = twins(tasks)
    plain: dict[str, str] = {}
    for name in union:
        twin = plain.setdefault(_plain(name), name)
        if twin != name:
            how = joining(alike) if twin in alike else "rename one"
            raise ValueError(f"labels {twin!r} and {name!r} clash: they differ only in case, spaces or dashes; {how}")
    return union


class MergedDataset(Dataset[Batch]):
    """Training samples of all roles in one row, targets in the union's label space, with `role` `(B,)` per sample.

    Args:
        datasets: Dataset by role.
        tasks: Task by role, of one kind.
        union: The union's names in order.
        read: Gives a batch from a dataset, indices, a task and a seed per sample.

    Raises:
        ValueError: If a dataset's name is not in the union.
    """

    def __init__(
        self,
        datasets: Mapping[str, Any],
        tasks: Mapping[str, Task],
        union: Sequence[str],
        read: Callable[[Any, Sequence[int], Task, Sequence[int] | None], Batch],
    ) -> None:
        self.datasets, self.tasks, self.union, self.read = dict(datasets), dict(tasks), list(union), read
        self.key = tasks["target"].key
        self.columns: dict[str, list[int]] = {}
        for role, task in tasks.items():
            unmapped = [name for name in task.labels if name not in self.union]
            if unmapped:
                raise ValueError(f"labels {', '.join(unmapped)} of the {role} are not mapped to any merged label")
            self.columns[role] = [self.union.index(name) for name in task.labels]

    def __len__(self) -> int:
        """Return the number of samples of all roles."""
        return sum(len(dataset) for dataset in self.datasets.values())

    def batch(self, indices: Sequence[int], seeds: Sequence[int] | None = None) -> Batch:
        """Return a batch; a role's samples stand together, the source's first.

        Args:
            indices: Which samples.
            seeds: A seed per sample for the datasets' own random transforms.
        """
        start, parts = 0, {}
        for role, dataset in self.datasets.items():
            rows = [row for row, i in enumerate(indices) if start <= i < start + len(dataset)]
            if rows:
                mine = [indices[row] - start for row in rows]
                given = None if seeds is None else [seeds[row] for row in rows]
                with naming(role):
                    parts[role] = self._mapped(role, self.read(dataset, mine, self.tasks[role], given))
            start += len(dataset)
        return join(parts, self.key, head_of(self.tasks["target"].kind).beside(self.key))

    def _mapped(self, role: str, batch: Batch) -> Batch:
        task = self.tasks[role]
        inputs: Batch = {name: batch[name] for name in ("id", *INPUTS) if name in batch}
        if task.key not in batch:
            return inputs
        head = head_of(task.kind)
        head.check(batch, task.key, task.labels)
        columns = torch.tensor(self.columns[role], dtype=torch.long)
        found = head.to_union(batch, task.key, columns, len(self.union))
        names = zip((task.key, *head.beside(task.key)), (self.key, *head.beside(self.key)), strict=True)
        out = {**inputs, **{theirs: found[mine] for mine, theirs in names if mine in found}}
        if f"{task.key}_rows" in batch:
            out[f"{self.key}_rows"] = batch[f"{task.key}_rows"]
        return out


def join(parts: Mapping[str, Batch], key: str, beside: Sequence[str]) -> Batch:
    """Join the batches of some roles into one with `role` `(B,)`.

    Args:
        parts: Batch by role.
        key: The targets' name.
        beside: Fields that go with them.

    Raises:
        ValueError: If the images' shapes or the inputs differ.
    """
    batches = list(parts.values())
    sizes = [len(batch["id"]) for batch in batches]
    out: Batch = {"id": [i for batch in batches for i in batch["id"]]}
    out["role"] = torch.cat([torch.full((n,), ROLES.index(r)) for r, n in zip(parts, sizes, strict=True)])
    for name in ("image", "text"):
        have = [batch[name] for batch in batches if name in batch]
        if have and len(have) != len(batches):
            raise ValueError(f"merged datasets must have the same inputs, but only one has a {name}")
        if have and name == "image":
            shapes = {tuple(images.shape[1:]) for images in have}
            if len(shapes) > 1:
                raise ValueError(f"merged datasets must have images of one shape (C, H, W), not {sorted(shapes)}")
            out[name] = torch.cat(have)
        elif have:
            out[name] = [text for texts in have for text in texts]
    start, rows = 0, []
    for batch, size in zip(batches, sizes, strict=True):
        if key in batch:
            rows.append(batch.get(f"{key}_rows", torch.arange(size)) + start)
        start += size
    for name in (key, *beside):
        values = [batch[name] for batch in batches if name in batch]
        if values and isinstance(values[0], Tensor):
            out[name] = torch.cat(values)
        elif values:
            out[name] = [value for part in values for value in part]
    if rows and sum(len(r) for r in rows) < start:
        out[f"{key}_rows"] = torch.cat(rows)
    return out
