"""Compare all ways to profit from a source on one pair of datasets: what `compare.py` and `tl-compare` do."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tl_run.cli import HELP, MULTIRUN, run, target_alone
from tl_run.compare import sweeper
from tl_run.compare.arms import BASELINE, read_arms
from tl_run.compare.options import OURS, translated
from tl_run.paths import config_dir, folders
from tl_run.schema import ConfigError
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
    own, rest = config_dir([argument for argument in given if argument not in MULTIRUN])
    rest = translated(rest)
    check_source(rest)
    logging = [] if any(argument.startswith(SILENT) for argument in rest) else [f"{SILENT}disabled"]
    place = [] if own is None else ["--config-dir", str(own)]  # flags first: Hydra takes options in one stretch
    return [*place, "-m", "hydra/sweeper=compare", *logging, "resume=auto", *rest]


def check_source(given: Sequence[str]) -> None:
    """Refuse a target of one's own without a source: data that come with the project would stand in silently.

    Args:
        given: The options.

    Raises:
        ConfigError: If the source is missing.
    """
    target = target_alone(given)
    if target is not None:
        raise ConfigError(
            f"dataset@source=: is missing beside dataset@target={target}; name a dataset, or pretrained for weights"
        )


def usage() -> str:
    """Return what `--help` shows."""
    program = Path(sys.argv[0]).name
    program = f"python {program}" if program.endswith(".py") else program
    said = {True: " (to be named)", False: ""}
    arms = "\n".join(f"  {name:21} {arm.says}{said[arm.asked]}" for name, arm in read_arms(folders()).items())
    return f"""\
{program} dataset@source=<dataset> dataset@target=<dataset> [option=value ...]

Tries every way to profit from the source, and says which helps, by how much, and whether it is luck.

  compare.seeds=5          from 0 on
  compare.rates=[...]      values of cell.lr to choose from on validation; [] = the one by rule
  compare.quick=true       three seeds, no rates
  compare.arms=[...]       only these, and {BASELINE}; some run only so
  compare.race=true        an arm that is surely behind on validation after three seeds stops
  compare.plateau=true     tells better from only faster: the baseline until nothing gets better
  advise=true              foretells the arms' order from frozen features, with its hit rate so far
  hydra/launcher=joblib    runs side by side; also submitit and ray

Beside these all options of train.py but {", ".join(OURS)}. The same command again goes on where it was stopped.

{arms}"""


def main() -> None:
    """Do what the command line asks for."""
    if any(flag in sys.argv[1:] for flag in HELP):
        print(usage())
        return
    try:
        run(train, arguments)
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
