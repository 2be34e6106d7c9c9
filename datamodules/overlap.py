"""No sample of a test set is in anything that is trained or chosen on, whichever role brings it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningDataModule

from datamodules.base import taken
from datamodules.contents import Held, akin, same
from datamodules.readers.published import PublishedData
from tl_modules.task import Task

log = logging.getLogger(__name__)
RULES = ("refuse", "drop", "allow")
LONG = 10.0
Split = tuple[str, str]
# Whose samples must not be in what. The target's validation chooses between checkpoints and between ways to train, so a
# source that trains on it would be preferred for what it has seen; what both train on, or both choose by, harms nobody.
# The source is tested too: what it remembers.
ACROSS: dict[Split, tuple[Split, ...]] = {
    ("target", "test"): (("source", "train"), ("source", "val")),
    ("target", "val"): (("source", "train"), ("source", "test")),
    ("target", "train"): (("source", "test"),),
}


def without_overlap(data: Mapping[str, LightningDataModule], tasks: Mapping[str, Task], rule: str) -> dict[str, Any]:
    """Compare the samples of both roles, and of each role whose DataModule has no say in it (`duplicates`).

    With `drop` the source's samples are left out, never the target's, which stay what every baseline has; within one
    dataset those of training and validation are. Two samples are the same as `contents.same` says; where both roles
    have groups, those of one group count too.

    Args:
        data: DataModule by role, set up.
        tasks: Task by role.
        rule: `refuse`, `drop` or `allow`.

    Returns:
        The rule, and the number of samples that were found by where they are, such as `{"source/train": 3}`.

    Raises:
        ValueError: If there are any and the rule is `refuse`, or `drop` would leave a split empty.
    """
    began = time.perf_counter()
    held = {(role, split): held_of(data[role], split, tasks.get(role)) for role in data for split in _SPLITS}
    found: dict[Split, set[int]] = {}
    said = []
    for where, others in _pairs(data):
        for other in others:
            twins = same(held[where], held[other])
            kin = {row: twin for row, twin in akin(held[where], held[other]).items() if row not in twins}
            found.setdefault(other, set()).update(twins, kin)
            for pairs, so, like in ((twins, "are in", "which is"), (kin, "share a group with", "as")):
                if pairs:
                    row, twin = next(iter(pairs.items()))
                    which = f"{held[other].id(row)}, {like} {held[where].id(twin)}"
                    said.append(f"{len(pairs)} of {len(held[other])} in {_name(other)} {so} {_name(where)} ({which})")
    counts = {"/".join(split): len(rows) for split, rows in found.items() if rows}
    seconds = time.perf_counter() - began
    if seconds > LONG:
        log.warning("comparing the samples of all splits took %.0f s", seconds)
    if said and rule == "refuse":
        raise ValueError(
            "datamodule.overlap=refuse: samples that are tested or chosen by are trained or chosen on: "
            f"{'; '.join(said)}; set overlap=drop to leave them out, or overlap=allow"
        )
    if said:
        log.warning("datamodule.overlap=%s: %s", rule, "; ".join(said))
    for (role, split), rows in found.items():
        if rows and rule == "drop":
            _leave_out(data[role], role, split, rows, len(held[role, split]))
    return {"rule": rule, "found": counts}


_SPLITS = ("train", "val", "test")


def _name(split: Split) -> str:
    return "'s ".join(split)


def _pairs(data: Mapping[str, LightningDataModule]) -> list[tuple[Split, tuple[Split, ...]]]:
    pairs: list[tuple[Split, tuple[Split, ...]]] = []
    for role in data:
        if not hasattr(data[role], "duplicates"):
            pairs.append(((role, "test"), ((role, "train"), (role, "val"))))
    if len(data) == 2:
        pairs += ACROSS.items()
    return pairs


def held_of(data: LightningDataModule, split: str, task: Task | None) -> Held:
    """Return what a split of a DataModule holds."""
    return data.held(split) if isinstance(data, PublishedData) else Held(getattr(data, f"{split}_dataset"), task)


def _leave_out(data: Any, role: str, split: str, rows: set[int], count: int) -> None:
    keep = [row for row in range(count) if row not in rows]
    if not keep:
        raise ValueError(f"datamodule.overlap=drop: would leave nothing of the {role}'s {split} samples")
    if isinstance(data, PublishedData):
        data.keep(split, keep)
    else:
        setattr(data, f"{split}_dataset", taken(getattr(data, f"{split}_dataset"), keep))
