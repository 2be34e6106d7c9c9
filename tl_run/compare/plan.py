"""The plan of a comparison: which arms can run, what they cost, what they share; it is printed first; no torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from tl_modules.cube import BY_NAME
from tl_run.compare.arms import BASELINE, Arm, unmet
from tl_run.compare.options import QUICK_SEEDS
from tl_run.rules.cells import judged
from tl_run.rules.facts import adapts
from tl_run.schema import ConfigError

if TYPE_CHECKING:
    from tl_run.compare.probing import Probe

LONG = 3600.0  # seconds from which on it is said what would be shorter
OTHERWISE = "compare.arms=, compare.race=true and steps=; hydra/launcher=joblib_cores runs two at once"
OVERHEAD = 3.0  # seconds of a run beside its steps: its data, its pictures, its files


@dataclass
class Plan:
    """What a comparison will do.

    Attributes:
        arms: The arms that can run, each with its configuration and what its probe found.
        left_out: The others, each with why.
    """

    arms: list[tuple[Arm, Mapping[str, Any], Probe]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def steps(self) -> dict[str, int]:
        """Return the steps of a run by arm."""
        return {arm.name: sum(stage.steps for stage in found.stages) for arm, _, found in self.arms}

    def seconds(self) -> dict[str, float]:
        """Return what a run takes by arm; of a stage that several arms need alike, the first of them pays."""
        paid: set[str] = set()
        each = {}
        for arm, _, found in self.arms:
            due = [stage for stage in found.stages if stage.shared is None or stage.shared not in paid]
            paid |= {stage.shared for stage in due if stage.shared is not None}
            each[arm.name] = OVERHEAD + found.test_seconds + sum(stage.seconds for stage in due)
        return each

    def shared(self) -> list[list[str]]:
        """Return the arms that share a source stage, a list each."""
        by_key: dict[str, list[str]] = {}
        for arm, _, found in self.arms:
            for stage in found.stages:
                if stage.shared is not None:
                    by_key.setdefault(stage.shared, []).append(arm.name)
        return [names for names in by_key.values() if len(names) > 1]


Fitting = list[tuple[Arm, Mapping[str, Any]]]


def fitting(
    arms: Sequence[Arm],
    compose: Callable[[Arm], Mapping[str, Any]],
    check: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> tuple[Fitting, dict[str, str]]:
    """Return the arms that fit the options, each with its configuration, and the others with why they do not.

    Args:
        arms: The arms to look at.
        compose: What makes an arm's configuration as plain values.
        check: What checks one, and raises `ConfigError`.
    """
    fit, left_out = [], {}
    for arm in arms:
        try:
            values = compose(arm)
            lacks = unmet(arm.needs, values)
            if lacks is None:
                fit.append((arm, check(values)))
        except ConfigError as error:
            lacks = str(error).splitlines()[0]
        if lacks is not None:
            left_out[arm.name] = lacks
    return fit, left_out


def planned(arms: Fitting, left_out: Mapping[str, str], probe: Callable[[Mapping[str, Any]], Probe]) -> Plan:
    """Return which arms can run on the data.

    Of two that are wired and trained alike, which differ in what the declared domains are called, the one whose name
    they suggest stays.

    Args:
        arms: The arms that fit the options.
        left_out: Those that do not, with why.
        probe: What times one, and raises where it cannot run on the data.
    """
    plan = Plan(left_out=dict(left_out))
    alike: dict[str, str] = {}
    named = sorted(arms, key=lambda one: (one[0].name != BASELINE, bool(judged(one[1]))))  # the suggested first
    found: dict[str, Probe] = {}
    for arm, cfg in named:
        try:
            seen = probe(cfg)
        except Exception as error:  # whatever a class of one's own raises; the others go on
            said = " ".join(str(error).split())
            expected = isinstance(error, (ValueError, OSError))
            plan.left_out[arm.name] = said if expected else f"{type(error).__name__}: {said}"
            continue
        if seen.wiring in alike:
            plan.left_out[arm.name] = f"does here what {alike[seen.wiring]} does"
            continue
        alike[seen.wiring] = arm.name
        found[arm.name] = seen
    plan.arms = [(arm, cfg, found[arm.name]) for arm, cfg in arms if arm.name in found]
    return plan


def check_two(names: Collection[str], left_out: Mapping[str, str]) -> None:
    """Refuse a comparison without its baseline, or of nothing with it.

    Args:
        names: The arms that can run.
        left_out: The others, each with why.

    Raises:
        ConfigError: If it can answer nothing.
    """
    if BASELINE not in names:
        why = left_out[BASELINE]
        alone = list(left_out.values()).count(why) == 1
        raise ConfigError(f"{BASELINE}: {why}" if alone else why)
    if len(names) == 1:
        raise ConfigError("\n".join(f"{name}: {why}" for name, why in left_out.items()))


def show(plan: Plan, runs: Mapping[str, int], done: int, metric: str, direction: str) -> float:
    """Print a plan, and return the seconds that are expected.

    Args:
        plan: The plan.
        runs: Runs by arm.
        done: How many of all these are there already.
        metric: What is chosen by.
        direction: `max` or `min`.
    """
    console = Console(soft_wrap=True)
    steps, seconds = plan.steps(), plan.seconds()
    table = Table(title="the arms of this comparison", title_justify="left")
    for column in ("arm", "what it does"):
        table.add_column(column)
    for column in ("runs", "steps each", "seconds each"):
        table.add_column(column, justify="right")
    for arm, _, _ in plan.arms:
        table.add_row(arm.name, arm.says, str(runs[arm.name]), str(steps[arm.name]), f"{seconds[arm.name]:.0f}")
    console.print(table)
    for name, why in plan.left_out.items():
        _say(console, f"not {name}: {why}")
    for names in plan.shared():
        _say(console, f"one source stage per rate and seed serves {', '.join(names)}")
    for line in dict.fromkeys([*pairs(plan), *(line for _, _, seen in plan.arms for line in seen.found)]):
        _say(console, line)
    best = "highest" if direction == "max" else "lowest"
    _say(console, f"rates and arms are chosen by the {best} {metric}; nothing is chosen by the test set")
    blind = {arm.name: cfg["selection"]["without_labels"] for arm, cfg, _ in plan.arms if adapts(cfg)}
    if blind:
        rule = next(iter(blind.values()))
        _say(console, f"no label of the target is read by {', '.join(blind)}: they are chosen by the rule {rule}")
    all_runs = sum(runs.values())
    left = max(0, all_runs - done)
    total = sum(runs[name] * seconds[name] for name in runs) * left / max(1, all_runs)
    all_steps = sum(runs[name] * steps[name] for name in runs)
    there = f", {done} of them there already" if done else ""
    memory = max((found.memory for _, _, found in plan.arms), default=0.0)
    _say(console, f"{all_runs} runs{there}, {all_steps} steps: about {duration(total)} one after the other, ", end="")
    _say(console, f"in {memory:.0f} MiB of memory")
    if total > LONG:
        short = QUICK_SEEDS * sum(seconds.values())
        quick = f"compare.quick=true (about {duration(short)}), " if all_runs > QUICK_SEEDS * len(runs) else ""
        _say(console, f"shorter: {quick}{OTHERWISE}")
    return total


def pairs(plan: Plan) -> list[str]:
    """Return a line per source that arms learn from, and what they learn it for."""
    by_source: dict[str, list[str]] = {}
    target = ""
    for arm, cfg, _ in plan.arms:
        target = said_of(cfg["target"])
        if cfg["cell"]["name"] in BY_NAME:
            by_source.setdefault(said_of(cfg["source"]), []).append(arm.name)
    if len(by_source) == 1:
        return [f"from {next(iter(by_source))} to {target}"]
    return [f"from {source} to {target}: {', '.join(names)}" for source, names in by_source.items()]


def said_of(node: Mapping[str, Any]) -> str:
    """Return a dataset in words: its name and where it lies."""
    root = node.get("root") or node.get("weights")
    return f"{node['name']}" + (f" ({root})" if root else "")


def duration(seconds: float) -> str:
    """Return seconds in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _say(console: Console, line: str, end: str = "\n") -> None:
    console.print(line, end=end, highlight=False, markup=False)
