"""A label per pixel from the outlines in COCO's JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from typing_extensions import Unpack

from datamodules.findings import Unusable
from datamodules.label_map import Labels, listed_or_mapped
from datamodules.readers.coco_json import Item, is_number, read_splits
from datamodules.readers.masks import MaskedPictures
from datamodules.readers.orientation import TRANSPOSED, refers_to_shown, turned_map
from datamodules.readers.parts import Part
from datamodules.readers.published import PictureOptions
from datamodules.readers.resize import Fitted
from datamodules.readers.sizes import Size
from datamodules.splits import Split
from tl_modules.ranges import NotEmpty
from tl_modules.task import Task

BACKGROUND = "background"


class CocoMasks(MaskedPictures):
    """A JSON file per split, with `images`, `annotations` and `categories`, and the folder of its pictures.

    An annotation's `segmentation`, polygons or run lengths, gives its pixels their category; where several meet, the
    smallest object is in front. Pixels of none are `background`.

    Args:
        root: The folder above all.
        annotations: JSON file by published split, `train` at least, such as `{"train": "annotations/train.json"}`.
        pictures: Folder of pictures; `{split}` in it stands for the split.
        labels: Label names after `background`; None for those that occur, in alphabetical order; a mapping says what
            these and `background` are called (see `PublishedData.label_map`).
        image_size: Pixels of a side, or height and width: the whole picture is brought to it, with a border that is
            ignored; None to leave the pictures as they are, if they are of one size.
        channels: 1 for grey, 3 for colour.
        task: The task's name; what counts as the same task is the user's judgement.
        domain: The domain, likewise.
        **shared: Options of every reader, see `PublishedData`.

    Raises:
        ValueError: If a file is missing or not of that form, a picture is missing, or labels are unknown.
    """

    kinds: ClassVar[tuple[str, ...]] = ("segmentation",)

    def __init__(
        self,
        root: Annotated[str, NotEmpty()],
        annotations: Mapping[Split, str],
        pictures: Annotated[str, NotEmpty()] = "{split}",
        labels: Labels | None = None,
        image_size: Size | None = 128,
        channels: Literal[1, 3] = 3,
        task: str = "pixels",
        domain: str = "pictures",
        **shared: Unpack[PictureOptions],
    ) -> None:
        self.root, self.image_size = Path(root), image_size
        labels, label_map = listed_or_mapped(labels)
        read = read_splits(self.root, annotations, pictures, self._outline)
        self.parts = {split: self._whole(items) for split, items in read.items()}
        found = sorted({name for items in self.parts.values() for _, item in items for name, _ in item.notes})
        unknown = [name for name in found if labels is not None and name not in labels]
        if unknown or not found:
            what = (
                f"its outlines are of {', '.join(unknown)} too"
                if unknown
                else f"its annotations have no outlines{self.findings.why_none()}"
            )
            raise ValueError(f"labels={labels}: {what}")
        self.names = [BACKGROUND, *(labels or found)]
        made = Task(task, "segmentation", tuple(self.names), domain, channels=channels)
        super().__init__(made, label_map=label_map, **shared)

    def _outline(self, annotation: Mapping[str, Any]) -> Any:
        """Return an annotation's polygons or run lengths, a text that says what is wrong, or None for none."""
        given, said = annotation.get("segmentation"), f"annotation {annotation.get('id')} of picture "
        said += str(annotation["image_id"])
        self.findings.count("outlines", 1)
        if isinstance(given, list) and given:
            sound = all(isinstance(one, list) and len(one) % 2 == 0 and all(map(is_number, one)) for one in given)
            if not sound:
                return f"{said} has a polygon that is no list of pairs of numbers"
            given = [polygon for polygon in given if len(polygon) >= 6]
        elif given:
            given = {"size": given["size"], "counts": given["counts"]}
            counts, size = given["counts"], given["size"]
            if isinstance(counts, list) and not (
                all(is_number(one) and one >= 0 for one in counts) and sum(counts) == size[0] * size[1]
            ):
                return f"{said} has run lengths that do not add up to its size"
        if not given:
            self.findings.add("empty", "outlines", f"{said} has no outline")
        return given or None

    def _whole(self, items: Sequence[Item]) -> list[tuple[Path, Item]]:
        """Return the pictures all of whose outlines can be read: of others it is not known what is background."""
        kept = []
        for item in items:
            wrong = [outline for _, outline in item.notes if isinstance(outline, str)]
            if wrong:
                self.findings.count(self.unit, 1)
                self.findings.add("unreadable", self.unit, wrong[0])
            else:
                kept.append((item.path, item))
        return kept

    def files_read(self, part: Part, row: int) -> Sequence[Path]:
        """Return picture and JSON file."""
        path, item = part.content[row]
        return [path, item.source]

    def values(self, source: Item, picture: Fitted) -> np.ndarray[Any, Any]:
        """Return the index of each pixel's name.

        Raises:
            Unusable: If run lengths are those of a picture of another size, or cannot be read.
        """
        from faster_coco_eval.core import mask

        shown = not source.notes or refers_to_shown(
            str(source.path), picture.size, picture.orientation, source.size, "outlines"
        )
        size = picture.size if shown or picture.orientation not in TRANSPOSED else picture.size[::-1]
        made = []
        for name, outline in source.notes:
            runs = outline
            if isinstance(outline, list):
                runs = mask.merge(mask.frPyObjects(outline, *size))
            elif list(outline["size"]) != list(size):
                said = f"run lengths of {name} are of (H, W) = {outline['size']}, not {size}"
                raise Unusable(f"{source.path}: {said}", "ambiguous")
            elif isinstance(outline["counts"], list):
                runs = mask.frPyObjects(outline, *size)
            try:
                inside = mask.decode(runs).astype(bool)
            except (RuntimeError, ValueError, TypeError) as error:
                raise Unusable(f"{source.path}: run lengths of {name} cannot be read ({error})") from error
            made.append((self.names.index(name), inside))
        values = np.zeros(size, dtype=np.uint8)
        for index, inside in sorted(made, key=lambda one: -int(one[1].sum())):
            values[inside] = index
        return values if shown else turned_map(values, picture.orientation)
