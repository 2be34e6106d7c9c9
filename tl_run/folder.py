"""A run's folder: files that are whole or absent, and the rows of metrics; no torch."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FIELDS = ("stage", "step", "metric", "value")
ROW = re.compile(r"^([^,\n]+),(\d+),([^,\n]+),(-?\d[\d.e+-]*|-?inf|nan)\n", re.MULTILINE)


def first_process() -> bool:
    """Tell whether this is the process that writes files; of its machine Lightning knows only from a Trainer on."""
    from lightning.pytorch.utilities import rank_zero_only  # takes seconds, and wrong options need none

    return int(getattr(rank_zero_only, "rank", 0)) == 0 and os.environ.get("NODE_RANK", "0") == "0"


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a kill leaves the old one or the new one: temporary file, sync, rename.

    Args:
        path: The file; its folder is made if it is missing.
        data: Its new content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a mapping as JSON, whole or not at all.

    Args:
        path: The file.
        value: Its content; JSON has no word for numbers that are not finite.

    Raises:
        ValueError: If a number in it is not finite.
    """
    write_whole(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def finite(value: float | None) -> float | None:
    """Return a number as JSON can hold it: None where it is not finite or there is none."""
    return None if value is None or not math.isfinite(value) else float(value)


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Return the whole rows of a metrics file; an unfinished last line, and what is no row, are left out."""
    if not path.exists():
        return []
    found = ROW.finditer(path.read_text(encoding="utf-8", errors="replace"))
    return [dict(zip(FIELDS, row.groups(), strict=True)) for row in found]


def rows_of(path: Path, stage: str) -> bytes:
    """Return a stage's rows of a metrics file, without the header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n", extrasaction="ignore")
    writer.writerows(row for row in read_metrics(path) if row["stage"] == stage)
    return text.getvalue().encode()


def append_rows(path: Path, stage: str, rows: bytes) -> None:
    """Write a stage's rows into a metrics file, in place of those that it has of the stage."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row for row in read_metrics(path) if row["stage"] != stage)
    write_whole(path, text.getvalue().encode() + rows)


def last_validation(path: Path, stage: str) -> dict[str, float]:
    """Return what a stage's last validation measured, by name; what was undefined in it is absent.

    Args:
        path: The metrics file.
        stage: The stage's name.
    """
    rows = [row for row in read_metrics(path) if row["stage"] == stage and row["metric"].startswith("val/")]
    last = max((int(row["step"]) for row in rows), default=None)
    return {row["metric"]: float(row["value"]) for row in rows if int(row["step"]) == last}
