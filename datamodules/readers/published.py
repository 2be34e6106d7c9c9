"""Datasets that come in published splits, or in one that is cut."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch.utils.data import Dataset
from typing_extensions import Unpack

from datamodules.base import DatasetModule, DatasetOptions, InMemory, Rows, taken
from datamodules.contents import Held, same
from datamodules.splits import UNUSED, cut, cut_as, divided, test_size
from tl_modules.task import Task

log = logging.getLogger(__name__)


class Part(NamedTuple):
    """A published split.

    Args:
        ids: An id per sample.
        strata: A number per sample; splits hold each number in proportion, as class indices or the like.
        content: Whatever `dataset_of` makes samples from.
        files: The file each sample is, where it has one of its own.
    """

    ids: list[str]
    strata: list[int]
    content: Any
    files: Sequence[Path | None] | None = None


class Picked(NamedTuple):
    """Some of a row of values, which are read when they are asked for."""

    values: Any
    rows: Sequence[int]

    def at(self, index: int) -> Any:
        """Return the value of the i-th of the rows."""
        return self.values[self.rows[index]]


class ReaderOptions(DatasetOptions, total=False):
    """The options of `PublishedData`, which readers hand on as `**shared: Unpack[ReaderOptions]`."""

    duplicates: Literal["refuse", "allow"]


class PublishedData(DatasetModule):
    """Splits as published where there are any, else cut as `splits.cut` says; subclasses say what is in them.

    Args:
        task: The task, with its domain; None where only `setup` can tell.
        duplicates: `refuse` or `allow` test samples whose content is in training or validation too; None for what the
            class says.
        **shared: Options of every dataset, see `DatasetModule`.

    Raises:
        ValueError: If `duplicates` is unknown.
    """

    chosen: dict[str, list[tuple[str, int]]] | None = None
    sizes: dict[str, int]
    ids: dict[str, list[str]]
    all_places: list[str]
    places: dict[str, list[str]]  # by split, what tells a sample of these files from all others
    originals: dict[str, Picked]  # by split, the pictures as they were before they were read
    beside: Mapping[str, str] | None = None  # split by place of the other role's samples, which these follow
    fingerprint: str | None = None  # of the samples before they are cut: what they are called and their strata
    duplicates = "refuse"  # or allow: whether a test sample may be in training or validation too, by content

    def __init__(self, task: Task | None, duplicates: str | None = None, **shared: Unpack[DatasetOptions]) -> None:
        super().__init__(task, **shared)
        self.duplicates = duplicates or self.duplicates
        if self.duplicates not in ("allow", "refuse"):
            raise ValueError(f"duplicates={duplicates}: allowed: allow, refuse")

    @property
    def origin(self) -> str:
        """What the samples' ids are relative to: equal for two readers of the same samples."""
        root = getattr(self, "root", None)
        return "" if root is None else str(Path(root).resolve())

    def published(self) -> dict[str, Part]:
        """Return the published splits, `train` at least; afterwards `task` is there."""
        raise TypeError(f"{type(self).__name__} has no splits")

    def dataset_of(self, part: Part, rows: Sequence[int]) -> Dataset[Any]:
        """Return the samples of some rows of a published split."""
        raise TypeError(f"{type(self).__name__} has no samples")

    def originals_of(self, part: Part) -> Any:
        """Return the pictures by row as they were before they were read, files or arrays; None where there are none."""
        return part.files

    def arranged(self, split: str, dataset: Dataset[Any]) -> Dataset[Any]:
        """Return a split's samples as they are used; as they are, unless a subclass hides something of them."""
        return dataset

    def setup(self, stage: str | None = None) -> None:
        """Make the three datasets, once.

        Raises:
            ValueError: If there are too few samples, or one cannot be read.
        """
        if self.chosen is not None:
            return
        parts = self.published()
        places = {name: self._places(part) for name, part in parts.items()}
        chosen = self._cut(parts, places)
        self.sizes = {name: len(part.ids) for name, part in parts.items()}
        said = json.dumps([[name, *map(str, part.ids), *map(int, part.strata)] for name, part in sorted(parts.items())])
        self.fingerprint = hashlib.blake2b(said.encode(), digest_size=8).hexdigest()
        self.all_places = [place for some in places.values() for place in some]
        self.originals = {}
        for split, taken_from in chosen.items():  # each is taken from one published split
            part, rows = parts[taken_from[0][0]], [row for _, row in taken_from]
            setattr(self, f"{split}_dataset", self.arranged(split, self.dataset_of(part, rows)))
            if self.originals_of(part) is not None:
                self.originals[split] = Picked(self.originals_of(part), rows)
        if self.duplicates == "refuse":
            self._refuse_duplicates()
        self.chosen = chosen
        self.ids = {split: [parts[name].ids[row] for name, row in some] for split, some in chosen.items()}
        self.places = {split: [places[name][row] for name, row in some] for split, some in chosen.items()}

    def _places(self, part: Part) -> list[str]:
        """Return what tells each sample of a published split from all others, whoever reads it; "" if nothing."""
        files = part.files or [None] * len(part.ids)
        named = [f"{self.origin}:{name}" if self.origin else "" for name in part.ids]
        return [name if file is None else str(file.resolve()) for name, file in zip(named, files, strict=True)]

    def _cut(self, parts: Mapping[str, Part], places: Mapping[str, list[str]]) -> dict[str, list[tuple[str, int]]]:
        strata = {name: part.strata for name, part in parts.items()}
        if self.labelled is not None:
            whole = tuple(len(strata[split]) for split in ("train", "val") if split in strata)
            most = sum(whole) if "test" in strata else sum(whole) - test_size(whole[0])
            if self.labelled > most:
                raise ValueError(f"labelled={self.labelled}: must be at most {most}, the samples outside of test")
            published = (whole[0] - sum(whole) + most, whole[1]) if "val" in strata else None
            self.train_size, self.val_size = divided(self.labelled, len({*strata["train"]}), published)
        each = self.labelled is not None
        others = [(self.beside or {}).get(place) for place in places["train"]]
        if any(others):
            return cut_as(strata, others, self.train_size, self.val_size, self.seed, each)
        return cut(strata, self.train_size, self.val_size, self.seed, each)

    def follow(self, other: PublishedData) -> None:
        """Cut the splits so that a sample which another role has too is in the same split for both.

        Args:
            other: The other role's samples, set up; theirs stay as they are without this role.
        """
        used = {place: split for split, places in other.places.items() for place in places}
        self.beside = {place: used.get(place, UNUSED) for place in other.all_places if place}

    def keep(self, split: str, rows: Sequence[int]) -> None:
        """Leave out all but some rows of a split."""
        assert self.chosen is not None
        setattr(self, f"{split}_dataset", taken(getattr(self, f"{split}_dataset"), rows))
        for named in (self.chosen, self.ids, self.places):
            values: Any = named[split]
            named[split] = [values[row] for row in rows]  # type: ignore[index]
        if split in self.originals:
            before = self.originals[split]
            self.originals[split] = before._replace(rows=[before.rows[row] for row in rows])

    def held(self, split: str) -> Held:
        """Return what a split's samples hold, to be compared with another's."""
        originals = self.originals.get(split)
        return Held(getattr(self, f"{split}_dataset"), self.task, originals and originals.at, self.places[split])

    def _refuse_duplicates(self) -> None:
        """Refuse test samples whose picture or text is in another split too."""
        test, *others = (self._as_used(split) for split in ("test", "train", "val"))
        found = [(row, other.id(twin)) for other in others for twin, row in same(test, other).items()]
        if found:
            count = len({row for row, _ in found})
            said = f"{count} of {len(test)} test samples are in training or validation too"
            raise ValueError(
                f"duplicates=refuse: {said}, such as {test.id(found[0][0])}, which is {found[0][1]}; "
                "take them out or set duplicates=allow"
            )

    def _as_used(self, split: str) -> Held:
        """Return what a split's samples hold: what is in memory as it is there, the rest as it is in the files."""
        dataset = getattr(self, f"{split}_dataset")
        in_memory = isinstance(dataset, InMemory) and not any(isinstance(v, Rows) for v in dataset.fields.values())
        originals = None if in_memory else self.originals.get(split)
        return Held(dataset, self.task, originals and originals.at)

    def splits(self) -> dict[str, Any]:
        """Return, for each split, the published split it is taken from, and its ids unless it is all of that."""
        made = {}
        for split, places in (self.chosen or {}).items():
            name, ids = places[0][0], self.ids[split]
            whole = len(ids) == self.sizes[name]
            made[split] = {"from": name, "count": len(ids), "ids": "all" if whole else ids}
        return made


def check_share(where: str, unusable: Sequence[str], total: int, most: float) -> None:
    """Name the items that cannot be used in the log, and refuse too many of them: none is dropped silently.

    Args:
        where: What they belong to, for the message.
        unusable: What is wrong with each.
        total: Number of all items.
        most: The largest share that is left out, a fraction.

    Raises:
        ValueError: If the share is larger.
    """
    if not unusable:
        return
    said = f"{where}: {len(unusable)} of {total} cannot be used and are left out: {'; '.join(unusable[:5])}"
    if len(unusable) > most * total:
        raise ValueError(f"{said}; more than unusable={most} of all")
    log.warning("%s", said)
