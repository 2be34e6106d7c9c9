"""Pictures with labelled boxes in the JSON of COCO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from typing_extensions import Unpack

from datamodules.readers.boxes import AnnotatedPicture, BoxedPictures
from datamodules.readers.coco_json import read_splits
from datamodules.readers.published import ReaderOptions
from datamodules.readers.sizes import Size
from datamodules.splits import Split
from tl_modules.ranges import AtLeast, AtMost, NotEmpty
from tl_modules.task import CROWD


class CocoBoxes(BoxedPictures):
    """A JSON file per split, with `images`, `annotations` and `categories`, and the folder of its pictures.

    Boxes are x, y, width and height from 0. Boxes of crowds (`iscrowd`) are neither learned nor counted. See also
    `BoxedPictures`.

    Args:
        root: The folder above all.
        annotations: JSON file by published split, `train` at least, such as `{"train": "annotations/train.json"}`.
        pictures: Folder of pictures; `{split}` in it stands for the split.
        labels: Label names; None for those that occur, in alphabetical order.
        image_size: Pixels of a side, or height and width.
        channels: 1 for grey, 3 for colour.
        unusable: The largest share of boxes that is left out, a fraction.
        task: The task's name; what counts as the same task is the user's judgement.
        domain: The domain, likewise.
        **shared: Options of every reader, see `PublishedData`.

    Raises:
        ValueError: If a file is missing or not of that form, or a picture is missing.
    """

    kinds: ClassVar[tuple[str, ...]] = ("detection",)

    def __init__(
        self,
        root: Annotated[str, NotEmpty()],
        annotations: Mapping[Split, str],
        pictures: Annotated[str, NotEmpty()] = "{split}",
        labels: Sequence[str] | None = None,
        image_size: Size = 128,
        channels: Literal[1, 3] = 3,
        unusable: Annotated[float, AtLeast(0), AtMost(1)] = 0.01,
        task: str = "boxes",
        domain: str = "pictures",
        **shared: Unpack[ReaderOptions],
    ) -> None:
        read = read_splits(Path(root), annotations, pictures, _box)
        parts = {split: [_annotated(Path(root), *item) for item in items] for split, items in read.items()}
        super().__init__(root, parts, labels, image_size, channels, unusable, task, domain, **shared)


def _box(annotation: Mapping[str, Any]) -> tuple[tuple[float, float, float, float], int]:
    x, y, width, height = (float(value) for value in annotation["bbox"])
    return (x, y, x + width, y + height), CROWD if annotation.get("iscrowd") else 0


def _annotated(root: Path, path: Path, boxes: list[tuple[str, Any]]) -> tuple[str, AnnotatedPicture]:
    names, flags = [name for name, _ in boxes], [flag for _, (_, flag) in boxes]
    return path.relative_to(root).as_posix(), AnnotatedPicture(path, [box for _, (box, _) in boxes], names, flags)
