"""A fold of a k-fold cut, as it is written; no torch."""

from __future__ import annotations

import re

Fold = str  # `i/k`, which the check of a configuration holds it to
ALLOWED = "must be i/k with k of at least 2 and i from 1 to k, such as 1/5"


def fold_of(fold: Fold) -> tuple[int, int]:
    """Return the number of a fold, from 1, and how many there are.

    Args:
        fold: `i/k`.

    Raises:
        ValueError: If it is not that.
    """
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", str(fold))
    number, count = map(int, match.groups()) if match else (0, 0)
    if count < 2 or not 1 <= number <= count:
        raise ValueError(f"fold={fold}: {ALLOWED}")
    return number, count
