"""Batched augmentation with parameters of each sample's own, on the batch's device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tl_modules.discovery import imported
from tl_modules.precision import as_float32, full_precision
from tl_modules.ranges import AtLeast, Below
from tl_modules.task import IGNORE, box_fields

Batch = dict[str, Any]
KEEP_AREA = 0.25


class Augment:
    """Flip, scale, shift and brighten images; boxes and masks follow.

    Args:
        flip: Whether half of the samples are mirrored left to right.
        shift: Largest shift in each direction, a fraction of the side; what comes in repeats the edge.
        scale: Largest relative change of size about the centre, a fraction; growing crops.
        brightness: Largest relative change of brightness, a fraction.

    Raises:
        ValueError: If a fraction is out of range.
    """

    def __init__(
        self,
        flip: bool = False,
        shift: Annotated[float, AtLeast(0), Below(1)] = 0.0,
        scale: Annotated[float, AtLeast(0), Below(1)] = 0.0,
        brightness: Annotated[float, AtLeast(0), Below(1)] = 0.0,
    ) -> None:
        for name, value in (("shift", shift), ("scale", scale), ("brightness", brightness)):
            if not 0 <= value < 1:
                raise ValueError(f"augment.{name}={value} must be in [0, 1)")
        self.flip, self.shift, self.scale, self.brightness = flip, shift, scale, brightness
        self.geometric = bool(flip or shift or scale)
        self.active = self.geometric or bool(brightness)

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Return an augmented batch; the given one stays as it is.

        All of it is computed in float32, under autocast too: bfloat16 has no places for more than 256 columns.

        Args:
            batch: A batch dict. Masks are taken for `mask` and boxes for `boxes`, or any field of their shape with a
                list of labels beside it; labels and flags (`task.box_fields`) of boxes that are gone go with them.
            generator: Where all parameters come from, on the images' device.
        """
        if "image" not in batch or not self.active:
            return batch
        with full_precision(batch["image"].device):
            return self._augmented(batch, generator)

    def _augmented(self, batch: Batch, generator: torch.Generator) -> Batch:
        image: Tensor = batch["image"]
        image = as_float32(image) if image.is_floating_point() else image.float() / 255
        count, out = len(image), dict(batch)

        def uniform(columns: int) -> Tensor:
            return torch.rand(count, columns, generator=generator, device=image.device) * 2 - 1

        mirror = torch.where(uniform(1) < 0, -1.0, 1.0) if self.flip else torch.ones(count, 1, device=image.device)
        grow = (1 + self.scale * uniform(1)) if self.scale else torch.ones(count, 1, device=image.device)
        move = self.shift * uniform(2) if self.shift else torch.zeros(count, 2, device=image.device)
        if self.brightness:
            image = (image * (1 + self.brightness * uniform(1))[:, :, None, None]).clamp(0, 1)
        if not self.geometric:
            return {**out, "image": image}
        owner = batch.get("image_rows", torch.arange(count, device=image.device))
        size = (int(image.shape[-2]), int(image.shape[-1]))
        # The inverse map, in grid_sample's coordinates from -1 to 1: output place -> input place.
        factor = torch.cat([mirror / grow, 1 / grow], 1)
        offset = -2 * move * factor
        out["image"] = F.grid_sample(
            image, _grid(factor, offset, size), mode="bilinear", padding_mode="border", align_corners=False
        )
        for key, values in batch.items():
            if key in ("image", "role", "annotated") or key.endswith("_rows"):
                continue
            if isinstance(values, Tensor) and values.ndim == 3 and tuple(values.shape[1:]) == size:
                rows = _rows(batch, key, owner, image.device)
                out[key] = _masks(values, _grid(factor[rows], offset[rows], size))
            elif isinstance(values, list) and box_fields(key)[0] in batch:
                rows = _rows(batch, key, owner, image.device)
                moved = [
                    _boxes(b, mirror[r, 0], grow[r, 0], move[r], size)
                    for b, r in zip(values, rows.tolist(), strict=True)
                ]
                out[key] = [boxes for boxes, _ in moved]
                for beside in set(box_fields(key)) & set(batch):  # a box that is gone takes them along
                    out[beside] = [one[keep] for one, (_, keep) in zip(batch[beside], moved, strict=True)]
        return out


def build_augment(options: str | Mapping[str, Any]) -> Any:
    """Build an augmentation.

    Args:
        options: Those of `Augment`; or the import path of a class of one's own whose module is imported, alone or as
            `name` beside its options. Its objects have `active`, and are called as an `Augment`.

    Raises:
        ValueError: If the class is not there, or an option is wrong.
    """
    given = {"name": options} if isinstance(options, str) else dict(options)
    name = given.pop("name", None)
    return Augment(**given) if name is None else imported(str(name), "augment")(**given)


def _rows(batch: Batch, key: str, owner: Tensor, device: torch.device) -> Tensor:
    """Return the image whose parameters each value of a field shares."""
    if f"{key}_rows" not in batch:
        return torch.arange(len(owner), device=device)
    place = torch.zeros(int(owner.max()) + 1, dtype=torch.long, device=device)
    place[owner] = torch.arange(len(owner), device=device)
    return place[batch[f"{key}_rows"]]


def _grid(factor: Tensor, offset: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the places to read, `(B, H, W, 2)`."""
    theta = torch.diag_embed(factor)
    shape = [len(factor), 1, *size]
    return F.affine_grid(torch.cat([theta, offset[:, :, None]], 2), shape, align_corners=False)


def _masks(masks: Tensor, grid: Tensor) -> Tensor:
    """Return label maps read at the nearest places; outside the picture there is nothing to judge (255)."""
    shifted = (masks[:, None].float() - IGNORE).to(grid.dtype)
    read = F.grid_sample(shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return (read[:, 0] + IGNORE).round().to(masks.dtype)


def _boxes(boxes: Tensor, mirror: Tensor, grow: Tensor, move: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return boxes moved with their picture and cut at its edges, and which were kept: not those with little left."""
    if len(boxes) == 0:
        return boxes, torch.ones(0, dtype=torch.bool, device=boxes.device)
    height, width = size
    x, y = boxes[:, 0::2], boxes[:, 1::2]
    x = (x - width / 2) * mirror * grow + width / 2 + move[0] * width
    y = (y - height / 2) * grow + height / 2 + move[1] * height
    area = (x[:, 1] - x[:, 0]).abs() * (y[:, 1] - y[:, 0])
    x, y = x.sort(1).values.clamp(0, width), y.clamp(0, height)
    left = (x[:, 1] - x[:, 0]) * (y[:, 1] - y[:, 0])
    keep = left >= KEEP_AREA * area.clamp(min=1e-6)
    return torch.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], 1)[keep], keep
