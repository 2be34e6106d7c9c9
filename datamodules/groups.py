"""Samples that belong together: one photograph's sketches, one patient's scans, one document's pages; no torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from datamodules.readers.tables import read_columns

SIDECARS = {".csv": ",", ".tsv": "\t"}
UNGROUPED = ("refuse", "alone")
SHOWN = 3


def groups_of(
    group_by: str | int,
    ids: Sequence[str],
    column: Callable[[str | int], Mapping[str, str]],
    root: Path | None,
    ungrouped: str = "refuse",
) -> list[str]:
    """Return the group of each sample.

    Args:
        group_by: What says it: a CSV or TSV file with the columns `id` and `group`, its path as it is or below `root`;
            a regular expression with one group in parentheses, which is searched in the id; else a column's name.
        ids: The samples' ids.
        column: Gives the values of a column by id, where samples are read from a table.
        root: What the samples are read from, if anything.
        ungrouped: What becomes of samples that it says no group of: `refuse`, or `alone`, each in a group of its own.

    Raises:
        ValueError: If `group_by` is none of these, or says no group of some samples.
    """
    if isinstance(group_by, str) and Path(group_by).suffix.lower() in SIDECARS:
        given: Mapping[str, str] = _sidecar(group_by, root)
        what = "has no group"
    elif isinstance(group_by, str) and "(" in group_by:
        given, what = _matched(group_by, ids), "finds nothing"
    else:
        try:
            given, what = column(group_by), "is empty"
        except ValueError as error:
            said = str(error)
            raise ValueError(said.replace("root=", f"group_by={group_by}: ", 1) if "root=" in said else said) from error
    lacking = [name for name in ids if not given.get(name, "")]
    if lacking and ungrouped == "refuse":
        some = ", ".join(lacking[:SHOWN]) + (", ..." if len(lacking) > SHOWN else "")
        said = f"{what} for {len(lacking)} of {len(ids)} samples ({some})"
        raise ValueError(f"group_by={group_by}: {said}; set ungrouped=alone to make each of them its own group")
    return [given.get(name, "") or f"{root}: {name}" for name in ids]  # no sample of another dataset has this group


def _sidecar(path: str, root: Path | None) -> dict[str, str]:
    places = [Path(path)] if root is None else [Path(path), (root if root.is_dir() else root.parent) / path]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ValueError(f"group_by={path}: there is no such file, also not as {places[-1]}")
    try:
        rows = read_columns(found, ("id", "group"), SIDECARS[found.suffix.lower()], True, True, "utf-8")
    except ValueError as error:
        raise ValueError(str(error).replace("root=", "group_by=", 1)) from error
    given: dict[str, str] = {}
    for (name, group), line in rows:
        if given.setdefault(name, group.strip()) != group.strip():
            raise ValueError(f"group_by={path}: line {line} has another group for {name} than a line before")
    return given


def _matched(pattern: str, ids: Sequence[str]) -> dict[str, str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"group_by={pattern}: is no regular expression ({error})") from error
    if compiled.groups != 1:
        said = f"has {compiled.groups} groups in parentheses; it must have one, and others as (?:...)"
        raise ValueError(f"group_by={pattern}: {said}")
    found = ((name, compiled.search(name)) for name in ids)
    return {name: match.group(1) for name, match in found if match is not None and match.group(1)}
