"""The JSON of COCO: pictures, annotations and categories."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

Found = TypeVar("Found")


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


def _known(known: Mapping[int, Found], where: str, annotation: Mapping[str, Any], key: str) -> Found:
    """Return what an annotation names by its number."""
    number = int(annotation[key])
    if number not in known:
        which = f"annotation {annotation['id']}" if "id" in annotation else "an annotation"
        raise ValueError(f"{which} has {key} {number}, which is not in {where}")
    return known[number]


def _read(path: Path, folder: Path, value: Callable[[Mapping[str, Any]], Any]) -> list[Item]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = {int(one["id"]): one["name"] for one in content["categories"]}
        unnamed = [number for number, name in names.items() if not (isinstance(name, str) and name.strip())]
        if unnamed:
            raise ValueError(f"category {unnamed[0]} has no name")
        found: dict[int, Item] = {}
        for one in content["images"]:
            if int(one["id"]) in found:
                raise ValueError(f"two pictures have the id {one['id']}")
            found[int(one["id"])] = Item(folder / str(one["file_name"]), [], _size(one), path)
        for one in content["annotations"]:
            wanted = value(one)
            if wanted is not None:
                picture = _known(found, "images", one, "image_id")
                picture.notes.append((_known(names, "categories", one, "category_id"), wanted))
    except OSError as error:
        raise ValueError(f"{path}: must be a file that exists") from error
    except KeyError as error:
        raise ValueError(f"{path}: is not of the form of COCO's JSON: {error} is missing in it") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: is not of the form of COCO's JSON: {error}") from error
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
