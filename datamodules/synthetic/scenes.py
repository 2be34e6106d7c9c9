"""Scenes made of real handwritten digits, on a plain ground or on photographs; no download."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits, load_sample_images
from torch import Tensor
from typing_extensions import Unpack

from datamodules.base import DatasetModule, DatasetOptions, InMemory
from datamodules.synthetic import check_made
from tl_modules.ranges import AtLeast, AtMost
from tl_modules.seeding import generator
from tl_modules.task import Task

DIGITS = tuple(str(digit) for digit in range(10))
SPLITS = ("train", "val", "test")
TARGETS = {
    "classify": ("largest-digit", "classification", DIGITS),
    "count": ("digit-count", "regression", ()),
    "segment": ("digit-pixels", "segmentation", ("background", *DIGITS)),
    "detect": ("digit-boxes", "detection", DIGITS),
}
FIELDS = {"classify": ("label",), "count": ("value",), "segment": ("mask",), "detect": ("boxes", "box_labels")}
TRAIN_SIZE = {"source": 4000, "target": 200}
TEST_SIZE = 1000
VAL_SIZE = 300
MOST_DIGITS = 3
BLEND = 0.9
INK = 0.25
SPLIT_ROWS = {"train": (0.0, 0.6), "val": (0.6, 0.8), "test": (0.8, 1.0)}


@dataclass
class Composed:
    """A split's scenes and what they were made of.

    Args:
        dataset: The scenes with all their targets.
        digits: For each scene, the indices of its digits in scikit-learn's set, `(N, 3)`, -1 for none.
        regions: For each textured scene `(photograph, top, left, height, width)` of its cutting in pixels, `(N, 5)`.
    """

    dataset: InMemory
    digits: Tensor
    regions: Tensor


@lru_cache(maxsize=1)
def _glyphs() -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Return ink `(1797, 8, 8)` in 0..1, class, and a fixed split of the digits: 60 / 20 / 20 percent a class."""
    data = load_digits()
    ink, label = torch.tensor(data.images / 16, dtype=torch.float32), torch.tensor(data.target)
    order = torch.randperm(len(label), generator=generator("scenes", "digits"))
    pools: dict[str, list[Tensor]] = {split: [] for split in SPLITS}
    for digit in range(10):
        mine = order[label[order] == digit]
        cuts = [0, int(0.6 * len(mine)), int(0.8 * len(mine)), len(mine)]
        for split, a, b in zip(SPLITS, cuts[:-1], cuts[1:], strict=True):
            pools[split].append(mine[a:b])
    return ink, label, {split: torch.cat(parts) for split, parts in pools.items()}


@lru_cache(maxsize=1)
def _photographs() -> Tensor:
    """Return scikit-learn's two photographs as floats in 0..1, `(2, H, W, 3)`."""
    return torch.from_numpy(np.stack(load_sample_images().images)).float() / 255


def _grounds(ground: str, split: str, count: int, size: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return grounds `(N, 3, S, S)` and the regions they were cut from; a split has bands of columns of its own."""
    if ground == "plain":
        shade = torch.rand(count, 1, 1, 1, generator=rng) * 0.15
        return shade.expand(count, 3, size, size).clone(), torch.full((count, 5), -1)
    photographs = _photographs()
    low, high = (int(edge * photographs.shape[2]) for edge in SPLIT_ROWS[split])
    pick = torch.randint(len(photographs), (count,), generator=rng)
    cut = torch.randint(size, 2 * size + 1, (count,), generator=rng)
    place = torch.rand(count, 2, generator=rng)
    side = cut.clamp(max=high - low)
    top = (place[:, 0] * (photographs.shape[1] - side + 1)).long()
    left = low + (place[:, 1] * (high - low - side + 1)).long()
    steps = torch.arange(size) * side[:, None] // size
    rows, columns = (top[:, None] + steps)[:, :, None], (left[:, None] + steps)[:, None]
    grounds = photographs[pick[:, None, None], rows, columns].permute(0, 3, 1, 2).contiguous()
    regions = torch.stack([pick, top, left, side, side], 1)
    return grounds, regions


@lru_cache(maxsize=12)  # three splits of two grounds and two roles
def compose(ground: str, split: str, count: int, size: int, role: str, seed: int) -> Composed:
    """Compose scenes.

    Each has one to three digits of different sizes; the largest names the scene. Ink is blended as the absolute
    difference from the ground, as in MNIST-M (Ganin et al. 2016).

    Args:
        ground: `plain` or `textured`.
        split: `train`, `val` or `test`; each has digits and regions of the photographs of its own.
        count: Number of scenes.
        size: Height and width in pixels.
        role: Source and target compose different scenes.
        seed: Root of the composition; the test scenes are the same for every seed.
    """
    ink, classes, pools = _glyphs()
    rng = generator("scenes", split, ground, size, "any" if split == "test" else (role, seed))
    pixels, regions = _grounds(ground, split, count, size, rng)
    numbers = torch.randint(1, MOST_DIGITS + 1, (count,), generator=rng)
    used = torch.full((count, MOST_DIGITS), -1)
    mask = torch.zeros(count, size, size, dtype=torch.long)
    boxes = torch.zeros(count, MOST_DIGITS, 4)
    shown = torch.zeros(count, MOST_DIGITS, dtype=torch.bool)
    pool = pools[split]
    grid = (torch.arange(size) + 0.5)[None]
    for slot in range(MOST_DIGITS):
        largest = slot == 0
        used[:, slot] = pool[torch.randint(len(pool), (count,), generator=rng)]
        low, high = (0.46, 0.62) if largest else (0.2, 0.32)
        side = (low + (high - low) * torch.rand(count, 1, generator=rng)) * size
        corner = torch.rand(count, 2, generator=rng) * (size - side)
        if not largest:  # into a corner away from the largest digit's middle, so that it stays readable
            middle = (boxes[:, 0, :2] + boxes[:, 0, 2:]) / 2
            near = (middle < size / 2).float()
            flip = torch.ones(count, 2)  # the second digit goes to the opposite corner, the third to one beside it
            if slot == 2:
                flip = F.one_hot(torch.randint(2, (count,), generator=rng), 2).float()
            away = torch.where(flip == 1, near, 1 - near)
            corner = away * (size - side) * (0.9 + 0.1 * corner / size) + (1 - away) * 0.1 * corner
        shown[:, slot] = numbers > slot
        scaled = _paste(ink[used[:, slot]], corner, side, grid, size) * shown[:, slot, None, None]
        pixels = (pixels - BLEND * scaled[:, None]).abs()
        inked = scaled > INK
        mask = torch.where(inked, (classes[used[:, slot]] + 1)[:, None, None], mask)
        boxes[:, slot] = _boxes(inked, size)
    used[~shown] = -1
    names = [f"{ground}-{split}-{'any' if split == 'test' else f'{role}-{seed}'}-{i}" for i in range(count)]
    fields = {
        "id": names,
        "image": (pixels * 255).round().to(torch.uint8),
        "label": classes[used[:, 0]],
        "value": numbers.float(),
        "mask": mask,
        "boxes": [boxes[i][shown[i]] for i in range(count)],
        "box_labels": [classes[used[i][shown[i]]] for i in range(count)],
    }
    return Composed(InMemory(fields), used, regions)


def _paste(ink: Tensor, corner: Tensor, side: Tensor, grid: Tensor, size: int) -> Tensor:
    """Return glyphs `(N, 8, 8)` drawn at places and sizes on empty pictures `(N, S, S)`."""
    x = (grid - corner[:, :1]) / side * 2 - 1
    y = (grid - corner[:, 1:]) / side * 2 - 1
    where = torch.stack([x[:, None].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)], -1)
    return F.grid_sample(ink[:, None], where, mode="bilinear", padding_mode="zeros", align_corners=False)[:, 0]


def _boxes(inked: Tensor, size: int) -> Tensor:
    """Return the boxes `(N, 4)` of the inked pixels `(N, S, S)`, xyxy."""
    columns, rows = inked.any(1), inked.any(2)
    index = torch.arange(size)
    ends = []
    for line in (columns, rows):
        ends.append((torch.where(line, index, size).amin(1), torch.where(line, index, -1).amax(1) + 1))
    (left, right), (top, bottom) = ends
    return torch.stack([left, top, right, bottom], 1).float()


class Scenes(DatasetModule):
    """Scenes on a ground, with one of four tasks: 4,000 to train a source, 200 to train a target, 300 to validate.

    Args:
        ground: `plain` or `textured`; the domain.
        target: `classify` (the largest digit), `count`, `segment` or `detect`; the task.
        role: `source` or `target`: the two compose different scenes from the same training digits and regions.
        image_size: Height and width in pixels.
        task: Another name for the task.
        domain: Another name for the domain.
        **shared: Options of every dataset, see `DatasetModule`.

    Raises:
        ValueError: If an argument is unknown or out of range.
    """

    def __init__(
        self,
        ground: Literal["plain", "textured"] = "textured",
        target: Literal["classify", "count", "segment", "detect"] = "classify",
        role: str = "target",
        image_size: Annotated[int, AtLeast(32), AtMost(112)] = 48,
        task: str | None = None,
        domain: str | None = None,
        **shared: Unpack[DatasetOptions],
    ) -> None:
        choices = (("ground", ground, ("plain", "textured")), ("target", target, TARGETS), ("role", role, TRAIN_SIZE))
        for name, value, allowed in choices:
            if value not in allowed:
                raise ValueError(f"{name}={value!r} is unknown; allowed: {', '.join(allowed)}")
        if not 32 <= image_size <= 112:
            raise ValueError(f"image_size={image_size} must be between 32 and 112 pixels")
        name, kind, labels = TARGETS[target]
        made = Task(task or name, kind, labels, domain or f"scenes-{ground}")
        super().__init__(made, **shared)
        self.train_size = self.train_size or TRAIN_SIZE[role]
        check_made(self.train_size, self.val_size)
        self.ground, self.target, self.role, self.image_size = ground, target, role, image_size
        self.composed: dict[str, Composed] = {}

    def setup(self, stage: str | None = None) -> None:
        """Compose the three splits, once."""
        if self.composed:
            return
        assert self.train_size is not None
        val_size = self.val_size or min(VAL_SIZE, self.train_size)
        for split, count in zip(SPLITS, (self.train_size, val_size, TEST_SIZE), strict=True):
            made = compose(self.ground, split, count, self.image_size, self.role, self.seed)
            self.composed[split] = made
            setattr(self, f"{split}_dataset", only(made.dataset, FIELDS[self.target]))


def only(dataset: InMemory, fields: Sequence[str]) -> InMemory:
    """Return the dataset with its inputs and some of its targets."""
    return InMemory({key: dataset.fields[key] for key in ("id", "image", *fields)})


def aligned(source: Scenes, target: Scenes) -> InMemory:
    """Return one training set whose scenes carry both roles' targets, for `aligned`.

    The first `target.train_size` scenes carry the target's labels and the first `source.train_size` the source's.

    Args:
        source: The source's scenes.
        target: The target's, on the same ground and of the same size.

    Raises:
        ValueError: If the two differ in ground or size, or either is not made of scenes.
    """
    for role, data in (("source", source), ("target", target)):
        if not isinstance(data, Scenes):
            raise ValueError(f"datamodule.mode=aligned needs samples with both targets; the {role} is no scenes set")
    if (source.ground, source.image_size) != (target.ground, target.image_size):
        raise ValueError(
            f"datamodule.mode=aligned needs one picture for both roles, but the source is {source.ground} at "
            f"{source.image_size} px and the target {target.ground} at {target.image_size} px"
        )
    sizes = {role: len(data.train_dataset) for role, data in (("source", source), ("target", target))}  # type: ignore[arg-type]
    made = compose(target.ground, "train", max(sizes.values()), target.image_size, "target", target.seed).dataset
    have = {role: [index < size for index in range(max(sizes.values()))] for role, size in sizes.items()}
    present = {key: have["source"] for key in FIELDS[source.target]}
    present |= {key: have["target"] for key in FIELDS[target.target]}
    return InMemory(only(made, tuple(present)).fields, present)
