"""Folders of pictures: which files are where, and what is wrong with them; nothing is opened, no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
SPLIT_NAMES = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}


def id_of(path: Path, root: Path) -> str:
    """Return a file's id: its path as seen from the root, below which it need not lie.

    Args:
        path: The file.
        root: The root.
    """
    return (path.relative_to(root) if path.is_relative_to(root) else Path(os.path.relpath(path, root))).as_posix()


@dataclass
class Listing:
    """What a folder of class folders holds.

    Args:
        labels: Class names, in alphabetical order.
        files: Pictures with their class index by split; `train` alone where there are no folders for splits.
        strays: Files that are no pictures.
    """

    labels: list[str]
    files: dict[str, list[tuple[Path, int]]] = field(default_factory=dict)
    strays: list[Path] = field(default_factory=list)


def list_classes(root: str | Path, splits: Mapping[str, str] | None = None) -> Listing:
    """List a folder of class folders, with or without `train`, `val` and `test` between.

    Args:
        root: The folder.
        splits: Folder by split, such as `{"train": "train", "test": "val"}`; by default those of their usual names.

    Raises:
        ValueError: If the folder is missing or empty, has pictures outside of class folders only, a class has no
            pictures, a split has a class that `train` has not, or a split's folder is missing.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"root={root}: must be a folder that exists")
    below = {path.name: path for path in _folders(root)}
    if splits is None:
        splits = {s: name for s, names in SPLIT_NAMES.items() for name in names if name in below}
    missing = [name for name in splits.values() if name not in below]
    if missing or (splits and "train" not in splits):
        found = ", ".join(sorted(below)) or "no folder"
        raise ValueError(f"root={root}: must hold the folder {(missing or ['train'])[0]}; it holds {found}")
    places = {split: below[name] for split, name in splits.items()} or {"train": root}
    labels = [path.name for path in _folders(places["train"])]
    listing = Listing(labels)
    if not labels:
        loose = any(path.suffix.lower() in PICTURES for path in places["train"].iterdir())
        holds = "pictures outside of class folders" if loose else "no class folders"
        raise ValueError(f"root={root}: must hold a folder per class, but {places['train']} holds {holds}")
    if len(labels) == 1:
        raise ValueError(f"root={root}: must hold a folder per class, but {places['train']} holds {labels[0]} alone")
    for split, place in places.items():
        listing.files[split] = []
        for folder in _folders(place):
            if folder.name not in labels:
                raise ValueError(f"root={root}: {folder} is a class that {places['train']} has not")
            paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
            pictures = [path for path in paths if path.suffix.lower() in PICTURES]
            listing.strays += [path for path in paths if path.suffix.lower() not in PICTURES]
            if not pictures:
                raise ValueError(f"root={root}: the class {folder.name} has no pictures in {place}")
            listing.files[split] += [(path, labels.index(folder.name)) for path in pictures]
    return listing


def _folders(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))
