"""Two handwritten digits in one picture, and which the one of a side is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset
from typing_extensions import Unpack

from datamodules.base import InMemory
from datamodules.readers.parts import Part
from datamodules.readers.published import ReaderOptions
from datamodules.readers.sizes import Size
from datamodules.readers.torchvision_sets import TorchvisionSet
from tl_modules.seeding import generator
from tl_modules.task import Task

OFFSET = 8  # pixels to the right and down, of the right digit


class MultiMnist(TorchvisionSet):
    """MultiMNIST (Sabour et al. 2017, as Sener and Koltun 2018 lay it out): two digits of MNIST that overlap.

    The left one is at the top left of 36 x 36 pixels, the right one at the bottom right, and of two values the greater
    one is seen. Both sides are tasks on the same pictures. Each digit of MNIST is in one picture alone, so that the
    published 60,000 and 10,000 make 30,000 and 5,000, and no digit of a split is in another one. Which two are together
    is the same for every seed.

    Args:
        side: The digit that is to be named, `left` or `right`.
        root: The folder MNIST is in or is downloaded to; also the folder above one of that name.
        task: The task's name; None for `left_digit` or `right_digit`.
        domain: The domain.
        download: Whether to download what is missing.
        image_size: Pixels of a side, or height and width; None for 36.
        **shared: Options of every reader, see `PublishedData`.

    Raises:
        ValueError: If the side is neither.
    """

    def __init__(
        self,
        side: Literal["left", "right"],
        root: str | None = None,
        task: str | None = None,
        domain: str = "multi-mnist",
        download: bool = True,
        image_size: Size | None = None,
        **shared: Unpack[ReaderOptions],
    ) -> None:
        if side not in ("left", "right"):
            raise ValueError(f"side={side!r}: allowed: left, right")
        self.side = side
        digits = [str(digit) for digit in range(10)]
        super().__init__(
            "MNIST", root, task or f"{side}_digit", domain, digits, None, None, download, image_size, 1, **shared
        )

    @property
    def key(self) -> str:
        """The field of the side's label."""
        return f"label_{self.side}"

    def _name_task(self) -> None:
        self.task = Task(
            self.task_name, "classification", tuple(self.labels or ()), self.domain, key=self.key, channels=1
        )

    def published(self) -> dict[str, Part]:
        """Return ids (split and the two digits' indices), the side's class indices and pictures by split."""
        return {split: self._together(split, part) for split, part in super().published().items()}

    def _together(self, split: str, part: Part) -> Part:
        order = torch.randperm(len(part.ids), generator=generator("multi_mnist", split))
        half = len(order) // 2
        left, right = order[:half], order[half : 2 * half]
        ids = [f"{split}/{one}+{other}" for one, other in zip(left.tolist(), right.tolist(), strict=True)]
        rows = left if self.side == "left" else right
        return Part(ids, [part.strata[row] for row in rows.tolist()], overlaid(part.content[left], part.content[right]))

    def dataset_of(self, part: Part, rows: Sequence[int]) -> Dataset[Any]:
        """Return the samples of some rows, with the label under a name of its side's."""
        made = super().dataset_of(part, rows)
        assert isinstance(made, InMemory)
        return InMemory({self.key if name == "label" else name: values for name, values in made.fields.items()})


def overlaid(left: Tensor, right: Tensor) -> Tensor:
    """Return pictures of two digits each.

    Args:
        left: uint8 `(N, 1, H, W)`; at the top left.
        right: Likewise; at the bottom right.

    Returns:
        uint8 `(N, 1, H + OFFSET, W + OFFSET)`.
    """
    whole = torch.zeros(len(left), 1, left.shape[2] + OFFSET, left.shape[3] + OFFSET, dtype=torch.uint8)
    whole[:, :, : left.shape[2], : left.shape[3]] = left
    corner = whole[:, :, OFFSET:, OFFSET:]
    torch.maximum(corner, right, out=corner)
    return whole
