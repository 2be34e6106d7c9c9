"""Pictures with labelled boxes, from wherever they come."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset
from typing_extensions import Unpack

from datamodules.base import InMemory
from datamodules.readers.images import IN_MEMORY
from datamodules.readers.published import Part, PublishedData, ReaderOptions, check_share
from datamodules.readers.resize import fitted
from datamodules.readers.sizes import Size, sides
from tl_modules.task import Task


class AnnotatedPicture(NamedTuple):
    """A picture's file with its boxes, xyxy in its pixels, their label names and their flags (`task.box_fields`)."""

    path: Path
    boxes: list[tuple[float, float, float, float]]
    names: list[str]
    flags: list[int]


class LazySamples(Dataset[dict[str, Any]]):
    """Samples that are read when they are asked for.

    Args:
        read: Gives sample i.
        count: Their number.
    """

    fixed = True  # a sample is the same whenever it is read

    def __init__(self, read: Any, count: int) -> None:
        self.read, self.count = read, count

    def __len__(self) -> int:
        """Return the number of samples."""
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a sample."""
        sample: dict[str, Any] = self.read(index)
        return sample


class BoxedPictures(PublishedData):
    """Pictures with labelled boxes; subclasses say where they come from.

    Pictures are brought to a size whole, with a black border; boxes follow. A box that is less than a pixel wide or
    high cannot be used; what stands out of its picture is cut off. Boxes that are difficult or crowds have a flag, see
    `task.box_fields`: they are neither learned nor counted.

    Args:
        root: What the data come from, for messages.
        parts: Ids and annotated pictures by published split, `train` at least.
        labels: Label names; None for those that occur, in alphabetical order.
        image_size: Pixels of a side, or height and width.
        channels: 1 for grey, 3 for colour.
        unusable: The largest share of boxes that is left out, a fraction.
        task: The task's name.
        domain: The domain.
        **shared: Options of every reader, see `PublishedData`.

    Raises:
        ValueError: If a picture is in two splits, too many boxes cannot be used, or labels are unknown.
    """

    def __init__(
        self,
        root: str,
        parts: Mapping[str, Sequence[tuple[str, AnnotatedPicture]]],
        labels: Sequence[str] | None,
        image_size: Size,
        channels: int,
        unusable: float,
        task: str,
        domain: str,
        **shared: Unpack[ReaderOptions],
    ) -> None:
        self.root, self.image_size, self.shape = Path(root), image_size, sides(image_size) or (0, 0)
        seen: dict[str, str] = {}
        for split, items in parts.items():
            for name, _ in items:
                if name in seen:
                    raise ValueError(f"root={root}: {name} is in {seen[name]} and in {split}")
                seen[name] = split
        self.parts = self._usable(parts, unusable)
        found = sorted({name for items in self.parts.values() for _, one in items for name in one.names})
        unknown = [name for name in found if labels is not None and name not in labels]
        if unknown or not found:
            what = f"its boxes are of {', '.join(unknown)} too" if unknown else "its annotations have no boxes"
            raise ValueError(f"labels={None if labels is None else list(labels)}: {what}")
        made = Task(task, "detection", tuple(labels or found), domain, channels=channels)
        super().__init__(made, **shared)

    def _usable(
        self, parts: Mapping[str, Sequence[tuple[str, AnnotatedPicture]]], most: float
    ) -> dict[str, list[tuple[str, AnnotatedPicture]]]:
        """Leave out boxes that cannot be used, and name them."""
        wrong: list[str] = []
        total = 0
        usable: dict[str, list[tuple[str, AnnotatedPicture]]] = {}
        for split, items in parts.items():
            usable[split] = []
            for name, one in items:
                total += len(one.boxes)
                good = [right - left > 1 and bottom - top > 1 for left, top, right, bottom in one.boxes]
                items_of = list(zip(one.boxes, one.names, one.flags, strict=True))
                kept = AnnotatedPicture(one.path, [], [], [])
                for (box, label, flag), ok in zip(items_of, good, strict=True):
                    if ok:
                        kept.boxes.append(box)
                        kept.names.append(label)
                        kept.flags.append(flag)
                    else:
                        wrong.append(f"{name}: {label} {box}")
                usable[split].append((name, kept))
        check_share(f"root={self.root}: boxes", wrong, total, most)
        return usable

    def published(self) -> dict[str, Part]:
        """Return the pictures by split; splits hold each picture's first label that counts in proportion."""
        assert self.task is not None
        made = {}
        for split, items in self.parts.items():
            content = [one for _, one in items]
            counted = [[name for name, flag in zip(one.names, one.flags, strict=True) if not flag] for one in content]
            strata = [self.task.labels.index(names[0]) if names else -1 for names in counted]
            made[split] = Part([name for name, _ in items], strata, content, [one.path for one in content])
        return made

    def dataset_of(self, part: Part, rows: Sequence[int]) -> Dataset[Any]:
        """Return the samples of some rows."""
        assert self.task is not None
        read = partial(self._sample, [part.ids[row] for row in rows], [part.content[row] for row in rows])
        if len(rows) * self.task.channels * self.shape[0] * self.shape[1] > IN_MEMORY:
            return LazySamples(read, len(rows))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            samples = list(pool.map(read, range(len(rows))))
        fields: dict[str, Any] = {key: [sample[key] for sample in samples] for key in samples[0]}
        return InMemory({**fields, "image": torch.stack(fields["image"])})

    def _sample(self, ids: Sequence[str], items: Sequence[AnnotatedPicture], index: int) -> dict[str, Any]:
        assert self.task is not None
        one = items[index]
        picture = fitted(one.path, self.task.channels, self.shape, whole=True)
        boxes: Tensor = torch.tensor(one.boxes, dtype=torch.float32).view(-1, 4)
        height, width = picture.size
        limit = torch.tensor([width, height, width, height], dtype=torch.float32)
        boxes = torch.minimum(boxes.clamp(min=0), limit) * picture.scale + torch.tensor(picture.offset * 2)
        keep = ((boxes[:, 2:] - boxes[:, :2]) > 0.5).all(1)  # less than half a pixel is nothing to see
        labels = torch.tensor([self.task.labels.index(name) for name in one.names], dtype=torch.long)
        flags = torch.tensor(one.flags, dtype=torch.long)
        targets = {"boxes": boxes[keep], "box_labels": labels[keep], "box_ignore": flags[keep]}
        return {"id": ids[index], "image": picture.image, **targets}
