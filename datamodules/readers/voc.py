"""Pictures with labelled boxes, in the layout of Pascal VOC."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal
from xml.etree import ElementTree

from typing_extensions import Unpack

from datamodules.findings import Unusable, listed
from datamodules.label_map import Labels
from datamodules.readers.boxes import AnnotatedPicture, BoxedPictures
from datamodules.readers.folders import PICTURES
from datamodules.readers.published import PictureOptions
from datamodules.readers.sizes import Size
from tl_modules.ranges import NotEmpty
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
        labels: Label names; None for those that occur, in alphabetical order; a mapping says what these are called (see
            `PublishedData.label_map`).
        image_size: Pixels of a side, or height and width.
        channels: 1 for grey, 3 for colour.
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
        labels: Labels | None = None,
        image_size: Size = 128,
        channels: Literal[1, 3] = 3,
        task: str = "boxes",
        domain: str = "pictures",
        **shared: Unpack[PictureOptions],
    ) -> None:
        base = self.root = Path(root)
        for name in (pictures, annotations):
            if not (base / name).is_dir():
                raise ValueError(f"root={root}: must hold the folders {pictures} and {annotations}; {name} is missing")
        files: dict[str, Path] = {}
        for path in sorted((base / pictures).iterdir()):
            if path.suffix.lower() in PICTURES and files.setdefault(path.stem, path) != path:
                raise ValueError(
                    f"root={root}: {files[path.stem].name} and {path.name} have the same name, and one annotation"
                )
        stems_of = names_of(base, base / annotations, files)
        bare = sorted(set(files) - {stem for stems in stems_of.values() for stem in stems})
        if bare:
            self.findings.notes.append(f"{len(bare)} pictures are in no split or have no annotation: {listed(bare)}")
        parts: dict[str, list[tuple[str, AnnotatedPicture]]] = {}
        for split, stems in stems_of.items():
            lacking = [stem for stem in stems if stem not in files]
            if lacking:
                raise ValueError(f"root={root}: there is no picture {lacking[0]}")
            parts[split] = []
            for stem in stems:
                try:
                    parts[split].append((stem, read_xml(base / annotations / f"{stem}.xml", files[stem])))
                except Unusable as error:
                    self.findings.count("pictures", 1)
                    self.findings.add(error.kind, "pictures", str(error))
        super().__init__(root, parts, labels, image_size, channels, task, domain, **shared)


def names_of(root: Path, annotations: Path, known: Collection[str]) -> dict[str, list[str]]:
    """Return the pictures' names by published split.

    Args:
        root: The folder of all.
        annotations: That of the annotations.
        known: The names of pictures: one may have blanks in it, or 1 or -1 after it as in the lists of a class.
    """
    lists = {split: root / "ImageSets" / "Main" / f"{split}.txt" for split in SPLITS}
    if lists["train"].is_file():
        return {split: list(_listed(path, known)) for split, path in lists.items() if path.is_file()}
    return {"train": sorted(path.stem for path in annotations.glob("*.xml"))}


def _listed(path: Path, known: Collection[str]) -> Iterator[str]:
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, flag = line.strip().rpartition(" ")
        if line.strip():
            yield name.strip() if line.strip() not in known and flag in ("1", "0", "-1") else line.strip()


def read_xml(path: Path, picture: Path) -> AnnotatedPicture:
    """Return a picture with what its annotation says.

    Args:
        path: The annotation; its coordinates count from 1 and include the last pixel.
        picture: The picture.

    Raises:
        Unusable: If the annotation cannot be read.
    """
    try:
        tree = ElementTree.parse(path)
        boxes, names, flags = [], [], []
        for item in tree.iter("object"):
            corners = [_number(item.findtext(f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax")]
            boxes.append((corners[0] - 1, corners[1] - 1, corners[2], corners[3]))
            names.append((item.findtext("name") or "").strip())
            flags.append(IGNORED * int(item.findtext("difficult") or 0))
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise Unusable(f"{path} cannot be read as an annotation ({error})") from error
    height, width = (_number(tree.findtext(f"size/{key}")) for key in ("height", "width"))
    size = (
        (int(height), int(width)) if height >= 1 and width >= 1 and math.isfinite(height * width) else None
    )  # some tools write 0 for unknown
    return AnnotatedPicture(picture, boxes, names, flags, size, path)


def _number(text: str | None) -> float:
    """Return a number; NaN for what is none."""
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
