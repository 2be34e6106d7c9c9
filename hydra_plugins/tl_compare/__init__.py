"""Where Hydra looks for sweepers: the one of `compare.py`, imported only where it is used."""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper


class Comparison(Sweeper):
    """See `tl_run.compare.sweeper`.

    Args:
        given: What `conf/hydra/sweeper/compare.yaml` holds.
    """

    def __init__(self, **given: Any) -> None:
        from tl_run.compare.sweeper import Comparison as Made

        self.made = Made(given)

    def setup(self, **given: Any) -> None:
        """Take what Hydra gives a sweeper."""
        self.made.setup(**given)

    def sweep(self, arguments: list[str]) -> None:
        """Do the comparison."""
        self.made.sweep(arguments)
