"""Pictures with labelled boxes, in the layout of Pascal VOC."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.base import InMemory
from datamodules.images import IN_MEMORY, fitted
from datamodules.published import Part, PublishedData, check_share
from tl_modules.tasks import Task

SPLITS = ("train", "val", "test")


class Annotated(NamedTuple):
    """A picture's file with its boxes, xyxy in its pixels, and their label names."""

    path: Path
    boxes: list[tuple[float, float, float, float]]
    names: list[str]


class LazyBoxes(Dataset[dict[str, Any]]):
    """Samples that are read when they are asked for.

    Args:
        read: Gives sample i.
        count: Their number.
    """

    def __init__(self, read: Any, count: int) -> None:
        self.read, self.count = read, count

    def __len__(self) -> int:
        """Return the number of samples."""
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a sample."""
        sample: dict[str, Any] = self.read(index)
        return sample


class VocBoxes(PublishedData):
    """`root/JPEGImages`, `root/Annotations/*.xml` and, if any, `root/ImageSets/Main/{train,val,test}.txt`.

    Pictures are brought to a square whole, with a black border; boxes follow. A box without width or height, or
    outside of its picture, cannot be used; coordinates count from 1 and include the last pixel.

    Args:
        root: The folder.
        pictures: The folder of pictures in it.
        annotations: The folder of annotations in it.
        labels: Label names; None for those that occur, in alphabetical order.
        image_size: Height and width in pixels.
        channels: 1 for grey, 3 for colour.
        unusable: The largest share of boxes that is left out, a fraction.
        task: The task's name; what counts as the same task is the user's judgement.
        domain: The domain, likewise.
        role: `source` or `target`; of no effect here.
        train_size: Training pictures; None for all.
        val_size: Validation pictures; None for the published ones, else a fifth, at most 1,000 and `train_size`.
        seed: Root of the splits.
        batch_size: Of its own loaders.
        num_workers: Of its own loaders.

    Raises:
        ValueError: If the folder is not laid out so, or an annotation cannot be read.
    """

    def __init__(
        self,
        root: str,
        pictures: str = "JPEGImages",
        annotations: str = "Annotations",
        labels: Sequence[str] | None = None,
        image_size: int = 128,
        channels: int = 3,
        unusable: float = 0.01,
        task: str = "boxes",
        domain: str = "pictures",
        role: str = "target",
        train_size: int | None = None,
        val_size: int | None = None,
        seed: int = 0,
        batch_size: int = 64,
        num_workers: int = 0,
    ) -> None:
        self.root, self.image_size, self.unusable = Path(root), image_size, unusable
        for name in (pictures, annotations):
            if not (self.root / name).is_dir():
                raise ValueError(f"root={root}: must hold the folders {pictures} and {annotations}; {name} is missing")
        self.folder = self.root / annotations
        self.pictures = {path.stem: path for path in sorted((self.root / pictures).iterdir()) if path.is_file()}
        self.names = self._names()
        self.annotated = {stem: self._read_xml(stem) for part in self.names.values() for stem in part}
        self._leave_out()
        found = sorted({name for one in self.annotated.values() for name in one.names})
        unknown = [name for name in found if labels is not None and name not in labels]
        if unknown or not found:
            what = f"its boxes are of {', '.join(unknown)} too" if unknown else "its annotations have no boxes"
            raise ValueError(f"labels={None if labels is None else list(labels)}: {what}")
        made = Task(task, "detection", tuple(labels or found), domain, channels=channels)
        super().__init__(made, train_size, val_size, seed, batch_size, num_workers)

    def _names(self) -> dict[str, list[str]]:
        """Return the pictures' names by published split."""
        lists = {split: self.root / "ImageSets" / "Main" / f"{split}.txt" for split in SPLITS}
        if lists["train"].is_file():
            named = {split: path.read_text().split() for split, path in lists.items() if path.is_file()}
        else:
            named = {"train": sorted(path.stem for path in self.folder.glob("*.xml"))}
        seen: dict[str, str] = {}
        for split, stems in named.items():
            for stem in stems:
                if seen.setdefault(stem, split) != split:
                    raise ValueError(f"root={self.root}: {stem} is in {seen[stem]} and in {split}")
                if stem not in self.pictures:
                    raise ValueError(f"root={self.root}: there is no picture {stem}")
        return named

    def _read_xml(self, stem: str) -> Annotated:
        path = self.folder / f"{stem}.xml"
        try:
            tree = ElementTree.parse(path)
            boxes, names = [], []
            for item in tree.iter("object"):
                corners = [float(item.findtext(f"bndbox/{key}") or "nan") for key in ("xmin", "ymin", "xmax", "ymax")]
                boxes.append((corners[0] - 1, corners[1] - 1, corners[2], corners[3]))
                names.append(str(item.findtext("name")).strip())
        except (OSError, ElementTree.ParseError, ValueError) as error:
            raise ValueError(f"root={self.root}: {path} cannot be read as an annotation ({error})") from error
        return Annotated(self.pictures[stem], boxes, names)

    def _leave_out(self) -> None:
        """Leave out boxes that cannot be used, and name them."""
        wrong, total = [], 0
        for stem, one in self.annotated.items():
            total += len(one.boxes)
            good = [right - left > 1 and bottom - top > 1 for left, top, right, bottom in one.boxes]
            wrong += [
                f"{stem}: {name} {box}" for box, name, ok in zip(one.boxes, one.names, good, strict=True) if not ok
            ]
            boxes = [box for box, ok in zip(one.boxes, good, strict=True) if ok]
            names = [name for name, ok in zip(one.names, good, strict=True) if ok]
            self.annotated[stem] = Annotated(one.path, boxes, names)
        check_share(f"root={self.root}: boxes", wrong, total, self.unusable)

    def published(self) -> dict[str, Part]:
        """Return the pictures by split; splits hold each picture's first label in proportion."""
        assert self.task is not None
        parts = {}
        for split, stems in self.names.items():
            content = [self.annotated[stem] for stem in stems]
            strata = [self.task.labels.index(one.names[0]) if one.names else -1 for one in content]
            parts[split] = Part(list(stems), strata, content)
        return parts

    def dataset_of(self, part: Part, rows: Sequence[int]) -> Dataset[Any]:
        """Return the samples of some rows."""
        assert self.task is not None
        read = partial(self._sample, [part.ids[row] for row in rows], [part.content[row] for row in rows])
        if len(rows) * self.task.channels * self.image_size**2 > IN_MEMORY:
            return LazyBoxes(read, len(rows))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            samples = list(pool.map(read, range(len(rows))))
        fields: dict[str, Any] = {key: [sample[key] for sample in samples] for key in samples[0]}
        return InMemory({**fields, "image": torch.stack(fields["image"])})

    def _sample(self, ids: Sequence[str], items: Sequence[Annotated], index: int) -> dict[str, Any]:
        assert self.task is not None
        one, size = items[index], self.image_size
        picture = fitted(one.path, self.task.channels, (size, size), whole=True)
        boxes: Tensor = torch.tensor(one.boxes, dtype=torch.float32).view(-1, 4)
        height, width = picture.size
        limit = torch.tensor([width, height, width, height], dtype=torch.float32)
        boxes = torch.minimum(boxes.clamp(min=0), limit) * picture.scale + torch.tensor(picture.offset * 2)
        keep = ((boxes[:, 2:] - boxes[:, :2]) > 0.5).all(1)  # less than half a pixel is nothing to see
        labels = torch.tensor([self.task.labels.index(name) for name in one.names], dtype=torch.long)
        return {"id": ids[index], "image": picture.image, "boxes": boxes[keep], "box_labels": labels[keep]}
