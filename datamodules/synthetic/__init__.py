"""Datasets that are made: scenes and pages, from embedded data. No torch."""

from __future__ import annotations

MOST_MADE = 100_000  # samples per split: they are made in memory


def check_made(train_size: int, val_size: int | None) -> None:
    """Refuse more samples than are made in memory.

    Args:
        train_size: Training samples.
        val_size: Validation samples; None for the dataset's own rule.

    Raises:
        ValueError: If either is more than `MOST_MADE`.
    """
    for name, size in (("train_size", train_size), ("val_size", val_size or 0)):
        if size > MOST_MADE:
            raise ValueError(f"{name}={size}: must be at most {MOST_MADE}, as these samples are made in memory")
