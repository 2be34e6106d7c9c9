"""The options of a comparison, `compare.<name>=` on the command line; no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, ValidationError

from tl_run.derive import Group
from tl_run.messages import near, plain, says, value_of
from tl_run.options import Rule
from tl_run.schema import ConfigError

PREFIX, NODE = "compare.", "hydra.sweeper."
ADVISE = "advise"  # may stand alone
SEEDS, QUICK_SEEDS = 5, 3
RACE_AFTER = 3  # seeds
GRID = (0.0003, 0.001, 0.003, 0.01)
# Options of train.py that a comparison sets itself.
OURS = {
    "cell": "a comparison tries them all; compare.arms= chooses",
    "finetuning": "an arm's file says it; compare.arms= chooses",
    "objective": "an arm's file says it; compare.arms= chooses",
    "order": "a comparison tries both",
    "seed": "a comparison has several; compare.seeds= says how many",
    "resume": "a comparison goes on by itself where it was stopped",
    "optimized_metric": "an arm is chosen by the target's selection metric on validation; selection.metric= says which",
    "optimize_on_test": "nothing is chosen by the test set",
    "selection.without_labels": "compare.without_labels= says it, for the arms that read no label of the target",
    "check_data": "is for train.py",
}


class Options(Group):
    """What `conf/hydra/sweeper/compare.yaml` holds.

    Attributes:
        seeds: How many, from 0 on.
        rates: The grid of `cell.lr`; empty for the rate by rule.
        quick: Three seeds and no grid, where these are not said.
        arms: Names of arms.
        race: Whether arms that are surely behind stop.
        plateau: Whether the baseline is at last trained until nothing gets better, where another arm is best.
        advise: Whether the arms' order is foretold before anything is trained.
        without_labels: The rule for arms that read no label of the target; None for that of `train.py`.
    """

    seeds: int | None = Field(None, ge=2)
    rates: list[Annotated[float, Field(gt=0)]] | None = None
    quick: bool = False
    arms: list[str] | None = Field(None, min_length=1)
    race: bool = False
    plateau: bool = False
    advise: bool = False
    without_labels: Rule | None = None

    def all_seeds(self) -> list[int]:
        """Return the seeds."""
        return list(range(self.seeds or (QUICK_SEEDS if self.quick else SEEDS)))

    def grid(self) -> list[float]:
        """Return the rates to try, each once and in order; none where the rate is by rule."""
        given = self.rates if self.rates is not None else () if self.quick else GRID
        return sorted(set(given))


def options(given: Mapping[str, Any]) -> Options:
    """Return checked options.

    Args:
        given: Plain values by name.

    Raises:
        ConfigError: If one cannot be; a line each.
    """
    try:
        made = Options(**given)
        seeds = len(made.all_seeds())
        if made.race and seeds <= RACE_AFTER:
            raise ConfigError(f"compare.race=true: has no effect with {seeds} seeds, arms stop after {RACE_AFTER}")
        return made
    except ValidationError as error:
        problems = []
        for one in error.errors():
            path = ".".join(map(str, one["loc"]))
            said = says({**one}, Options)
            problems.append(f"{PREFIX}{path}={plain(value_of({**one}, given))}: {said}")
        raise ConfigError("\n".join(dict.fromkeys(problems))) from error


def translated(arguments: Sequence[str]) -> list[str]:
    """Return a command line whose `compare.` options stand where Hydra reads a sweeper's.

    Args:
        arguments: The command line after the program's name.

    Raises:
        ConfigError: If an option is unknown, or one that a comparison sets itself.
    """
    made = []
    for argument in arguments:
        name, _, _ = argument.lstrip("+~").partition("=")
        if name == ADVISE:
            name, argument = PREFIX + name, PREFIX + argument.lstrip("+~")
        key = name.removeprefix(PREFIX)
        if name in OURS:
            raise ConfigError(f"{argument}: {OURS[name]}")
        if name.startswith(PREFIX) and key not in Options.model_fields:
            allowed = list(Options.model_fields)
            raise ConfigError(f"{argument}: unknown option; {near(key, allowed)}allowed: {', '.join(allowed)}")
        value = argument.partition("=")[2]
        if name in (f"{PREFIX}arms", f"{PREFIX}rates") and "," in value and not value.startswith(("[", '"', "'")):
            raise ConfigError(f"{argument}: must be a list; {name}=[{value}]")
        made.append(f"{NODE}{argument.removeprefix(PREFIX)}" if name.startswith(PREFIX) else argument)
    return made
