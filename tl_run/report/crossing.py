"""Which names of one merged dataset are predicted on samples of the other: a table in the run's folder, and drawn."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from tl_modules.task import Task

TABLE, PICTURE = "test_union.csv", "confusion_union.png"
NOTHING = "(nothing)"
MOST_DRAWN = 30  # names


class Crossed(NamedTuple):
    """What was predicted on the samples of one of two datasets.

    Args:
        true: Its own names, and perhaps nothing.
        found: The names of both, and perhaps nothing.
        counts: A row per true name, a column per predicted one.
    """

    true: list[str]
    found: list[str]
    counts: list[list[float]]

    def shares(self) -> list[list[float]]:
        """Return the rows as shares of their sums; zeros where there was nothing."""
        return [[value / (sum(row) or 1.0) for value in row] for row in self.counts]


def crossed(confusion: Mapping[str, Tensor], tasks: Mapping[str, Task], labels: Sequence[str]) -> dict[str, Crossed]:
    """Return the confusions of a test by role, without rows and columns for nothing where there is none.

    Args:
        confusion: By role, int64 `(K + 1, K + 1)`; see `tl_modules.union.UnionScores`.
        tasks: Task by role.
        labels: The names of both.
    """
    missed = any(bool(table[:, -1].any()) for table in confusion.values())
    found = [*labels, *([NOTHING] if missed else [])]
    made = {}
    for role, table in confusion.items():
        rows = [list(labels).index(name) for name in tasks[role].labels]
        true = [labels[row] for row in rows]
        if bool(table[-1].any()):
            rows, true = [*rows, len(labels)], [*true, NOTHING]
        made[role] = Crossed(true, found, [list(map(float, table[row, : len(found)].tolist())) for row in rows])
    return made


def as_csv(tables: Mapping[str, Crossed]) -> str:
    """Return the confusions as CSV: a line per dataset and true name, with the count of each predicted one."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["dataset", "true", *next(iter(tables.values())).found])
    for role, one in tables.items():
        pairs = zip(one.true, one.counts, strict=True)
        writer.writerows([role, name, *(f"{value:.0f}" for value in row)] for name, row in pairs)
    return text.getvalue()


def read(path: Path) -> dict[str, Crossed]:
    """Return what `as_csv` wrote; empty where there is no such file.

    Args:
        path: The file.
    """
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        (_, _, *found), *lines = csv.reader(file)
    made: dict[str, Crossed] = {}
    for role, name, *counts in lines:
        one = made.setdefault(role, Crossed([], found, []))
        one.true.append(name)
        one.counts.append([float(value) for value in counts])
    return made


def added(several: Iterable[Mapping[str, Crossed]]) -> dict[str, Crossed]:
    """Return the sum of some confusions by role: of runs on the same names, which may lack a row or column for nothing.

    Args:
        several: What `read` gives, by run.
    """
    sums: dict[str, dict[tuple[str, str], float]] = {}
    true: dict[str, list[str]] = {}
    found: list[str] = []
    for tables in several:
        for role, one in tables.items():
            found = _with(found, one.found)
            true[role] = _with(true.get(role, []), one.true)
            for name, row in zip(one.true, one.counts, strict=True):
                for other, value in zip(one.found, row, strict=True):
                    cell = sums.setdefault(role, {})
                    cell[name, other] = cell.get((name, other), 0.0) + value
    return {
        role: Crossed(names, found, [[sums[role].get((name, other), 0.0) for other in found] for name in names])
        for role, names in true.items()
    }


def _with(names: list[str], more: Sequence[str]) -> list[str]:
    """Return some names and what else there is, nothing at the end."""
    every = dict.fromkeys([*names, *more])
    return [name for name in every if name != NOTHING] + ([NOTHING] if NOTHING in every else [])
