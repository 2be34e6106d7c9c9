"""Pictures with a label per pixel, from wherever it comes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.base import InMemory
from datamodules.readers.boxes import LazySamples
from datamodules.readers.examining import Reading
from datamodules.readers.folders import id_of
from datamodules.readers.images import IN_MEMORY
from datamodules.readers.parts import Part, Read, read_of
from datamodules.readers.published import PublishedData
from datamodules.readers.resize import MOST_BITS, Fitted, fitted
from datamodules.readers.sizes import Size, sides
from tl_modules.heads import head_of
from tl_modules.task import IGNORE


class MaskedPictures(PublishedData):
    """Pictures with a label per pixel; subclasses set these and say which value a pixel has.

    Attributes:
        root: The folder above all, which ids are relative to.
        parts: Picture, and what `values` makes its labels from, by published split.
        image_size: Pixels of a side, or height and width: the whole picture is brought to it, with a border that is
            ignored; None to leave the pictures as they are, if they are of one size.
    """

    root: Path
    parts: dict[str, list[tuple[Path, Any]]]
    image_size: Size | None

    def values(self, source: Any, picture: Fitted) -> np.ndarray[Any, Any]:
        """Return the label of each pixel of a picture as it is shown, 255 where there is none.

        Raises:
            Unusable: If that cannot be told.
        """
        raise TypeError(f"{type(self).__name__} has no labels")

    def begin_reading(self, parts: Mapping[str, Part]) -> bool:
        """All are read from files."""
        return True

    def published(self) -> dict[str, Part]:
        """Return ids (paths below the root), pictures and what their labels are made from, by split."""
        made = {}
        for split, pairs in self.parts.items():
            files = [path for path, _ in pairs]
            ids = [id_of(path, self.root) for path in files]
            made[split] = Part(ids, [0] * len(pairs), pairs, files)
        return made

    def dataset_of(self, part: Part, rows: Sequence[int]) -> Dataset[Any]:
        """Return the samples of some rows.

        Raises:
            ValueError: If the pictures differ in size and none is given.
        """
        read = Reading(self, part, rows)
        first = read(0)
        if len(rows) * 2 * first["image"].numel() > IN_MEMORY:
            return LazySamples(read, len(rows))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            samples = list(pool.map(read, range(len(rows))))
        if len({sample["image"].shape for sample in samples}) > 1:
            raise ValueError("image_size=null: the pictures differ in size; give one")
        fields: dict[str, Any] = {key: [sample[key] for sample in samples] for key in samples[0]}
        for key in {"image", "mask"} & set(fields):
            fields[key] = torch.stack(fields[key])
        return InMemory(fields)

    def reading(self, part: Part, row: int) -> Read:
        """Read a picture with its labels."""
        own = self.own_task
        assert own is not None
        (path, source), name = part.content[row], part.ids[row]
        picture = fitted(path, own.channels, sides(self.image_size), whole=True, bits=self.bits or MOST_BITS)
        targets = self.targets(self._fitted(source, picture))
        if "mask" in targets:
            one = {"id": [name], own.key: targets["mask"][None]}
            head_of(own.kind).check(one, own.key, own.labels)
        there = targets["mask"] if "mask" in targets else targets["box_labels"]
        seen = [index for index in there.unique().tolist() if index != IGNORE]
        return read_of(picture, name, {"id": name, "image": picture.image, **targets}, seen=seen)

    def targets(self, mask: Tensor) -> dict[str, Any]:
        """Return a sample's targets, made from its label map `(H, W)`."""
        return {"mask": mask}

    def _fitted(self, source: Any, picture: Fitted) -> Tensor:
        """Return a label map `(H, W)` fitted as its picture."""
        mask = torch.from_numpy(self.values(source, picture).astype(np.int64))
        height, width = picture.image.shape[-2:]
        rows = ((torch.arange(height) + 0.5 - picture.offset[1]) / picture.scale).floor().long()
        columns = ((torch.arange(width) + 0.5 - picture.offset[0]) / picture.scale).floor().long()
        inside = ((rows >= 0) & (rows < len(mask)))[:, None] & ((columns >= 0) & (columns < mask.shape[1]))
        seen = mask[rows.clamp(0, len(mask) - 1)][:, columns.clamp(0, mask.shape[1] - 1)]
        return torch.where(inside, seen, IGNORE)
