"""The JSON of COCO: pictures, annotations and categories."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple


class Item(NamedTuple):
    """A picture of COCO's JSON.

    Args:
        path: The picture.
        notes: Name and value of its annotations.
        size: Height and width that these refer to, in pixels; None where the file does not say.
        source: The JSON file.
    """

    path: Path
    notes: list[tuple[str, Any]]
    size: tuple[int, int] | None
    source: Path


def read_splits(
    root: Path, annotations: Mapping[str, str], pictures: str, value: Callable[[Mapping[str, Any]], Any]
) -> dict[str, list[Item]]:
    """Return pictures with name and value of their annotations, by split.

    Args:
        root: The folder above all.
        annotations: JSON file by split, `train` at least.
        pictures: Folder of pictures; `{split}` in it stands for the split.
        value: Gives what is wanted of an annotation; None leaves it out.

    Raises:
        ValueError: If a file is missing or not of COCO's form, or a picture is missing.
    """
    if "train" not in annotations:
        raise ValueError(f"annotations={dict(annotations)}: must name a file for train")
    return {
        split: _read(root / file, root / pictures.replace("{split}", split), value)
        for split, file in annotations.items()
    }


def _read(path: Path, folder: Path, value: Callable[[Mapping[str, Any]], Any]) -> list[Item]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = {int(one["id"]): one["name"] for one in content["categories"]}
        unnamed = [number for number, name in names.items() if not (isinstance(name, str) and name.strip())]
        if unnamed:
            raise ValueError(f"category {unnamed[0]} has no name")
        found = {
            int(one["id"]): Item(folder / str(one["file_name"]), [], _size(one), path) for one in content["images"]
        }
        for one in content["annotations"]:
            wanted = value(one)
            if wanted is not None:
                found[int(one["image_id"])].notes.append((names[int(one["category_id"])], wanted))
    except OSError as error:
        raise ValueError(f"{path}: must be a file that exists") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: is not of the form of COCO's JSON ({type(error).__name__}: {error})") from error
    lacking = [item.path for item in found.values() if not item.path.is_file()]
    if lacking:
        raise ValueError(f"{path}: there is no picture {lacking[0]}")
    return list(found.values())


def _size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    sides = image.get("height"), image.get("width")
    return (int(sides[0]), int(sides[1])) if all(sides) else None  # type: ignore[arg-type]


def is_number(value: Any) -> bool:
    """Tell whether a value of a JSON file is a number, and finite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
