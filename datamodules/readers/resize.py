"""Pictures read from files or arrays and brought to a size."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from datamodules.findings import Unusable
from datamodules.readers.orientation import TRANSPOSED, TURNED, orientation_of, shown_size, still_to_turn
from datamodules.readers.sizes import Size, sides

MODES = {1: "L", 3: "RGB"}
BITS = (8, 10, 12, 14, 16)
MOST_BITS = 16
Picture = Path | Any


class Fitted(NamedTuple):
    """A picture brought to a size: pixel (x, y) of it as it is shown is at `scale * (x, y) + offset`.

    Args:
        image: uint8 `(C, H, W)`.
        scale: Pixels per pixel of the file.
        offset: Where the left upper corner of the picture as it is shown lies, (x, y) in pixels.
        size: Its height and width in pixels, before.
        orientation: What was done to the file's rows and columns to show it; see `orientation`.
        peak: The largest value of a picture of more than eight bits; None for others.
        coerced: How its values were changed without a rule of ours; empty where they were not.
    """

    image: Tensor
    scale: float
    offset: tuple[int, int]
    size: tuple[int, int]
    orientation: int = 1
    peak: int | None = None
    coerced: str = ""


def fitted(
    picture: Picture, channels: int, size: tuple[int, int] | None, whole: bool = False, bits: int = MOST_BITS
) -> Fitted:
    """Read a picture, turn it as its file says it is shown (EXIF), and bring it to a size.

    Args:
        picture: A file, a PIL image, an array `(H, W[, C])` or `(C, H, W)`, or a tensor.
        channels: 1 for grey, 3 for colour.
        size: Height and width in pixels; None to leave the picture as it is.
        whole: Whether all of it is to be seen, with a black border; else the middle is cut out so as to fill the size.
        bits: Of the values of grey pictures that have more than eight: the upper eight of these are read.

    Raises:
        Unusable: If the file cannot be read as a picture, or a value has more bits.
    """
    with _readable(picture):
        image = _opened(picture)
        orientation, peak = orientation_of(image), None
        full = shown_size(image)
        turned = still_to_turn(image)
        coerced = "has 16 bits per colour, of which the upper eight are read" if _deep_colour(image) else ""
        if image.mode.startswith("I"):  # Pillow would cut 16 bits off at 255
            values = np.asarray(image)
            peak = int(values.max())
            if int(values.min()) < 0 or peak >= 2**MOST_BITS:
                raise ValueError(f"its values need more than {MOST_BITS} bits, so their range is not known")
            if peak >= 2**bits:
                raise ValueError(f"it has the value {peak}, more than {bits} bits hold")
            image = Image.fromarray((values.astype(np.uint32) >> (bits - 8)).astype(np.uint8))
        elif image.mode == "F":
            raise ValueError("its pixels are floats, whose range is not known")
        if size is not None and not whole:  # JPEG decodes at a fraction of its size, where that is enough
            image.draft(MODES[channels], size if turned in TRANSPOSED else size[::-1])
        image = image.convert(MODES[channels])
        if turned in TURNED:
            image = image.transpose(TURNED[turned])
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
    return Fitted(pixels, scale, offset, full[::-1], orientation, peak, coerced)


def read_picture(picture: Picture, channels: int, size: Size | None) -> Tensor:
    """Return a picture as uint8 `(C, H, W)`, its middle of that shape; as it is where `size` is None; see `fitted`."""
    return fitted(picture, channels, sides(size)).image


def original(picture: Picture) -> Tensor:
    """Return all that a picture's file holds of it, as it is shown: uint8 in colour, int32 `(1, H, W)` of more bits."""
    with _readable(picture):
        image = _opened(picture)
        if not image.mode.startswith("I"):
            return read_picture(image, 3, None)
        turned = TURNED.get(still_to_turn(image))
        values = np.asarray(image if turned is None else image.transpose(turned)).astype(np.int32)
    return torch.from_numpy(values)[None]


class Looked(NamedTuple):
    """What a picture's header says.

    Args:
        size: Height and width in pixels, as it is shown.
        orientation: What is done to the file's rows and columns to show it; see `orientation`.
        mode: Pillow's word for its channels and the type of its values.
    """

    size: tuple[int, int]
    orientation: int
    mode: str


def looked_at(picture: Picture) -> Looked:
    """Return what a picture's header says; a file is not decoded for it.

    Raises:
        Unusable: If it cannot be read as a picture.
    """
    with _readable(picture):
        image = _opened(picture)
        orientation = orientation_of(image)
        width, height = shown_size(image)
    return Looked((height, width), orientation, image.mode)


def size_of_picture(picture: Picture) -> tuple[int, int]:
    """Return the height and width of a picture in pixels, as it is shown; a file is not decoded for it."""
    return looked_at(picture).size


def bits_for(peak: int) -> int:
    """Return the smallest usual number of bits that holds a value."""
    return next(bits for bits in BITS if peak < 2**bits)


def _deep_colour(image: Image.Image) -> bool:
    """Tell whether a file in colour has more than eight bits per colour, which Pillow cuts off."""
    tiles = getattr(image, "tile", None) or []
    return not image.mode.startswith("I") and any(";16" in str(tile[3]) for tile in tiles)


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
    except Unusable:
        raise
    except UnidentifiedImageError as error:
        raise Unusable(f"{picture}: cannot be read as a picture") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise Unusable(f"{picture}: cannot be read as a picture ({' '.join(str(error).split())})") from error
