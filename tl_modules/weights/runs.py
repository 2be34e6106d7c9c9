"""What the folder of a run says of its checkpoints: the reading of its journal, which `tl_run.journal` writes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

NAME, BEFORE = "journal.json", "journal.before.json"
SCHEMA = 2
Content = dict[str, Any]


def read_journal(folder: Path) -> Content | None:
    """Return what a run's journal says, or None where the folder has none.

    Where the file is damaged or was being replaced, the one before it counts. A folder from before there were journals
    is read as far as its finished stages go.

    Args:
        folder: The run's folder.

    Raises:
        ValueError: If the journal is of a later version, or both files are damaged.
    """
    damaged = None
    for path in (folder / NAME, folder / BEFORE):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(found, dict) or not isinstance(found.get("schema"), int):
                raise ValueError("no journal")
            if found["schema"] <= SCHEMA and not _is_whole(found):
                raise ValueError("no journal")
        except FileNotFoundError:
            continue
        except (ValueError, OSError, RecursionError):
            damaged = damaged or path
            continue
        if found["schema"] > SCHEMA:
            raise ValueError(
                f"{path}: schema {found['schema']} is of a later version, this one reads up to {SCHEMA}; update"
            )
        return found
    if damaged is not None:
        raise ValueError(f"{damaged}: is damaged, and there is none before it")
    return _without_journal(folder)


def _is_whole(found: Content) -> bool:
    """Tell whether a journal's fields are of the types that they were written with."""
    stages, holder, config = (found.get(name) for name in ("stages", "holder", "config"))
    return (
        isinstance(stages, dict)
        and all(isinstance(stage, dict) and isinstance(stage.get("checkpoints"), list) for stage in stages.values())
        and all(isinstance(stage.get("done"), dict | None) for stage in stages.values())
        and (holder is None or (isinstance(holder, dict) and {"host", "pid", "started"} <= holder.keys()))
        and isinstance(config, str | None)
    )


def _without_journal(folder: Path) -> Content | None:
    """Return the finished stages of a run of schema 1, which kept a record in each stage's folder."""
    records = sorted(folder.glob("checkpoints/*/DONE.json"), key=lambda file: file.stat().st_mtime)
    if not records:
        return None
    try:
        stages = {one.parent.name: {"checkpoints": [], "done": json.loads(one.read_text())} for one in records}
    except ValueError as error:
        raise ValueError(f"{folder}: a DONE.json in it is damaged") from error
    return {"schema": 1, "status": None, "holder": None, "config": None, "stages": stages}


def digest_of(data: bytes) -> str:
    """Return the checksum of a file's content: BLAKE2b, 16 bytes, as hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def damage(path: Path, digest: str | None) -> str | None:
    """Return what is wrong with a file, None where it is as it was written.

    Args:
        path: The file.
        digest: Its checksum; None where none was kept.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror or error})"
    return f"{path}: differs from what was written (checksum)" if digest not in (None, digest_of(data)) else None


def chosen_checkpoint(path: Path) -> Path:
    """Return the checkpoint file that a path names: itself, or the one that a run folder's last finished stage chose.

    Raises:
        ValueError: If there is none, or it is not as it was written.
    """
    if path.is_file():
        return path
    journal = read_journal(path) if path.is_dir() else None
    done = [(name, stage["done"]) for name, stage in (journal or {"stages": {}})["stages"].items() if stage["done"]]
    if not done:
        raise ValueError(f"{path} is neither a file of weights nor the folder of a finished run")
    name, record = done[-1]
    file = path / "checkpoints" / name / str(record["checkpoint"])
    wrong = damage(file, record.get("digest"))
    if wrong:
        raise ValueError(wrong)
    return file
