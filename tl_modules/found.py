"""What the package finds by its files, so that a new backbone or head is one file; no torch."""

from __future__ import annotations

from pathlib import Path

_HELPERS = {"backbones": ("base", "own", "resnet"), "heads": ("base", "pyramid")}


def names_in(folder: str) -> tuple[str, ...]:
    """Return the names that files of a folder of this package stand for, in alphabetical order.

    Args:
        folder: `backbones` or `heads`.
    """
    paths = (Path(__file__).parent / folder).glob("[a-z]*.py")
    return tuple(sorted(path.stem for path in paths if path.stem not in _HELPERS[folder]))
