"""Pictures with labelled boxes, in the layout of Pascal VOC."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal
from xml.etree import ElementTree

from typing_extensions import Unpack

from datamodules.readers.boxes import AnnotatedPicture, BoxedPictures
from datamodules.readers.published import ReaderOptions
from datamodules.readers.sizes import Size
from tl_modules.ranges import AtLeast, AtMost, NotEmpty
from tl_modules.task import IGNORED

SPLITS = ("train", "val", "test")


class VocBoxes(BoxedPictures):
    """`root/JPEGImages`, `root/Annotations/*.xml` and, if any, `root/ImageSets/Main/{train,val,test}.txt`.

    Coordinates count from 1 and include the last pixel. Objects marked `difficult` are neither learned nor counted. For
    the rest see `BoxedPictures`.

    Args:
        root: The folder.
        pictures: The folder of pictures in it.
        annotations: The folder of annotations in it.
        labels: Label names; None for those that occur, in alphabetical order.
        image_size: Pixels of a side, or height and width.
        channels: 1 for grey, 3 for colour.
        unusable: The largest share of boxes that is left out, a fraction.
        task: The task's name; what counts as the same task is the user's judgement.
        domain: The domain, likewise.
        **shared: Options of every reader, see `PublishedData`.

    Raises:
        ValueError: If the folder is not laid out so, or an annotation cannot be read.
    """

    kinds: ClassVar[tuple[str, ...]] = ("detection",)

    def __init__(
        self,
        root: Annotated[str, NotEmpty()],
        pictures: Annotated[str, NotEmpty()] = "JPEGImages",
        annotations: Annotated[str, NotEmpty()] = "Annotations",
        labels: Sequence[str] | None = None,
        image_size: Size = 128,
        channels: Literal[1, 3] = 3,
        unusable: Annotated[float, AtLeast(0), AtMost(1)] = 0.01,
        task: str = "boxes",
        domain: str = "pictures",
        **shared: Unpack[ReaderOptions],
    ) -> None:
        base = Path(root)
        for name in (pictures, annotations):
            if not (base / name).is_dir():
                raise ValueError(f"root={root}: must hold the folders {pictures} and {annotations}; {name} is missing")
        files = {path.stem: path for path in sorted((base / pictures).iterdir()) if path.is_file()}
        parts = {}
        for split, stems in names_of(base, base / annotations).items():
            lacking = [stem for stem in stems if stem not in files]
            if lacking:
                raise ValueError(f"root={root}: there is no picture {lacking[0]}")
            parts[split] = [(stem, read_xml(base / annotations / f"{stem}.xml", files[stem])) for stem in stems]
        super().__init__(root, parts, labels, image_size, channels, unusable, task, domain, **shared)


def names_of(root: Path, annotations: Path) -> dict[str, list[str]]:
    """Return the pictures' names by published split."""
    lists = {split: root / "ImageSets" / "Main" / f"{split}.txt" for split in SPLITS}
    if lists["train"].is_file():
        return {split: path.read_text().split() for split, path in lists.items() if path.is_file()}
    return {"train": sorted(path.stem for path in annotations.glob("*.xml"))}


def read_xml(path: Path, picture: Path) -> AnnotatedPicture:
    """Return a picture with what its annotation says.

    Args:
        path: The annotation; its coordinates count from 1 and include the last pixel.
        picture: The picture.

    Raises:
        ValueError: If the annotation cannot be read.
    """
    try:
        boxes, names, flags = [], [], []
        for item in ElementTree.parse(path).iter("object"):
            corners = [float(item.findtext(f"bndbox/{key}") or "nan") for key in ("xmin", "ymin", "xmax", "ymax")]
            boxes.append((corners[0] - 1, corners[1] - 1, corners[2], corners[3]))
            names.append(str(item.findtext("name")).strip())
            flags.append(IGNORED * int(item.findtext("difficult") or 0))
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as an annotation ({error})") from error
    return AnnotatedPicture(picture, boxes, names, flags)
