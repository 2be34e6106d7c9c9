"""What a constructor's option may be, beside its type: `lr: Annotated[float, Above(0)] = 0.003`; no torch.

The check of a configuration reads these from the sources, so that an option is said once, where it is used.
"""

from __future__ import annotations

from typing import NamedTuple


class Above(NamedTuple):
    """Greater than a bound."""

    bound: float


class AtLeast(NamedTuple):
    """A bound or greater."""

    bound: float


class Below(NamedTuple):
    """Less than a bound."""

    bound: float


class AtMost(NamedTuple):
    """A bound or less."""

    bound: float


class MultipleOf(NamedTuple):
    """A whole number of times a number."""

    of: int


class NotEmpty(NamedTuple):
    """A text, list or mapping with something in it."""


class Matches(NamedTuple):
    """A text that a regular expression fits."""

    pattern: str


class Distinct(NamedTuple):
    """A list of different things, at least so many."""

    least: int
