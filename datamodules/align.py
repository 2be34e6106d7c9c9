"""One training set whose samples carry both roles' targets, for `datamodule.mode=aligned`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from datamodules.base import InMemory
from datamodules.synthetic import scenes
from tl_modules.task import INPUTS


def aligned(source: Any, target: Any) -> InMemory:
    """Return the training samples of both roles, each once, with the targets that its roles have for it.

    Args:
        source: The source's DataModule, set up.
        target: The target's: scenes both, or both with samples in memory that have the same ids.

    Raises:
        ValueError: If samples cannot be matched: one role's ids must all be among the other's.
    """
    if isinstance(source, scenes.Scenes) and isinstance(target, scenes.Scenes):
        return scenes.aligned(source, target)
    sets = {"source": source.train_dataset, "target": target.train_dataset}
    where = "datamodule.mode=aligned:"
    for role, dataset in sets.items():
        if not isinstance(dataset, InMemory):
            raise ValueError(f"{where} the {role}'s samples are not in memory")
    ids = {role: list(dataset.fields["id"]) for role, dataset in sets.items()}
    more, fewer = sorted(sets, key=lambda role: len(ids[role]), reverse=True)
    places = {name: row for row, name in enumerate(ids[more])}
    strange = [name for name in ids[fewer] if name not in places]
    if strange:
        raise ValueError(f"{where} the {fewer}'s sample {strange[0]} is none of the {more}'s; ids must match")
    shared = set(sets[more].fields) & set(sets[fewer].fields) - {"id", *INPUTS}
    if shared:
        raise ValueError(f"{where} both roles have their targets in {', '.join(sorted(shared))}")
    have = set(ids[fewer])
    order = [places[name] for name in ids[fewer]] + [row for row, name in enumerate(ids[more]) if name not in have]
    fields = {key: _rows(values, order) for key, values in sets[more].fields.items()}
    if "image" in fields and fields["image"].shape[1:] != sets[fewer].fields["image"].shape[1:]:
        raise ValueError(f"{where} the two roles' images differ in shape; give them the same image_size and channels")
    present = {key: [have[row] for row in order] for key, have in sets[more].present.items()}
    for key in set(sets[fewer].fields) - {"id", *INPUTS}:
        values = sets[fewer].fields[key]
        missing = len(order) - len(values)
        if isinstance(values, Tensor):
            fields[key] = torch.cat([values, values[:1].expand(missing, *values.shape[1:])])
        else:
            fields[key] = [*values, *[values[0]] * missing]
        present[key] = [True] * len(values) + [False] * missing  # there the field is absent, never a made-up value
    return InMemory(fields, present)


def same_samples(source: Any, target: Any) -> InMemory | None:
    """Return one dataset with the targets of two, or None where they are not of the same samples in the same order.

    Args:
        source: The source's samples.
        target: The target's.
    """
    if not (isinstance(source, InMemory) and isinstance(target, InMemory)):
        return None
    inputs = {"id", *INPUTS}
    shared = set(source.fields) & set(target.fields)
    if shared - inputs or list(source.fields["id"]) != list(target.fields["id"]):
        return None
    if inputs & set(source.fields) != inputs & set(target.fields) or not all(
        _equal(source.fields[key], target.fields[key]) for key in shared
    ):
        return None
    return InMemory({**source.fields, **target.fields}, {**source.present, **target.present})


def _equal(one: Any, other: Any) -> bool:
    return bool(torch.equal(one, other)) if isinstance(one, Tensor) else bool(one == other)


def _rows(values: Any, order: list[int]) -> Any:
    return values[torch.tensor(order)] if isinstance(values, Tensor) else [values[row] for row in order]
