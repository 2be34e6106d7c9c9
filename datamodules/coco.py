"""Pictures with labelled boxes in the JSON of COCO."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from datamodules.boxes import Annotated, BoxedPictures


class CocoBoxes(BoxedPictures):
    """A JSON file a split, with `images`, `annotations` and `categories`, and the folder of its pictures.

    Boxes are x, y, width and height from 0. Boxes of crowds (`iscrowd`) are left out. See also `BoxedPictures`.

    Args:
        root: The folder above all.
        annotations: JSON file by published split, `train` at least, such as `{"train": "annotations/train.json"}`.
        pictures: Folder of pictures; `{split}` in it stands for the split.
        labels: Label names; None for those that occur, in alphabetical order.
        image_size: Height and width in pixels.
        channels: 1 for grey, 3 for colour.
        unusable: The largest share of boxes that is left out, a fraction.
        task: The task's name; what counts as the same task is the user's judgement.
        domain: The domain, likewise.
        role: `source` or `target`; of no effect here.
        train_size: Training pictures; None for all.
        val_size: Validation pictures; None for the published ones, else a fifth, at most 1,000 and `train_size`.
        duplicates: `refuse` or `allow` test samples whose content is in training or validation too.
        seed: Root of the splits.
        batch_size: Of its own loaders.
        num_workers: Of its own loaders.

    Raises:
        ValueError: If a file is missing or not of that form, or a picture is missing.
    """

    def __init__(
        self,
        root: str,
        annotations: Mapping[str, str],
        pictures: str = "{split}",
        labels: Sequence[str] | None = None,
        image_size: int = 128,
        channels: int = 3,
        unusable: float = 0.01,
        task: str = "boxes",
        domain: str = "pictures",
        role: str = "target",
        train_size: int | None = None,
        val_size: int | None = None,
        duplicates: str = "refuse",
        seed: int = 0,
        batch_size: int = 64,
        num_workers: int = 0,
    ) -> None:
        if "train" not in annotations:
            raise ValueError(f"annotations={dict(annotations)}: must name a file for train")
        parts = {
            split: read_json(Path(root) / file, Path(root) / pictures.replace("{split}", split))
            for split, file in annotations.items()
        }
        sizes = (train_size, val_size, seed, batch_size, num_workers)
        super().__init__(root, parts, labels, image_size, channels, unusable, task, domain, sizes)
        self.duplicates = duplicates


def read_json(path: Path, folder: Path) -> list[tuple[str, Annotated]]:
    """Return the pictures of a JSON file with their boxes, in the order of the file.

    Args:
        path: The file.
        folder: The folder of its pictures.

    Raises:
        ValueError: If the file cannot be read, is not of COCO's form, or a picture is missing.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = {int(one["id"]): str(one["name"]) for one in content["categories"]}
        found = {int(one["id"]): Annotated(folder / str(one["file_name"]), [], []) for one in content["images"]}
        for one in content["annotations"]:
            if not one.get("iscrowd"):
                x, y, width, height = (float(value) for value in one["bbox"])
                found[int(one["image_id"])].boxes.append((x, y, x + width, y + height))
                found[int(one["image_id"])].names.append(names[int(one["category_id"])])
    except OSError as error:
        raise ValueError(f"{path}: must be a file that exists") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: is not of the form of COCO's JSON ({type(error).__name__}: {error})") from error
    lacking = [one.path for one in found.values() if not one.path.is_file()]
    if lacking:
        raise ValueError(f"{path}: there is no picture {lacking[0]}")
    return [(str(one.path.relative_to(folder.parent)), one) for one in found.values()]
