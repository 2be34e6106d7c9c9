"""The size that pictures are brought to; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SMALLEST = 8
ALLOWED = f"must be a whole number of at least {SMALLEST} pixels, or two: [height, width]"
Size = int | Sequence[int]


def sides(image_size: Size | None) -> tuple[int, int] | None:
    """Return height and width in pixels; None where pictures are left as they are.

    Args:
        image_size: A square's side, or height and width.

    Raises:
        ValueError: If it is neither.
    """
    if image_size is None:
        return None
    pair: list[Any] = list(image_size) if isinstance(image_size, list | tuple) else [image_size, image_size]
    whole = all(isinstance(side, int) and not isinstance(side, bool) and side >= SMALLEST for side in pair)
    if len(pair) != 2 or not whole:
        given = str(list(image_size)).replace(" ", "") if isinstance(image_size, list | tuple) else image_size
        raise ValueError(f"image_size={given}: {ALLOWED}")
    return pair[0], pair[1]
