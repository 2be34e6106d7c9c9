"""Pictures with a class each, from wherever they come."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset
from typing_extensions import Unpack

from datamodules.base import InMemory
from datamodules.findings import Unusable
from datamodules.readers.examining import Reading
from datamodules.readers.parts import Part, Read, read_of
from datamodules.readers.published import PictureOptions, PublishedData
from datamodules.readers.resize import MODES, MOST_BITS, Picture, fitted, looked_at
from datamodules.readers.sizes import Size, sides
from tl_modules.task import Task

IN_MEMORY = 1024**3
GREY = ("1", "L", "I", "I;16", "F")


def resized(images: Tensor, channels: int, size: Size | None) -> Tensor:
    """Return a stack of uint8 pictures `(N, C, H, W)` with other channels and another size; it is stretched to that.

    Args:
        images: The stack.
        channels: 1 for grey (luma of ITU-R 601), 3 for colour.
        size: Height and width in pixels; None to leave them.
    """
    chunks, shape = [], sides(size)
    for chunk in images.split(4096):
        if chunk.shape[1] == 3 and channels == 1:
            weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
            chunk = (chunk.float() * weights).sum(1, keepdim=True).round().to(torch.uint8)
        if shape is not None and chunk.shape[-2:] != shape:
            chunk = F.interpolate(chunk, size=shape, mode="bilinear", antialias=True)
        chunks.append(chunk.expand(-1, channels, -1, -1) if chunk.shape[1] == 1 else chunk)
    return torch.cat(chunks).contiguous()


class LazyPictures(Dataset[dict[str, Any]]):
    """Pictures that are read when they are asked for.

    Args:
        ids: An id per sample.
        labels: Class indices `(N,)`.
        read: Gives sample i's picture as uint8 `(C, S, S)`.
    """

    fixed = True  # a sample is the same whenever it is read

    def __init__(self, ids: Sequence[str], labels: Tensor, read: Callable[[int], Tensor]) -> None:
        self.ids, self.labels, self.read = list(ids), labels, read

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a sample."""
        return {"id": self.ids[index], "image": self.read(index), "label": int(self.labels[index])}


class ImageClasses(PublishedData):
    """Pictures with a class each; subclasses say where they come from.

    A split's pictures are read once into memory while they take less than 1 GiB there, else by the loaders' workers as
    they are needed.

    Args:
        name: The task's name.
        labels: Class names; None where only the files tell.
        domain: The domain.
        image_size: Pixels of a side, or height and width; None to leave the pictures as they are, if all have one size.
        channels: 1 for grey, 3 for colour; None for those of the first picture.
        label_map: What the class names are called, see `PublishedData`.
        **shared: Options of every reader, see `PublishedData`.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        name: str,
        labels: Sequence[str] | None,
        domain: str,
        image_size: Size | None,
        channels: int | None,
        label_map: Mapping[str, str | None] | None = None,
        **shared: Unpack[PictureOptions],
    ) -> None:
        sides(image_size)
        if channels not in (None, *MODES):
            raise ValueError(f"channels={channels} must be 1 or 3")
        super().__init__(None, label_map=label_map, **shared)
        self.task_name, self.domain, self.labels = name, domain, None if labels is None else list(labels)
        self.image_size, self.channels = image_size, channels
        self._name_task()

    def dataset_of(self, part: Part, rows: Sequence[int]) -> Dataset[Any]:
        """Return the samples of some rows; a part's content is indexed by row: what `fitted` takes, or a uint8 stack.

        Raises:
            ValueError: If a picture cannot be read, or they differ in size and none is given.
        """
        ids = [part.ids[row] for row in rows]
        labels = torch.tensor([part.strata[row] for row in rows])
        if isinstance(part.content, Tensor):
            assert self.channels is not None
            images = resized(part.content[torch.tensor(rows)], self.channels, self.image_size)
            return InMemory({"id": ids, "image": images, "label": labels})
        read = Reading(self, part, rows)
        if len(rows) * read(0).numel() > IN_MEMORY:
            return LazyPictures(ids, labels, read)
        return InMemory({"id": ids, "image": stacked(read, len(rows)), "label": labels})

    def originals_of(self, part: Part) -> Any:
        """Return the pictures by row."""
        return part.content

    def _name_task(self) -> None:
        if self.labels is not None and self.channels is not None:
            self.task = Task(self.task_name, "classification", tuple(self.labels), self.domain, channels=self.channels)

    def begin_reading(self, parts: Mapping[str, Part]) -> bool:
        """Settle the channels by the first picture that can be opened."""
        pictures = parts["train"].content
        for row in range(len(pictures)):
            if self.channels is not None:
                break
            with suppress(Unusable):
                self.channels = _channels_of(pictures[row])
        self.channels = self.channels or max(MODES)
        self._name_task()
        return not isinstance(pictures, Tensor)

    def reading(self, part: Part, row: int) -> Read:
        """Read a picture."""
        assert self.channels is not None
        try:
            picture = part.content[row]
        except (OSError, SyntaxError, ValueError) as error:  # where another library opens it
            said = " ".join(str(error).split())
            raise Unusable(f"{part.ids[row]}: cannot be read as a picture ({said})") from error
        found = fitted(picture, self.channels, sides(self.image_size), bits=self.bits or MOST_BITS)
        return read_of(found, part.ids[row], found.image)


def stacked(read: Callable[[int], Tensor], count: int) -> Tensor:
    """Return pictures as one stack `(N, C, H, W)`, read by as many threads as there are cores.

    Args:
        read: Gives picture i.
        count: Their number.

    Raises:
        ValueError: If they differ in size.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        images = list(pool.map(read, range(count)))
    sizes = sorted({tuple(image.shape[1:]) for image in images})
    if len(sizes) > 1:
        shown = ", ".join(f"{width}x{height}" for height, width in sizes[:3])
        raise ValueError(f"image_size=null: the pictures differ in size ({shown}); give one")
    return torch.stack(images)


def _channels_of(picture: Picture) -> int:
    """Return 1 for a grey picture and 3 for one in colour."""
    if isinstance(picture, Tensor | np.ndarray):
        return 1 if picture.ndim == 2 or 1 in (picture.shape[0], picture.shape[-1]) else 3
    return 1 if looked_at(picture).mode in GREY else 3
