"""What is found in a dataset before it is trained on: what is left out, and what is kept but changed. No torch."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

log = logging.getLogger(__name__)
SHOWN = 5
# What can be the matter with an item, and whether it is left out for it.
KINDS = {
    "unreadable": True,  # it cannot be read
    "missing": True,  # it names a file that is not there
    "empty": True,  # there is nothing in it: a box without area or outside of its picture, a text without words
    "unlabelled": True,  # it has no label, or one that is none
    "ambiguous": True,  # it can be meant in two ways
    "stray": False,  # a file that is no picture stands among pictures
    "clipped": False,  # what stands out is cut off
    "too_small": False,  # it is not seen at the size that pictures are brought to
    "coerced": False,  # it is read with fewer digits or as another type
}
FEW, STRONG = 5, 20.0  # samples of a class; samples of the largest class per sample of the smallest


class Unusable(ValueError):
    """An item that is left out; its text says of which item and why.

    Args:
        text: What is wrong.
        kind: One of `KINDS`.
    """

    def __init__(self, text: str, kind: str = "unreadable") -> None:
        super().__init__(text)
        self.kind = kind


class Finding(NamedTuple):
    """What is the matter with an item.

    Args:
        kind: One of `KINDS`.
        unit: What sort of item it is, in the plural: `pictures`, `boxes`, `rows`, ...
        text: Which item it is and what is wrong.
    """

    kind: str
    unit: str
    text: str


class Findings:
    """What is found in one dataset.

    Args:
        where: The option that says which, for messages, such as `root=pictures`.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.totals: dict[str, int] = {}
        self.found: list[Finding] = []
        self.classes: dict[str, int] = {}
        self.notes: list[str] = []
        self.bits: int | None = None
        self.label_map: dict[str, str | None] = {}  # what names are called; None drops one
        self.dropped: dict[str, dict[str, int]] = {}  # by name that is dropped and by sort of items, how many

    def count(self, unit: str, number: int) -> None:
        """Add to the number of all items of a sort."""
        self.totals[unit] = self.totals.get(unit, 0) + number

    def add(self, kind: str, unit: str, text: str) -> None:
        """Note what is the matter with an item."""
        self.found.append(Finding(kind, unit, text))

    def drop(self, label: str, unit: str, number: int) -> None:
        """Add to the number of items of a sort that have a label which is dropped."""
        counts = self.dropped.setdefault(label, {})
        counts[unit] = counts.get(unit, 0) + number

    def of(self, kind: str, unit: str) -> list[str]:
        """Return what was noted of a kind about items of a sort."""
        return [one.text for one in self.found if (one.kind, one.unit) == (kind, unit)]

    def left_out(self, unit: str) -> list[str]:
        """Return what was noted about the items of a sort that are left out."""
        return [one.text for one in self.found if one.unit == unit and KINDS[one.kind]]

    def why_none(self) -> str:
        """Return what was the matter with the first item that is left out, to say why nothing is there."""
        texts = [one.text for one in self.found if KINDS[one.kind]]
        return f" that can be used: {listed(texts)}" if texts else ""

    def lines(self) -> list[str]:
        """Return a line per kind and sort of items, and the notes."""
        made = []
        for kind, unit in sorted({one[:2] for one in self.found}, key=lambda one: (list(KINDS).index(one[0]), one[1])):
            texts = self.of(kind, unit)
            left = ", left out" if KINDS[kind] else ""
            said = f"{len(texts)} of {self.totals.get(unit, len(texts))} {unit} {kind.replace('_', ' ')}{left}"
            made.append(f"{self.where}: {said}: {listed(texts)}")
        dropped = [
            f"{name}, of {' and '.join(f'{count} {unit}' for unit, count in counts.items())}, is dropped by labels="
            for name, counts in self.dropped.items()
        ]
        return [*made, *(f"{self.where}: {note}" for note in (*dropped, *self.notes))]

    def refusal(self, most: float) -> str | None:
        """Return why too much would be left out; None where it is not.

        Args:
            most: The largest share of items of a sort that is left out, a fraction.
        """
        for unit, total in self.totals.items():
            texts = self.left_out(unit)
            if len(texts) > most * total:
                said = f"{len(texts)} of {total} {unit} cannot be used: {listed(texts)}"
                return f"{self.where}: {said}; more than max_invalid={most:g} of all"
        return None

    def told(self) -> None:
        """Say all in the log, a line per kind."""
        for line in self.lines():
            log.warning("%s", line)

    def weigh(self, classes: Mapping[str, int], apart: bool = True) -> None:
        """Note how many samples each class has, and what is odd about that.

        Args:
            classes: Samples by class; 0 for a name that none has.
            apart: Whether a sample is of one class, which is to be told from others.
        """
        self.classes = dict(classes)
        there = {name: count for name, count in classes.items() if count}
        alike: dict[str, list[str]] = {}
        for name in classes:
            alike.setdefault(" ".join(name.split()).casefold(), []).append(repr(name))
        empty = [name for name in classes if name not in there]
        few = [f"{name} ({count})" for name, count in there.items() if count < FEW]
        if len(there) == 1 and apart:
            self.notes.append(f"all samples are of one class, {next(iter(there))}: there is nothing to tell apart")
        if empty:
            self.notes.append(f"no sample is of {listed(empty)}")
        if few:
            self.notes.append(f"fewer than {FEW} samples are of {listed(few)}")
        for names in (names for names in alike.values() if len(names) > 1):
            self.notes.append(f"classes {' and '.join(names)} differ in blanks or the case of letters alone")
        if len(there) > 1 and max(there.values()) > STRONG * min(there.values()):
            most, least = max(there, key=there.__getitem__), min(there, key=there.__getitem__)
            self.notes.append(
                f"{there[most]} samples are of {most} and {there[least]} of {least}: more than {STRONG:g} to 1"
            )

    def report(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        counts: dict[str, dict[str, int]] = {}
        for one in self.found:
            of_kind = counts.setdefault(one.kind, {})
            of_kind[one.unit] = of_kind.get(one.unit, 0) + 1
        return {
            "items": self.totals,
            "counts": counts,
            "left_out": {unit: len(self.left_out(unit)) for unit in self.totals if self.left_out(unit)},
            "bits": self.bits,
            "classes": self.classes,
            "labels": {"called": self.label_map, "dropped": self.dropped},
            "notes": self.notes,
            "found": [{**one._asdict(), "left_out": KINDS[one.kind]} for one in self.found],
        }


def listed(texts: Sequence[str]) -> str:
    """Return the first of some texts in a row, and how many more there are."""
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return f"{'; '.join(texts[:SHOWN])}{more}"
