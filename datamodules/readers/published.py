"""Datasets that come in published splits, or in one that is cut."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from torch.utils.data import Dataset
from typing_extensions import Unpack

from datamodules.base import DatasetOptions, InMemory, Rows, taken
from datamodules.contents import Held, same
from datamodules.cutting import cut
from datamodules.folds import Fold, fold_of
from datamodules.groups import UNGROUPED, groups_of
from datamodules.label_map import LabelMap, relabelled
from datamodules.readers.examining import Examined
from datamodules.readers.parts import Part, Picked, some_of
from datamodules.readers.resize import BITS
from datamodules.splits import UNUSED, divided, test_of, test_size
from tl_modules.ranges import AtLeast, AtMost
from tl_modules.task import Task

log = logging.getLogger(__name__)


class ReaderOptions(DatasetOptions, total=False):
    """The options of `PublishedData`, which readers hand on as `**shared: Unpack[ReaderOptions]`."""

    duplicates: Literal["refuse", "allow"]
    max_invalid: Annotated[float, AtLeast(0), AtMost(1)]
    group_by: str | int | None
    ungrouped: Literal["refuse", "alone"] | None
    fold: Fold | None


class PictureOptions(ReaderOptions, total=False):
    """The options of readers of picture files."""

    bits: Literal[8, 10, 12, 14, 16] | None


class PublishedData(Examined):
    """Splits as published where there are any, else cut as `splits.cut` says; subclasses say what is in them.

    Args:
        task: The task, with its domain; None where only `setup` can tell.
        duplicates: `refuse` or `allow` test samples whose content is in training or validation too; None for what the
            class says.
        max_invalid: The largest share of items of a sort (pictures, boxes, rows) that is left out because they cannot
            be used, a fraction.
        bits: Of the values of 16-bit grey pictures; None for the smallest of 8, 10, 12, 14 and 16 that holds all values
            of the dataset. The upper eight are read.
        group_by: What says which samples belong together and stay in one split, over both roles: a CSV file with the
            columns `id` and `group`, a regular expression with one group in parentheses that is searched in the id, or
            a column of the table that samples are read from; None where none do. Samples of the published training
            or validation set whose group is in a later published split are left out.
        ungrouped: What becomes of samples without a group: `refuse`, or `alone`, each in a group of its own; None
            for `refuse`.
        fold: Which of k test sets that have no sample in common and all in all of them, `i/k`; None for a fifth of the
            samples. For sets without a published test set.
        label_map: What the names of its labels are called, by name; names that are not in it stay. Several may be
            called the same, and None drops one: samples whose one label it is are left out, its boxes too, and its
            pixels are ignored. Splits hold the new names in proportion. None where all stay.
        **shared: Options of every dataset, see `DatasetModule`.

    Raises:
        ValueError: If an option is out of range.
    """

    chosen: dict[str, list[tuple[str, int]]] | None = None
    sizes: dict[str, int]
    ids: dict[str, list[str]]
    all_places: list[str]
    places: dict[str, list[str]]  # by split, what tells a sample of these files from all others
    originals: dict[str, Picked]  # by split, the pictures as they were before they were read
    beside: Mapping[str, str] | None = None  # split by place of the other role's samples, which these follow
    beside_groups: Mapping[str, str] | None = None  # split by group, likewise
    groups: dict[str, list[str]] | None = None  # by split, what each sample belongs to
    all_groups: Sequence[str] = ()  # of all samples, also of those in no split
    left_out = 0  # samples of published splits whose group is in a later one
    fingerprint: str | None = None  # of the samples before they are cut: what they are called and their strata
    duplicates = "refuse"  # or allow: whether a test sample may be in training or validation too, by content

    def __init__(
        self,
        task: Task | None,
        duplicates: str | None = None,
        max_invalid: float = 0.01,
        bits: int | None = None,
        group_by: str | int | None = None,
        ungrouped: str | None = None,
        fold: Fold | None = None,
        label_map: Mapping[str, str | None] | None = None,
        **shared: Unpack[DatasetOptions],
    ) -> None:
        self.label_map = None if label_map is None else LabelMap(label_map)
        super().__init__(task, **shared)
        self.group_by, self.ungrouped, self.fold = group_by, ungrouped or "refuse", fold
        if self.ungrouped not in UNGROUPED:
            raise ValueError(f"ungrouped={ungrouped}: allowed: {', '.join(UNGROUPED)}")
        if ungrouped and group_by is None:
            raise ValueError(f"ungrouped={ungrouped}: has no effect without group_by")
        if fold is not None:
            fold_of(fold)
        self.duplicates, self.max_invalid, self.bits = duplicates or self.duplicates, max_invalid, bits
        if not 0 <= max_invalid <= 1:
            raise ValueError(f"max_invalid={max_invalid}: must be from 0 to 1")
        if bits not in (None, *BITS):
            raise ValueError(f"bits={bits}: allowed: null, {', '.join(map(str, BITS))}")
        if self.duplicates not in ("allow", "refuse"):
            raise ValueError(f"duplicates={duplicates}: allowed: allow, refuse")

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
            ValueError: If there are too few samples, or more than `max_invalid` of them cannot be used.
        """
        if self.chosen is not None:
            return
        refusal = self.examine().refusal(self.max_invalid)
        if refusal is not None:
            raise ValueError(refusal)
        self.findings.told()
        parts, groups = self._grouped(self.usable or {})
        places = {name: self._places(part) for name, part in parts.items()}
        chosen = self._cut(parts, places, groups)
        self.sizes = {name: len(part.ids) for name, part in parts.items()}
        strata = {name: self.strata(part) for name, part in parts.items()}
        said = json.dumps(
            [[name, *map(str, part.ids), *map(int, strata[name])] for name, part in sorted(parts.items())]
        )
        if groups is not None:  # which samples belong together, whatever their groups are called
            number: dict[str, int] = {}
            said += json.dumps(
                [number.setdefault(one, len(number)) for _, some in sorted(groups.items()) for one in some]
            )
        self.fingerprint = hashlib.blake2b(said.encode(), digest_size=8).hexdigest()
        self.all_places = [place for some in places.values() for place in some]
        self.originals = {}
        for split, taken_from in chosen.items():  # each is taken from one published split
            part, rows = parts[taken_from[0][0]], [row for _, row in taken_from]
            dataset = self.arranged(split, self.dataset_of(part, rows))
            if self.label_map is not None and self.own_task is not None:
                dataset = relabelled(dataset, self.own_task, self.label_map)
            setattr(self, f"{split}_dataset", dataset)
            if self.originals_of(part) is not None:
                self.originals[split] = Picked(self.originals_of(part), rows)
        if self.duplicates == "refuse":
            self._refuse_duplicates()
        self.chosen = chosen
        if groups is not None:
            self.groups = {split: [groups[name][row] for name, row in some] for split, some in chosen.items()}
            self.all_groups = [group for some in groups.values() for group in some]
            self._tell_sizes(parts, self.groups)
        self.ids = {split: [parts[name].ids[row] for name, row in some] for split, some in chosen.items()}
        self.places = {split: [places[name][row] for name, row in some] for split, some in chosen.items()}
        self.usable = {name: part._replace(kept=None) for name, part in parts.items()}

    def _places(self, part: Part) -> list[str]:
        """Return what tells each sample of a published split from all others, whoever reads it; "" if nothing."""
        files = part.files or [None] * len(part.ids)
        origin = self.origin
        named = [f"{origin}:{name}" if origin else "" for name in part.ids]
        return [name if file is None else str(file.resolve()) for name, file in zip(named, files, strict=True)]

    def column(self, name: str | int) -> Mapping[str, str]:
        """Return what is in a column of the table that samples are read from, by id.

        Raises:
            ValueError: If there is no such column, or no table.
        """
        ways = "a regular expression with one group in parentheses, or a CSV file with the columns id and group"
        raise ValueError(f"group_by={name}: {type(self).__name__} reads no table with such a column; give {ways}")

    def _grouped(self, parts: dict[str, Part]) -> tuple[dict[str, Part], dict[str, list[str]] | None]:
        """Return the published splits and the groups of their samples, without those whose group is in a later one."""
        if self.group_by is None:
            return parts, None
        ids = [name for part in parts.values() for name in part.ids]
        root = None if getattr(self, "root", None) is None else Path(self.root)  # type: ignore[attr-defined]
        groups = dict(zip(ids, groups_of(self.group_by, ids, self.column, root, self.ungrouped), strict=True))
        taken_by: set[str] = set()
        for split in [split for split in ("test", "val", "train") if split in parts]:
            part = parts[split]
            rows = [row for row, name in enumerate(part.ids) if groups[name] not in taken_by]
            if len(rows) < len(part.ids):
                out = len(part.ids) - len(rows)
                said = f"{out} of {len(part.ids)} samples of the published {split} are left out"
                log.warning("group_by=%s: %s: their groups are in the published test or val too", self.group_by, said)
                self.left_out += out
            if not rows:
                raise ValueError(f"group_by={self.group_by}: leaves nothing of the published {split}")
            parts = {**parts, split: some_of(part, rows)}
            taken_by |= {groups[name] for name in parts[split].ids}
        return parts, {split: [groups[name] for name in part.ids] for split, part in parts.items()}

    def _tell_sizes(self, parts: Mapping[str, Part], groups: Mapping[str, list[str]]) -> None:
        """Say the sizes of the splits where groups that stay whole change them."""
        wanted = test_size(len(parts["train"].ids))
        as_asked = "test" in parts or self.fold is not None or self.beside is not None
        if as_asked or abs(len(groups["test"]) - wanted) <= 0.1 * wanted:
            return
        sizes = ", ".join(f"{len(groups[split])} {split}" for split in ("train", "val", "test"))
        most = Counter(self.all_groups).most_common(1)[0]
        said = f"{len({*self.all_groups})} groups stay whole, the largest ({most[0]}) with {most[1]} samples"
        log.warning("group_by=%s: %s: %s instead of %s", self.group_by, said, sizes, f"{wanted} in test")

    def _cut(
        self, parts: Mapping[str, Part], places: Mapping[str, list[str]], grouped: Mapping[str, list[str]] | None
    ) -> dict[str, list[tuple[str, int]]]:
        strata = {name: self.strata(part) for name, part in parts.items()}
        groups = None if grouped is None else grouped["train"]
        if self.fold is not None and "test" in strata:
            remedy = "leave fold= out, or read the training set alone"
            raise ValueError(f"fold={self.fold}: this dataset has a published test set, which is never cut; {remedy}")
        if self.labelled is not None:
            whole = tuple(len(strata[split]) for split in ("train", "val") if split in strata)
            cut_off = 0 if "test" in strata else len(test_of(strata["train"], range(whole[0]), groups, self.fold)[0])
            most = sum(whole) - cut_off
            if self.labelled > most:
                raise ValueError(f"labelled={self.labelled}: must be at most {most}, the samples outside of test")
            published = (whole[0] - sum(whole) + most, whole[1]) if "val" in strata else None
            self.train_size, self.val_size = divided(self.labelled, len({*strata["train"]}), published)
        each = self.labelled is not None
        others = [(self.beside or {}).get(place) for place in places["train"]]
        if groups is not None:
            others = self._as_groups(others, groups)
        known = others if any(others) else None
        return cut(strata, self.train_size, self.val_size, self.seed, each, groups, self.fold, known)

    def _as_groups(self, others: Sequence[str | None], groups: Sequence[str]) -> list[str | None]:
        """Return the other role's split of each sample's group: where it is in several, what is kept from training."""
        found: dict[str, set[str | None]] = {}
        for group, other in zip(groups, others, strict=True):
            found.setdefault(group, {(self.beside_groups or {}).get(group)}).add(other)
        order = ("test", "val", "train", UNUSED)
        return [next((split for split in order if split in found[group]), None) for group in groups]

    def follow(self, other: PublishedData) -> None:
        """Cut the splits so that a sample, or a group, which another role has too is in the same split for both.

        Args:
            other: The other role's samples, set up; theirs stay as they are without this role.
        """
        used = {place: split for split, places in other.places.items() for place in places}
        self.beside = {place: used.get(place, UNUSED) for place in other.all_places if place}
        split_of = {group: split for split, some in (other.groups or {}).items() for group in some}
        self.beside_groups = {group: split_of.get(group, UNUSED) for group in other.all_groups}

    def keep(self, split: str, rows: Sequence[int]) -> None:
        """Leave out all but some rows of a split."""
        assert self.chosen is not None
        setattr(self, f"{split}_dataset", taken(getattr(self, f"{split}_dataset"), rows))
        named: list[Any] = [self.chosen, self.ids, self.places, *([] if self.groups is None else [self.groups])]
        for of_split in named:
            of_split[split] = [of_split[split][row] for row in rows]
        if split in self.originals:
            before = self.originals[split]
            self.originals[split] = before._replace(rows=[before.rows[row] for row in rows])

    def held(self, split: str) -> Held:
        """Return what a split's samples hold, to be compared with another's."""
        originals = self.originals.get(split)
        groups = None if self.groups is None else self.groups[split]
        dataset = getattr(self, f"{split}_dataset")
        return Held(dataset, self.task, originals and originals.at, self.places[split], groups)

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

    def cutting(self) -> dict[str, Any]:
        """Return how its splits were cut, where they were asked to be: the fold, and how many groups stayed whole."""
        made: dict[str, Any] = {} if self.fold is None else {"fold": self.fold}
        if self.groups is not None:
            counts = {split: len({*some}) for split, some in self.groups.items()}
            made["groups"] = {"count": len({*self.all_groups}), **counts, "left_out": self.left_out}
        return made

    def splits(self) -> dict[str, Any]:
        """Return, for each split, the published split it is taken from, and its ids unless it is all of that."""
        made = {}
        for split, places in (self.chosen or {}).items():
            name, ids = places[0][0], self.ids[split]
            whole = len(ids) == self.sizes[name]
            made[split] = {"from": name, "count": len(ids), "ids": "all" if whole else ids}
        return made
