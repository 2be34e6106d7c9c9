"""Pictures with labelled boxes in the JSON of COCO."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from typing_extensions import Unpack

from datamodules.label_map import Labels
from datamodules.readers.boxes import AnnotatedPicture, BoxedPictures
from datamodules.readers.coco_json import Item, is_number, read_splits
from datamodules.readers.folders import id_of
from datamodules.readers.orientation import Box
from datamodules.readers.published import PictureOptions
from datamodules.readers.sizes import Size
from datamodules.splits import Split
from tl_modules.ranges import NotEmpty
from tl_modules.task import CROWD


class CocoBoxes(BoxedPictures):
    """A JSON file per split, with `images`, `annotations` and `categories`, and the folder of its pictures.

    Boxes are x, y, width and height from 0. Boxes of crowds (`iscrowd`) are neither learned nor counted. See also
    `BoxedPictures`.

    Args:
        root: The folder above all.
        annotations: JSON file by published split, `train` at least, such as `{"train": "annotations/train.json"}`.
        pictures: Folder of pictures; `{split}` in it stands for the split.
        labels: Label names; None for those that occur, in alphabetical order; a mapping says what these are called (see
            `PublishedData.label_map`).
        image_size: Pixels of a side, or height and width.
        channels: 1 for grey, 3 for colour.
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
        labels: Labels | None = None,
        image_size: Size = 128,
        channels: Literal[1, 3] = 3,
        task: str = "boxes",
        domain: str = "pictures",
        **shared: Unpack[PictureOptions],
    ) -> None:
        self.root = Path(root)
        read = read_splits(self.root, annotations, pictures, self._box)
        parts = {split: [_annotated(self.root, item) for item in items] for split, items in read.items()}
        super().__init__(root, parts, labels, image_size, channels, task, domain, **shared)

    def _box(self, annotation: Mapping[str, Any]) -> tuple[Box, int] | None:
        """Return an annotation's box and its flag; None, and a note, where there is no box."""
        given = annotation.get("bbox")
        if not (isinstance(given, list) and len(given) == 4 and all(map(is_number, given))):
            said = f"annotation {annotation.get('id')} of picture {annotation['image_id']}"
            self.findings.count("boxes", 1)
            self.findings.add("unreadable", "boxes", f"{said} has the bbox {given!r}, not four numbers")
            return None
        x, y, width, height = map(float, given)
        return (x, y, x + width, y + height), CROWD if annotation.get("iscrowd") else 0


def _annotated(root: Path, item: Item) -> tuple[str, AnnotatedPicture]:
    names, flags = [name for name, _ in item.notes], [flag for _, (_, flag) in item.notes]
    boxes = [box for _, (box, _) in item.notes]
    one = AnnotatedPicture(item.path, boxes, names, flags, item.size, item.source)
    return id_of(item.path, root), one
