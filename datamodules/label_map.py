"""Another label space for a dataset: names are renamed, joined and dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.base import InMemory
from datamodules.collate import collate
from tl_modules.heads import head_of
from tl_modules.task import Task

Called = Mapping[str, str | None]
Labels = Sequence[str] | Called


class LabelMap:
    """What a dataset's names are called: several may have one new name, None drops one, others stay as they are.

    Args:
        given: New name by name.

    Example:
        >>> goals = LabelMap({"goal": "Goal", "penalty": "Goal", "old": None})
        >>> goals.names(["goal", "old", "penalty", "save"])
        ('Goal', 'save')
        >>> goals.columns(["goal", "old", "penalty", "save"])
        [0, -1, 0, 1]
    """

    def __init__(self, given: Called) -> None:
        self.given = {str(name): None if new is None else str(new) for name, new in given.items()}

    def name(self, own: str) -> str | None:
        """Return what a name is called; None where it is dropped."""
        return self.given.get(own, own)

    def names(self, own: Sequence[str]) -> tuple[str, ...]:
        """Return what some names are called, each once, in the order of the first that is called so.

        Args:
            own: The dataset's own names.

        Raises:
            ValueError: If a name of the map is none of them, or all are dropped.
        """
        for name in self.given:
            if name not in own:
                close = get_close_matches(name, own, n=1, cutoff=0.5)
                hint = f"did you mean {close[0]}? " if close else ""
                raise ValueError(f"labels.{name}: is no name of this dataset; {hint}it has {', '.join(own)}")
        made = tuple(dict.fromkeys(new for new in map(self.name, own) if new is not None))
        if not made:
            raise ValueError(f"labels={self.said()}: drops all of {', '.join(own)}; one has to be left")
        return made

    def columns(self, own: Sequence[str]) -> list[int]:
        """Return the index of what each name is called, -1 where it is dropped.

        Args:
            own: The dataset's own names.
        """
        names = self.names(own)
        return [-1 if new is None else names.index(new) for new in map(self.name, own)]

    def task(self, own: Task) -> Task:
        """Return a task with the new names.

        Args:
            own: The task with the dataset's own.
        """
        return replace(own, labels=self.names(own.labels))

    def dropped(self, own: Sequence[str]) -> list[str]:
        """Return which of some names are dropped."""
        return [name for name in own if self.name(name) is None]

    def said(self) -> str:
        """Return the map as it stands on a command line."""
        pairs = (f"{name}: {'null' if new is None else new}" for name, new in self.given.items())
        return f"{{{', '.join(pairs)}}}"


def listed_or_mapped(labels: Labels | None) -> tuple[list[str] | None, Called | None]:
    """Return the names where a list is given, and the map where one is.

    Args:
        labels: Either, or None.
    """
    if isinstance(labels, Mapping):
        return None, labels
    return None if labels is None else list(labels), None


def relabelled(dataset: Any, own: Task, labels: LabelMap) -> Any:
    """Return a dataset with its targets under the new names.

    Args:
        dataset: Its samples, none of which has a one label that is dropped.
        own: Its task as it was read.
        labels: The map.
    """
    head = head_of(own.kind)
    columns = torch.tensor(labels.columns(own.labels), dtype=torch.long)
    count = len(labels.names(own.labels))
    if not isinstance(dataset, InMemory):
        return Relabelled(dataset, own, columns, count)
    if own.key not in dataset.fields:
        return dataset
    return InMemory({**dataset.fields, **head.to_union(dataset.fields, own.key, columns, count)}, dataset.present)


class Relabelled(Dataset[dict[str, Any]]):
    """Samples that are read when they are asked for, with their targets under other names.

    Args:
        dataset: The samples, dicts.
        own: Their task as it is read.
        columns: The new index of each of its names, -1 where one is dropped.
        count: The number of new names.
    """

    def __init__(self, dataset: Any, own: Task, columns: Tensor, count: int) -> None:
        self.dataset, self.own, self.columns, self.count = dataset, own, columns, count

    @property
    def fixed(self) -> bool:
        """Whether a sample is the same whenever it is read."""
        return bool(getattr(self.dataset, "fixed", False))

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a sample."""
        sample, key, head = self.dataset[index], self.own.key, head_of(self.own.kind)
        if key not in sample:
            return dict(sample)
        targets = collate([{name: sample[name] for name in (key, *head.beside(key)) if name in sample}])
        made = head.to_union(targets, key, self.columns, self.count)
        return {**sample, **{name: values[0] for name, values in made.items()}}
