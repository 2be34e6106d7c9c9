"""What was found out about files, so that the next run over the same files need not decode them again. No torch."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
SCHEMA = 1


def cache_folder() -> Path:
    """Return the folder in the user's cache: below `XDG_CACHE_HOME`, by default `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tl-modules" / "examined"


class Remembered:
    """What was found out about files, by their paths, sizes and times of change.

    A file of the cache that is missing, broken or cannot be written is no harm: the files are looked at again.

    Args:
        address: What else it depends on, such as the options by which the files are read.
    """

    def __init__(self, address: str) -> None:
        self.path = cache_folder() / f"{hashlib.blake2b(address.encode(), digest_size=16).hexdigest()}.json"
        self.changed = False
        self.known: dict[str, list[Any]] = {}
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            if content["schema"] == SCHEMA and isinstance(content["known"], dict):
                self.known = content["known"]
        except (OSError, ValueError, KeyError, TypeError):
            log.debug("nothing is remembered in %s", self.path)

    def get(self, files: Sequence[Path]) -> dict[str, Any] | None:
        """Return what was found out about files; None where that is not known, or one of them has changed."""
        found = self.known.get(_name(files))
        is_whole = isinstance(found, list) and len(found) == 2 and isinstance(found[1], dict)
        return found[1] if found and is_whole and found[0] == _state(files) else None

    def put(self, files: Sequence[Path], found: dict[str, Any]) -> None:
        """Remember what was found out about files."""
        state = _state(files)
        if state is not None:
            self.known[_name(files)] = [state, found]
            self.changed = True

    def save(self) -> None:
        """Write what is new, whole or not at all."""
        if not self.changed:
            return
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps({"schema": SCHEMA, "known": self.known}), encoding="utf-8")
            os.replace(temporary, self.path)
        except OSError as error:
            log.debug("%s cannot be written (%s)", self.path, error)


def _name(files: Sequence[Path]) -> str:
    return "\n".join(str(file.absolute()) for file in files)


def _state(files: Sequence[Path]) -> list[list[int]] | None:
    try:
        return [[stat.st_size, stat.st_mtime_ns] for stat in (file.stat() for file in files)]
    except OSError:
        return None
