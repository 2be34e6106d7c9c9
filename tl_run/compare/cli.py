"""Compare all ways to profit from a source on one pair of datasets: what `compare.py` and `tl-compare` do."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tl_run.cli import MULTIRUN, run
from tl_run.compare import sweeper
from tl_run.compare.options import translated
from tl_run.train import train

SILENT = "hydra/hydra_logging="


def arguments(given: Sequence[str]) -> list[str]:
    """Return a command line of `train.py` that runs a comparison.

    Args:
        given: The command line after the program's name.

    Raises:
        ConfigError: If an option is unknown, or one that a comparison sets itself.
    """
    sweeper.ASKED[:] = given
    rest = translated([argument for argument in given if argument not in MULTIRUN])
    logging = [] if any(argument.startswith(SILENT) for argument in rest) else [f"{SILENT}disabled"]
    return ["-m", "hydra/sweeper=compare", *logging, "resume=auto", *rest]


def main() -> None:
    """Do what the command line asks for."""
    try:
        run(train, arguments)
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
