"""Messages that name the dataset they are about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from tl_modules.task import Task

IGNORE = 255


@contextmanager
def naming(role: str) -> Iterator[None]:
    """Put the role before the option that an error of one dataset begins with: `train_size=9: ...`.

    Args:
        role: The role.
    """
    try:
        yield
    except ValueError as error:
        if re.match(r"\w+=", str(error)) is None:
            raise
        raise ValueError(f"{role}.{error}") from error


def check_mask(masks: Tensor, ids: Sequence[str], task: Task) -> None:
    """Refuse label maps with values that are neither labels nor 255.

    Args:
        masks: `(B, H, W)`.
        ids: An id a map.
        task: Names the labels and the field.

    Raises:
        ValueError: If there is such a value, with the sample it is in.
    """
    count = len(task.labels)
    low, high = (int(value) for value in masks.aminmax())
    if low >= 0 and high < count:
        return
    wrong = (masks < 0) | ((masks >= count) & (masks != IGNORE))
    if bool(wrong.any()):
        row = int(wrong.flatten(1).any(1).nonzero()[0])
        value = int(masks[row][wrong[row]][0])
        allowed = f"0 to {count - 1}, a label's index, or {IGNORE} for what is ignored"
        raise ValueError(f"{task.key}={value} in sample {ids[row]}: must be {allowed}")
