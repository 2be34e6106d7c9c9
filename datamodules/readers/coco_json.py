"""The JSON of COCO: pictures, annotations and categories."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Item = tuple[Path, list[tuple[str, Any]]]


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
        names = {int(one["id"]): str(one["name"]) for one in content["categories"]}
        found: dict[int, Item] = {int(one["id"]): (folder / str(one["file_name"]), []) for one in content["images"]}
        for one in content["annotations"]:
            wanted = value(one)
            if wanted is not None:
                found[int(one["image_id"])][1].append((names[int(one["category_id"])], wanted))
    except OSError as error:
        raise ValueError(f"{path}: must be a file that exists") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: is not of the form of COCO's JSON ({type(error).__name__}: {error})") from error
    lacking = [picture for picture, _ in found.values() if not picture.is_file()]
    if lacking:
        raise ValueError(f"{path}: there is no picture {lacking[0]}")
    return list(found.values())
