"""How pictures are turned to be shown (EXIF's tag 274), and what boxes and label maps beside them refer to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from datamodules.findings import Unusable

Box = tuple[float, float, float, float]
TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TRANSPOSED = (5, 6, 7, 8)  # whose height and width change places
ANEW = "write the picture anew without that tag"


def orientation_of(image: Image.Image) -> int:
    """Return how a picture is turned to be shown: 1 for not at all, else a key of `TURNED`. Nothing is decoded."""
    if getattr(image, "format", None) == "PNG" and not {"exif", "Raw profile type exif"} & set(image.info):
        return 1  # Pillow would decode the whole file to look behind the pixels
    found = image.getexif().get(ExifTags.Base.Orientation, 1)
    return found if found in TURNED else 1


def still_to_turn(image: Image.Image) -> int:
    """Return how a picture that is opened has yet to be turned: a TIFF is turned by Pillow as it is decoded."""
    return 1 if getattr(image, "format", None) == "TIFF" else orientation_of(image)


def shown_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of a picture as it is shown, in pixels."""
    return (image.size[1], image.size[0]) if still_to_turn(image) in TRANSPOSED else image.size


def refers_to_shown(
    named: str, size: tuple[int, int], orientation: int, annotated: tuple[int, int] | None, what: str
) -> bool:
    """Tell whether an annotation refers to a picture as it is shown; else it refers to its stored rows and columns.

    Tools differ in this; the size that an annotation gives tells it, except for squares and pictures that are mirrored
    or upside down.

    Args:
        named: The picture, for messages.
        size: Its height and width in pixels, as it is shown.
        orientation: How it is turned to be shown.
        annotated: The height and width that the annotation is of; None where it does not say.
        what: What refers to the picture, for messages.

    Raises:
        Unusable: If that cannot be told, or the annotation is of a picture of another size.
    """
    stored = size[::-1] if orientation in TRANSPOSED else size
    if annotated is not None and annotated not in (size, stored):
        said = f"{what} are of {_size(annotated)} pixels, the picture has {_size(size)}"
        raise Unusable(f"{named}: {said}", "ambiguous")
    if orientation == 1 or (annotated is not None and size != stored):
        return annotated in (None, size)
    said = f"is turned to be shown (EXIF orientation {orientation}), and nothing tells whether its {what} are too"
    raise Unusable(f"{named}: {said}; {ANEW}", "ambiguous")


def turned_boxes(boxes: Sequence[Box], orientation: int, size: tuple[int, int]) -> list[Box]:
    """Return boxes of a picture's stored rows and columns as boxes of it as it is shown.

    Args:
        boxes: xyxy in pixels.
        orientation: How it is turned to be shown.
        size: Its height and width in pixels, as it is shown.
    """
    height, width = size[::-1] if orientation in TRANSPOSED else size

    def point(x: float, y: float) -> tuple[float, float]:
        x = width - x if orientation in (2, 3, 7, 8) else x
        y = height - y if orientation in (3, 4, 6, 7) else y
        return (y, x) if orientation in TRANSPOSED else (x, y)

    made = []
    for left, top, right, bottom in boxes:
        (x1, y1), (x2, y2) = point(left, top), point(right, bottom)
        made.append((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)))
    return made


def turned_map(values: np.ndarray[Any, Any], orientation: int) -> np.ndarray[Any, Any]:
    """Return a map `(H, W)` of a picture's stored rows and columns as one of it as it is shown."""
    if orientation == 1:
        return values
    return np.asarray(Image.fromarray(values.astype(np.int32)).transpose(TURNED[orientation])).astype(values.dtype)


def _size(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
