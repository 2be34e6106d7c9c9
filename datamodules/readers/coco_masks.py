"""A label per pixel from the outlines in COCO's JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from typing_extensions import Unpack

from datamodules.readers.coco_json import read_splits
from datamodules.readers.masks import MaskedPictures
from datamodules.readers.published import ReaderOptions, check_share
from datamodules.readers.sizes import Size
from datamodules.splits import Split
from tl_modules.ranges import AtLeast, AtMost, NotEmpty
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
        labels: Label names after `background`; None for those that occur, in alphabetical order.
        image_size: Pixels of a side, or height and width: the whole picture is brought to it, with a border that is
            ignored; None to leave the pictures as they are, if they are of one size.
        channels: 1 for grey, 3 for colour.
        unusable: The largest share of annotations that is left out for having no outline, a fraction.
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
        labels: Sequence[str] | None = None,
        image_size: Size | None = 128,
        channels: Literal[1, 3] = 3,
        unusable: Annotated[float, AtLeast(0), AtMost(1)] = 0.01,
        task: str = "pixels",
        domain: str = "pictures",
        **shared: Unpack[ReaderOptions],
    ) -> None:
        self.root, self.image_size = Path(root), image_size
        wrong: list[str] = []

        def outline(annotation: Mapping[str, Any]) -> Any:
            given = annotation.get("segmentation")
            if isinstance(given, list):
                given = [polygon for polygon in given if len(polygon) >= 6]
            elif given:
                given = {"size": given["size"], "counts": given["counts"]}
            if not given:
                wrong.append(f"annotation {annotation.get('id')} of picture {annotation['image_id']}")
            return given or None

        read = read_splits(self.root, annotations, pictures, outline)
        total = len(wrong) + sum(len(outlines) for items in read.values() for _, outlines in items)
        check_share(f"root={root}: outlines", wrong, total, unusable)
        found = sorted({name for items in read.values() for _, outlines in items for name, _ in outlines})
        unknown = [name for name in found if labels is not None and name not in labels]
        if unknown or not found:
            what = f"its outlines are of {', '.join(unknown)} too" if unknown else "its annotations have no outlines"
            raise ValueError(f"labels={None if labels is None else list(labels)}: {what}")
        self.names = [BACKGROUND, *(labels or found)]
        self.parts = dict(read)
        made = Task(task, "segmentation", tuple(self.names), domain, channels=channels)
        super().__init__(made, **shared)

    def values(self, source: list[tuple[str, Any]], size: tuple[int, int]) -> np.ndarray[Any, Any]:
        """Return the index of each pixel's name.

        Raises:
            ValueError: If run lengths are those of a picture of another size.
        """
        from faster_coco_eval.core import mask

        made = []
        for name, outline in source:
            runs = outline
            if isinstance(outline, list):
                runs = mask.merge(mask.frPyObjects(outline, *size))
            elif list(outline["size"]) != list(size):
                raise ValueError(
                    f"root={self.root}: run lengths of {name} are of (H, W) = {outline['size']}, not {size}"
                )
            elif isinstance(outline["counts"], list):
                runs = mask.frPyObjects(outline, *size)
            made.append((self.names.index(name), mask.decode(runs).astype(bool)))
        values = np.zeros(size, dtype=np.uint8)
        for index, inside in sorted(made, key=lambda one: -int(one[1].sum())):
            values[inside] = index
        return values
