"""Columns of CSV and TSV files."""

from __future__ import annotations

import codecs
import csv
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from datamodules.findings import Findings

Row = tuple[list[str], int]
OTHERS = ("\t", ";", "|", ",")  # separators that a file may have instead
SEPARATOR = r"^(.|\\t|\t)$"  # one character, or a backslash and a t


def read_columns(
    path: Path, columns: Sequence[str | int], separator: str, header: bool, quotes: bool, encoding: str
) -> list[Row]:
    """Return some columns of each row, and its line.

    Args:
        path: The file.
        columns: The columns: names, or without a header numbers from 0.
        separator: What stands between columns; a backslash and a t stand for a tab.
        header: Whether the first line names the columns.
        quotes: Whether quotes hold a field together.
        encoding: Of the file.

    Raises:
        ValueError: If the file cannot be read so, or a column is missing.
    """
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    quoting: Any = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    try:
        marked = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding  # Excel's mark is no text
        with open(path, newline="", encoding=marked) as file:
            lines = list(csv.reader(file, delimiter=separator.replace("\\t", "\t"), quoting=quoting))
    except UnicodeDecodeError as error:
        raise ValueError(f"root={path}: is not in {encoding} (byte {error.start}); set encoding=") from error
    except LookupError as error:
        raise ValueError(f"encoding={encoding}: is unknown") from error
    except csv.Error as error:
        raise ValueError(f"root={path}: cannot be read as a table ({error})") from error
    except OSError as error:
        raise ValueError(f"root={path}: must be a file that exists") from error
    if len(lines) <= header:
        raise ValueError(f"root={path}: has no rows")
    names: list[Any] = lines[0] if header else list(range(len(lines[0])))
    missing = [column for column in columns if column not in names]
    if missing:
        other = next((one for one in OTHERS if one != separator and len(names) == 1 and one in str(names[0])), None)
        shown, hint = ", ".join(map(str, names)), ""
        if other is not None:
            shown, hint = f"one, {names[0]!r}", f"; what is between columns is separator={other!r}".replace("'", '"')
        raise ValueError(f"root={path}: has no column {missing[0]}; it has {shown}{hint}")
    places = [names.index(column) for column in columns]
    rows = [(line, place) for place, line in enumerate(lines[header:], 1 + header) if line]
    short = [place for line, place in rows if len(line) <= max(places)]
    if short:
        raise ValueError(f"root={path}: line {short[0]} has too few columns for {', '.join(map(str, columns))}")
    long = [place for line, place in rows if any(cell.strip() for cell in line[len(names) :])]
    if long:
        raise ValueError(
            f"root={path}: line {long[0]} has more than the {len(names)} columns of the first line; "
            f"quote a text that has the separator {separator!r} in it"
        )
    return [([line[place] for place in places], number) for line, number in rows]


def named_labels(
    path: Path, values: Sequence[tuple[str, int]], labels: Mapping[str, str | None] | None
) -> tuple[list[str], list[int | None]]:
    """Return the label names and each row's index among them: None where a row has no label, -1 where it is dropped.

    Args:
        path: The file, for messages.
        values: What is in the labels' column of each row, and its line.
        labels: Label name by what is in the column, None for one that is dropped; values that are not in it keep their
            own, in alphabetical order after the others. If it has all that occur, it may have others too.

    Raises:
        ValueError: If `labels` has what is not in the column, or drops all.
    """
    given = {str(value): name for value, name in (labels or {}).items()}
    there = sorted({value for value, _ in values if value.strip()})
    own = [value for value in there if value not in given]
    unknown = [value for value in given if value not in there]
    if own and unknown:
        close = get_close_matches(unknown[0], there, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ValueError(f"labels.{unknown[0]}: is no label in {path}; {hint}it has {', '.join(there)}")
    called: dict[str, str | None] = {**given, **{value: value for value in own}}
    names = list(dict.fromkeys(name for name in called.values() if name is not None))
    if not names:
        raise ValueError(f"root={path}: no row has a label{' that labels= does not drop' if there else ''}")

    def index(value: str) -> int | None:
        name = called.get(value)
        return names.index(name) if name is not None else -1 if value in called else None

    return names, [index(value) for value, _ in values]


def labelled_rows(
    findings: Findings,
    rows: Sequence[Row],
    indices: Sequence[int | None],
    labels: Mapping[str, str | None] | None = None,
) -> tuple[list[Row], list[int]]:
    """Return the rows that have a label, and these; the others are noted.

    Args:
        findings: Where they are noted.
        rows: Columns and line of each row, its label in the last.
        indices: What `named_labels` gives of each.
        labels: What labels are called, likewise.
    """
    findings.count("rows", len(rows))
    findings.label_map = {str(value): name for value, name in (labels or {}).items()}
    for (columns, place), index in zip(rows, indices, strict=True):
        if index is None:
            findings.add("unlabelled", "rows", f"row {place} has no label")
        elif index < 0:
            findings.drop(columns[-1], "rows", 1)
    there = [(row, index) for row, index in zip(rows, indices, strict=True) if index is not None and index >= 0]
    return [row for row, _ in there], [index for _, index in there]
