"""Pictures read from files or arrays and brought to a size."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from datamodules.readers.sizes import Size, sides

MODES = {1: "L", 3: "RGB"}
Picture = Path | Any


class Fitted(NamedTuple):
    """A picture brought to a size: pixel (x, y) of its file is at `scale * (x, y) + offset`.

    Args:
        image: uint8 `(C, H, W)`.
        scale: Pixels a pixel of the file.
        offset: Where the file's left upper corner lies, (x, y) in pixels.
        size: Height and width of the file's picture in pixels.
    """

    image: Tensor
    scale: float
    offset: tuple[int, int]
    size: tuple[int, int]


def fitted(picture: Picture, channels: int, size: tuple[int, int] | None, whole: bool = False) -> Fitted:
    """Read a picture and bring it to a size.

    Args:
        picture: A file, a PIL image, an array `(H, W[, C])` or `(C, H, W)`, or a tensor.
        channels: 1 for grey, 3 for colour.
        size: Height and width in pixels; None to leave the picture as it is.
        whole: Whether all of it is to be seen, with a black border; else the middle is cut out so as to fill the size.

    Raises:
        ValueError: If the file cannot be read as a picture.
    """
    with _readable(picture):
        image = _opened(picture)
        full = image.size
        if image.mode.startswith("I"):  # Pillow would cut 16 bits off at 255
            image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
        elif image.mode == "F":
            raise ValueError("its pixels are floats, whose range is not known")
        if size is not None and not whole:
            image.draft(MODES[channels], size[::-1])  # JPEG decodes at a fraction of its size, where that is enough
        image = image.convert(MODES[channels])
        scale, offset = 1.0, (0, 0)
        if size is not None and image.size != size[::-1]:
            scales = [side / own for side, own in zip(size[::-1], full, strict=True)]
            scale = min(scales) if whole else max(scales)
            width, height = (max(1, round(side * scale)) for side in full)
            image = image.resize((width, height), Image.Resampling.BILINEAR)
            offset = (-((width - size[1]) // 2), -((height - size[0]) // 2))
            image = image.crop((-offset[0], -offset[1], size[1] - offset[0], size[0] - offset[1]))
    array = np.array(image)
    pixels = torch.from_numpy(array if array.ndim == 3 else array[..., None]).permute(2, 0, 1).contiguous()
    return Fitted(pixels, scale, offset, full[::-1])


def read_picture(picture: Picture, channels: int, size: Size | None) -> Tensor:
    """Return a picture as uint8 `(C, H, W)`, its middle of that shape; as it is where `size` is None; see `fitted`."""
    return fitted(picture, channels, sides(size)).image


def size_of_picture(picture: Picture) -> tuple[int, int]:
    """Return the height and width of a picture in pixels; a file is not decoded for it."""
    with _readable(picture):
        width, height = _opened(picture).size
    return height, width


def _opened(picture: Picture) -> Image.Image:
    """Return what `fitted` takes as a PIL image, a file not yet decoded."""
    image = Image.open(picture) if isinstance(picture, str | os.PathLike) else picture
    if isinstance(image, Image.Image):
        return image
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[0] in MODES and array.shape[2] not in MODES:
        array = array.transpose(1, 2, 0)
    return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)


@contextmanager
def _readable(picture: Picture) -> Iterator[None]:
    """Name the picture where it cannot be read."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise ValueError(f"{picture}: cannot be read as a picture") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{picture}: cannot be read as a picture ({' '.join(str(error).split())})") from error
