"""Messages that name the dataset they are about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def naming(role: str) -> Iterator[None]:
    """Put the role before the option that an error of one dataset begins with: `train_size=9: ...`, `labels.cat: ...`.

    Args:
        role: The role.
    """
    try:
        yield
    except ValueError as error:
        if re.match(r"\w+=|labels\.", str(error)) is None:
            raise
        raise ValueError(f"{role}.{error}") from error
