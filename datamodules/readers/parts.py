"""The samples of a published split, as readers list them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from datamodules.readers.resize import Fitted


class Part(NamedTuple):
    """A published split.

    Args:
        ids: An id per sample.
        strata: A number per sample; splits hold each number in proportion, as class indices or the like.
        content: Whatever `dataset_of` makes samples from.
        files: The file each sample is, where it has one of its own.
        kept: By row, what was read of a sample when it was examined, as `reading` gives it.
    """

    ids: list[str]
    strata: list[int]
    content: Any
    files: Sequence[Path | None] | None = None
    kept: Mapping[int, Any] | None = None


class Read(NamedTuple):
    """What was read of a sample's files.

    Args:
        value: What samples are made from.
        said: What is the matter with it though it is used: kind, unit and text of each `Finding`.
        peak: The largest value of a picture of more than eight bits; None for others.
        seen: The indices of the classes that are in it, where only its files tell.
    """

    value: Any
    said: Sequence[tuple[str, str, str]] = ()
    peak: int | None = None
    seen: Sequence[int] = ()


def read_of(found: Fitted, name: str, value: Any, **more: Any) -> Read:
    """Return what was read of a sample with a picture.

    Args:
        found: The picture.
        name: The sample's id.
        value: What samples are made from.
        **more: `said` and `seen`, if anything.
    """
    said = [("coerced", "pictures", f"{name} {found.coerced}")] if found.coerced else []
    return Read(value, [*said, *more.get("said", ())], found.peak, more.get("seen", ()))


class Items:
    """Some of a row of values, which are read when they are asked for.

    Args:
        values: The values.
        rows: Which of them, in order.
    """

    def __init__(self, values: Any, rows: Sequence[int]) -> None:
        self.values, self.rows = values, rows

    def __len__(self) -> int:
        """Return their number."""
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        """Return a value."""
        return self.values[self.rows[index]]


class Picked(NamedTuple):
    """Some of a row of values, which are read when they are asked for."""

    values: Any
    rows: Sequence[int]

    def at(self, index: int) -> Any:
        """Return the value of the i-th of the rows."""
        return self.values[self.rows[index]]


def some_of(part: Part, rows: Sequence[int]) -> Part:
    """Return a published split with some of its samples."""
    if len(rows) == len(part.ids):
        return part
    content = part.content
    if isinstance(content, Tensor):
        content = content[torch.tensor(rows, dtype=torch.long)]
    else:
        content = [content[row] for row in rows] if isinstance(content, list) else Items(content, rows)
    files = None if part.files is None else [part.files[row] for row in rows]
    before = part.kept or {}
    kept = {new: before[row] for new, row in enumerate(rows) if row in before}
    return Part([part.ids[row] for row in rows], [part.strata[row] for row in rows], content, files, kept)
