"""Pictures with labelled boxes, from wherever they come."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset
from typing_extensions import Unpack

from datamodules.base import InMemory
from datamodules.label_map import Labels, listed_or_mapped
from datamodules.readers.examining import Reading
from datamodules.readers.images import IN_MEMORY
from datamodules.readers.orientation import Box, refers_to_shown, turned_boxes
from datamodules.readers.parts import Part, Read, read_of
from datamodules.readers.published import PictureOptions, PublishedData
from datamodules.readers.resize import MOST_BITS, fitted
from datamodules.readers.sizes import Size, sides
from tl_modules.task import Task


class AnnotatedPicture(NamedTuple):
    """A picture's file with its boxes.

    Args:
        path: The picture.
        boxes: xyxy in its pixels; NaN where a number cannot be read.
        names: The label name of each box; empty where it has none.
        flags: The flag of each box (`task.box_fields`).
        size: Height and width that the boxes refer to, in pixels; None where the annotation does not say.
        source: The file of the annotation.
    """

    path: Path
    boxes: list[Box]
    names: list[str]
    flags: list[int]
    size: tuple[int, int] | None = None
    source: Path | None = None


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

    Pictures are brought to a size whole, with a black border; boxes follow. A box that is no more than a pixel wide or
    high, has no label or is outside of its picture cannot be used; what stands out of its picture is cut off. Boxes
    that are difficult or crowds have a flag, see `task.box_fields`: they are neither learned nor counted.

    Args:
        root: What the data come from, for messages.
        parts: Ids and annotated pictures by published split, `train` at least.
        labels: Label names; None for those that occur, in alphabetical order; a mapping says what these are called (see
            `PublishedData.label_map`).
        image_size: Pixels of a side, or height and width.
        channels: 1 for grey, 3 for colour.
        task: The task's name.
        domain: The domain.
        **shared: Options of every reader, see `PublishedData`.

    Raises:
        ValueError: If a picture is in two splits, or labels are unknown.
    """

    def __init__(
        self,
        root: str,
        parts: Mapping[str, Sequence[tuple[str, AnnotatedPicture]]],
        labels: Labels | None,
        image_size: Size,
        channels: int,
        task: str,
        domain: str,
        **shared: Unpack[PictureOptions],
    ) -> None:
        self.root, self.image_size, self.shape = Path(root), image_size, sides(image_size) or (0, 0)
        seen: dict[str, str] = {}
        for split, items in parts.items():
            for name, _ in items:
                if name in seen:
                    raise ValueError(f"root={root}: {name} is in {seen[name]} and in {split}")
                seen[name] = split
        self.parts = self._usable(parts)
        labels, label_map = listed_or_mapped(labels)
        found = sorted({name for items in self.parts.values() for _, one in items for name in one.names})
        unknown = [name for name in found if labels is not None and name not in labels]
        if unknown or not found:
            what = (
                f"its boxes are of {', '.join(unknown)} too"
                if unknown
                else f"its annotations have no boxes{self.findings.why_none()}"
            )
            raise ValueError(f"labels={labels}: {what}")
        made = Task(task, "detection", tuple(labels or found), domain, channels=channels)
        super().__init__(made, label_map=label_map, **shared)
        if self.label_map is not None:
            every = [name for items in self.parts.values() for _, one in items for name in one.names]
            for name, count in Counter(self.label_map.dropped(every)).items():
                self.findings.drop(name, "boxes", count)

    def _usable(
        self, parts: Mapping[str, Sequence[tuple[str, AnnotatedPicture]]]
    ) -> dict[str, list[tuple[str, AnnotatedPicture]]]:
        """Leave out boxes that cannot be used, and note them."""
        usable: dict[str, list[tuple[str, AnnotatedPicture]]] = {}
        for split, items in parts.items():
            usable[split] = []
            for name, one in items:
                self.findings.count("boxes", len(one.boxes))
                kept = one._replace(boxes=[], names=[], flags=[])
                for box, label, flag in zip(one.boxes, one.names, one.flags, strict=True):
                    wrong = _wrong_with(box, label)
                    if wrong is None:
                        kept.boxes.append(box)
                        kept.names.append(label)
                        kept.flags.append(flag)
                    else:
                        self.findings.add(wrong[0], "boxes", f"{name}: {_shown(label, box)} {wrong[1]}")
                usable[split].append((name, kept))
        return usable

    def published(self) -> dict[str, Part]:
        """Return the pictures by split; splits hold each picture's first label that counts in proportion."""
        assert self.task is not None
        made = {}
        for split, items in self.parts.items():
            content = [one for _, one in items]
            counted = [self._counted(one) for one in content]
            strata = [self.task.labels.index(names[0]) if names else -1 for names in counted]
            made[split] = Part([name for name, _ in items], strata, content, [one.path for one in content])
        return made

    def weighed(self, parts: Mapping[str, Part], seen: Mapping[int, int]) -> dict[str, int]:
        """Return how many boxes that count each class has."""
        assert self.task is not None
        some = [one for one in parts["train"].content if isinstance(one, AnnotatedPicture)]
        found = Counter(name for one in some for name in self._counted(one))
        return {name: found[name] for name in self.task.labels}

    def _counted(self, one: AnnotatedPicture) -> list[str]:
        """Return what the labels of a picture's boxes that count are called, without those that are dropped."""
        own = [name for name, flag in zip(one.names, one.flags, strict=True) if not flag]
        called = own if self.label_map is None else map(self.label_map.name, own)
        return [name for name in called if name is not None]

    def begin_reading(self, parts: Mapping[str, Part]) -> bool:
        """All are read from files."""
        return True

    def files_read(self, part: Part, row: int) -> Sequence[Path]:
        """Return picture and annotation."""
        one = part.content[row]
        return [one.path] if one.source is None else [one.path, one.source]

    def dataset_of(self, part: Part, rows: Sequence[int]) -> Dataset[Any]:
        """Return the samples of some rows."""
        assert self.task is not None
        read = Reading(self, part, rows)
        if len(rows) * self.task.channels * self.shape[0] * self.shape[1] > IN_MEMORY:
            return LazySamples(read, len(rows))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            samples = list(pool.map(read, range(len(rows))))
        fields: dict[str, Any] = {key: [sample[key] for sample in samples] for key in samples[0]}
        return InMemory({**fields, "image": torch.stack(fields["image"])})

    def reading(self, part: Part, row: int) -> Read:
        """Read a picture with its boxes."""
        assert self.own_task is not None
        one, name = part.content[row], part.ids[row]
        picture = fitted(one.path, self.own_task.channels, self.shape, whole=True, bits=self.bits or MOST_BITS)
        given = one.boxes
        if given and not refers_to_shown(name, picture.size, picture.orientation, one.size, "boxes"):
            given = turned_boxes(given, picture.orientation, picture.size)
        boxes: Tensor = torch.tensor(given, dtype=torch.float32).view(-1, 4)
        height, width = picture.size
        limit = torch.tensor([width, height, width, height], dtype=torch.float32)
        cut = torch.minimum(boxes.clamp(min=0), limit)
        stands_out = (cut != boxes).any(1)
        inside = (cut[:, 2:] > cut[:, :2]).all(1)
        boxes = cut * picture.scale + torch.tensor(picture.offset * 2)
        keep = ((boxes[:, 2:] - boxes[:, :2]) > 0.5).all(1)  # less than half a pixel is nothing to see
        said = []
        for i, (box, label) in enumerate(zip(given, one.names, strict=True)):
            shown = f"{name}: {_shown(label, box)}"
            if not inside[i]:
                said.append(("empty", "boxes", f"{shown} is outside of its picture of {width}x{height}"))
            elif not keep[i]:
                said.append(("too_small", "boxes", f"{shown} is less than half a pixel at image_size"))
            elif stands_out[i]:
                said.append(("clipped", "boxes", f"{shown} stands out of its picture of {width}x{height}"))
        labels = torch.tensor([self.own_task.labels.index(label) for label in one.names], dtype=torch.long)
        flags = torch.tensor(one.flags, dtype=torch.long)
        targets = {"boxes": boxes[keep], "box_labels": labels[keep], "box_ignore": flags[keep]}
        return read_of(picture, name, {"id": name, "image": picture.image, **targets}, said=said)


def _wrong_with(box: Box, label: str) -> tuple[str, str] | None:
    """Return kind and text of what is the matter with a box; None where nothing is."""
    left, top, right, bottom = box
    if not all(map(math.isfinite, box)):
        return "unreadable", "has a corner that is no number"
    if not label:
        return "unlabelled", "has no label"
    return None if right - left > 1 and bottom - top > 1 else ("empty", "has no area")


def _shown(label: str, box: Box) -> str:
    return f"{label or 'a box'} ({', '.join(f'{side:g}' for side in box)})"
