"""A look at every sample before training: what cannot be used is left out, whatever the seed."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, TypeGuard

from rich.progress import track
from torch import Tensor

from datamodules.base import DatasetModule
from datamodules.findings import KINDS, Findings, Unusable
from datamodules.label_map import LabelMap
from datamodules.readers.parts import Part, Read, some_of
from datamodules.readers.resize import bits_for
from datamodules.remembered import Remembered
from tl_modules.discovery import kind_of
from tl_modules.task import Task

MOST_KEPT = 1024**3  # bytes of what was read of samples when they were examined
MANY = 2000


class Examined(DatasetModule):
    """A dataset whose samples are looked at before they are cut into splits; subclasses say how they are read.

    Attributes:
        unit: What its samples are, in the plural.
        read_by: Its attributes that decide how a sample is read from its files.
        bits: Of the values of 16-bit grey pictures; None where that is not set, or not known before `examine`.
        label_map: What its names are called; None where they stay as they are. `task` has the new names, `own_task`
            those that samples are read with.
        own_task: Its task as its files have it; None where only `examine` can tell.
        usable: The published splits without what is left out.
    """

    unit: ClassVar[str] = "pictures"
    read_by: ClassVar[tuple[str, ...]] = ("image_size", "bits")
    bits: int | None = None
    label_map: LabelMap | None = None
    own_task: Task | None = None
    usable: dict[str, Part] | None = None

    @property
    def task(self) -> Task | None:
        """The task, with the names as they are called."""
        own = self.own_task
        return own if own is None or self.label_map is None else self.label_map.task(own)

    @task.setter
    def task(self, own: Task | None) -> None:
        self.own_task = own

    @property
    def origin(self) -> str:
        """What the samples' ids are relative to: equal for two readers of the same samples."""
        root = getattr(self, "root", None)
        return "" if root is None else str(Path(root).resolve())

    def published(self) -> dict[str, Part]:
        """Return the published splits, `train` at least; afterwards `task` is there."""
        raise TypeError(f"{type(self).__name__} has no splits")

    def files_read(self, part: Part, row: int) -> Sequence[Path]:
        """Return the files that a sample is read from; what is found out about it is remembered for these."""
        file = None if part.files is None else part.files[row]
        return [] if file is None else [file]

    def begin_reading(self, parts: Mapping[str, Part]) -> bool:
        """Get ready to read samples; tell whether there are any that are read from files."""
        return False

    def reading(self, part: Part, row: int) -> Read:
        """Read a sample from its files.

        Raises:
            Unusable: If it cannot be used.
        """
        raise TypeError(f"{type(self).__name__} reads nothing from files")

    def weighed(self, parts: Mapping[str, Part], seen: Mapping[int, int]) -> dict[str, int]:
        """Return how many samples of `train` each class has; empty where there are no classes.

        Args:
            parts: The published splits.
            seen: Number of samples by class index, where only files tell.
        """
        if self.task is None or not self.task.labels:
            return {}
        found = Counter(self.strata(parts["train"])) if self.one_label() else seen
        return {name: found.get(index, 0) for index, name in enumerate(self.task.labels)}

    def one_label(self) -> bool:
        """Tell whether each sample has one label, which its stratum then is."""
        kind = None if self.own_task is None else kind_of(self.own_task.kind)
        return kind is not None and kind.one_label

    def strata(self, part: Part) -> list[int]:
        """Return the strata of a published split: of samples with one label its index among the names as called."""
        if self.label_map is None or self.own_task is None or not self.one_label():
            return part.strata
        columns = self.label_map.columns(self.own_task.labels)
        return [columns[label] for label in part.strata]

    def _kept(self, parts: dict[str, Part]) -> dict[str, Part]:
        """Return the published splits without the samples whose one label is dropped, and say what is called how."""
        if self.label_map is None or self.own_task is None:
            return parts
        out = self.label_map.dropped(self.own_task.labels)
        self.findings.label_map = dict(self.label_map.given)
        if not self.one_label():
            return parts
        made = {}
        for name, part in parts.items():
            counts = Counter(self.own_task.labels[label] for label in part.strata)
            for label in out:
                self.findings.drop(label, self.unit, counts[label])
            made[name] = some_of(part, [row for row, label in enumerate(self.strata(part)) if label >= 0])
            if not made[name].ids:
                raise ValueError(f"labels={self.label_map.said()}: leaves no sample of the published {name}")
        return made

    @cached_property
    def findings(self) -> Findings:
        """What is found in the files."""
        root = getattr(self, "root", None)
        return Findings(type(self).__name__ if root is None else f"root={root}")

    def examine(self) -> Findings:
        """Look at every sample, once and whatever the seed, and leave out those that cannot be used.

        Returns:
            What is found; whether that is too much is for `setup` to say.

        Raises:
            ValueError: If the whole cannot be read.
        """
        if self.usable is None:
            parts, seen = self.published(), Counter[int]()
            from_files = self.begin_reading(parts)
            parts = self._kept(parts)
            if from_files:
                options = [(name, getattr(self, name, None)) for name in self.read_by]
                task = None if self.own_task is None else self.own_task.to_dict()
                known = Remembered(repr((type(self).__qualname__, self.origin, options, task)))
                peaks: list[int] = []
                parts = {name: self._examined(name, part, known, peaks, seen) for name, part in parts.items()}
                known.save()
                if peaks:
                    self._scale_to(max(peaks))
                    parts = {name: part._replace(kept=None) for name, part in parts.items()}
            if not self.findings.totals:
                self.findings.count(self.unit, sum(len(part.ids) for part in parts.values()))
            self.findings.weigh(self.weighed(parts, seen), self.one_label())
            self.usable = parts
        return self.findings

    def _scale_to(self, peak: int) -> None:
        """Settle the bits of 16-bit pictures."""
        given, self.bits = self.bits, self.bits or bits_for(peak)
        self.findings.bits = self.bits
        why = "as set" if given else "which hold all of the dataset"
        self.findings.notes.append(
            f"16-bit pictures have values up to {peak}; they are read as {self.bits} bits, {why}: divided by "
            f"{2 ** (self.bits - 8)}"
        )

    def _examined(self, name: str, part: Part, known: Remembered, peaks: list[int], seen: Counter[int]) -> Part:
        """Return a published split without what is left out; with what was read, while that is not too much."""
        count = len(part.ids)
        self.findings.count(self.unit, count)
        files = [self.files_read(part, row) for row in range(count)]
        found = {row: one for row in range(count) if files[row] and _is_whole(one := known.get(files[row]))}
        new = [row for row in range(count) if row not in found]
        kept: dict[int, Any] = {}
        held = 0
        for row, (one, value) in zip(new, read_all(partial(self._look, part), new), strict=True):
            found[row] = one
            if files[row]:
                known.put(files[row], one)
            held += size_in_memory(value)
            if held <= MOST_KEPT and not one["out"]:
                kept[row] = value
        if held > MOST_KEPT:
            kept.clear()
        for row in range(count):
            for finding in found[row]["said"]:
                self.findings.add(*finding)
            if found[row]["peak"] is not None:
                peaks.append(found[row]["peak"])
            there = [index for index in found[row]["seen"] if index >= 0]
            if self.label_map is not None and self.own_task is not None and there:
                for index in there:
                    label = self.own_task.labels[index]
                    if self.label_map.name(label) is None and not found[row]["out"]:
                        self.findings.drop(label, self.unit, 1)
                columns = self.label_map.columns(self.own_task.labels)
                there = [*{columns[index] for index in there}]
            if name == "train":
                seen.update(there)
        return some_of(part._replace(kept=kept), [row for row in range(count) if not found[row]["out"]])

    def _look(self, part: Part, row: int) -> tuple[dict[str, Any], Any]:
        """Return what is found out about a sample, and what was read."""
        try:
            read = self.reading(part, row)
        except Unusable as error:
            return {"out": True, "said": [[error.kind, self.unit, str(error)]], "peak": None, "seen": []}, None
        said = [list(one) for one in read.said]
        return {"out": False, "said": said, "peak": read.peak, "seen": list(read.seen)}, read.value


class Reading:
    """Reads the samples of some rows of a published split, from what was kept or from their files.

    Args:
        data: The dataset.
        part: The split.
        rows: The rows.
    """

    def __init__(self, data: Examined, part: Part, rows: Sequence[int]) -> None:
        self.data, self.part, self.rows = data, part, rows

    def __call__(self, index: int) -> Any:
        """Return what `Examined.reading` gives of the i-th row."""
        row, kept = self.rows[index], self.part.kept or {}
        return kept[row] if row in kept else self.data.reading(self.part, row).value


def _is_whole(found: dict[str, Any] | None) -> TypeGuard[dict[str, Any]]:
    """Tell whether what is remembered of a sample is what `Examined._look` gives."""
    if found is None or not {"out", "said", "peak", "seen"} <= found.keys():
        return False
    lists = isinstance(found["said"], list) and isinstance(found["seen"], list)
    return lists and all(isinstance(one, list) and len(one) == 3 and one[0] in KINDS for one in found["said"])


def read_all(read: Callable[[int], Any], rows: Sequence[int]) -> Iterator[Any]:
    """Yield what is read of some rows, by as many threads as there are cores, with a bar where there are many.

    Args:
        read: Gives what is read of a row.
        rows: The rows.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(read, rows)
        shown = len(rows) >= MANY and sys.stderr.isatty()
        yield from track(found, "examining", total=len(rows), transient=True) if shown else found


def size_in_memory(value: Any) -> int:
    """Return the bytes that the tensors of what was read take."""
    values = value.values() if isinstance(value, Mapping) else [value]
    return sum(one.nbytes for one in values if isinstance(one, Tensor))
