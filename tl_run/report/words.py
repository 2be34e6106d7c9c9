"""What the report says in words, in the terminal and on its pages alike."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

from tl_run.baselines import until_plateau
from tl_run.report.advice import beside_outcome, conclusion
from tl_run.report.answer import BASELINE, BETTER, CONTROL, FASTER, Answer, Row
from tl_run.report.arms import Arm
from tl_run.report.statistics import CANNOT_TELL, Paired

MOST_MORE = 100  # seeds that a command is given for
ARMS = "compare.arms="  # of a comparison's command: which, beside the baseline
RACE, RULE, PLATEAU = "compare.race=", "compare.without_labels=", "compare.plateau="
SEEDS = "compare.seeds="  # of a comparison's command: how many
LEAST_P = 0.001  # p-values below are not told exactly
OF_A_SOURCE = (  # what a run of the target alone does not take
    *("cell=", "dataset@source", "source.", "finetuning", "objective", "source_checkpoint", "selection.without_labels"),
    *("datamodule.mode=", "datamodule.source_share=", "datamodule.temperature="),
    *("cell.replay=", "cell.source_share=", "cell.gradient_cosine=", "cell.normalisation="),
)


def headline(answer: Answer) -> str:
    """Return the answer in a sentence or two."""
    metric, base = answer.setting.metric, answer.baseline
    if answer.best is None:
        return f"Nothing can be said: {metric} is undefined on validation in all runs."
    best = answer.row(answer.best)
    if base is None:
        return f"{best.arm.name} is best on validation; without a baseline it has no gain."
    if best is base:
        rest = [row for row in answer.rows if row is not base and row.role != CONTROL]
        return (
            f"Stay with {base.arm.name}: no other arm is better on validation."
            if rest
            else f"There is nothing to compare {base.arm.name} with."
        )
    assert best.on_test is not None
    gain = f"{best.on_test.mean:+.4f} test {metric} over {base.arm.name} ({interval(best.on_test)})"
    if best.verdict == CANNOT_TELL:
        return f"{best.arm.name} is best on validation, but whether it helps cannot be told: {gain}."
    if best.on_test.mean < 0:
        return f"{best.arm.name} is best on validation but not on the test set: {gain}. It {best.verdict}."
    return f"Use {best.arm.name}: it {best.verdict}, by {gain}."


def foretold(answer: Answer) -> tuple[list[str], list[str], list[list[str]]] | None:
    """Return what was said before a comparison, how right it was, and both beside each other by arm.

    Args:
        answer: What the runs say; None is returned where nothing was said.
    """
    said, setting = answer.setting.advice, answer.setting
    if said is None:
        return None
    outcome = {row.arm.name: row.test for row in answer.rows}
    right = conclusion(said, outcome, setting.direction)
    return list(said["lines"]), right, beside_outcome(said, outcome, setting.direction)


def interval(found: Paired) -> str:
    """Return an interval with the number of its seeds."""
    seeds = f"{found.count} seed{'' if found.count == 1 else 's'}"
    if found.count < 2:
        return f"{seeds}, no interval"
    return f"95 % interval {found.low:+.4f} to {found.high:+.4f}, {seeds}"


def lasting(answer: Answer) -> str | None:
    """Return whether the best arm is better or only faster; None where the baseline is best, or there is none."""
    base, plateau = answer.baseline, answer.setting.plateau
    if base is None or answer.best in (None, base.arm.name):
        return None
    if plateau is None or answer.on_plateau is None or answer.on_plateau.count == 0:
        return (
            f"Better or only faster? Not known: there is no run of {base.arm.name} that was trained "
            "until nothing got better."
        )
    steps = sum(sum(stage["steps"] for stage in run.results["stages"]) for run in plateau.runs.values())
    rising = sum(not run.plateau for run in plateau.runs.values())
    still = f"; {rising} of {len(plateau.runs)} runs were still getting better" if rising else ""
    which = f"{base.arm.name} trained until nothing gets better ({steps / len(plateau.runs):.0f} steps{still})"
    said = f"{answer.on_plateau.mean:+.4f} ({interval(answer.on_plateau)})"
    if answer.lasting == BETTER:
        return f"Better, not only faster: also than {which}, by {said}."
    if answer.lasting == FASTER:
        return f"Only faster: {which} gets further; the difference to it is {said}."
    return f"Better or only faster? Not clear: the difference to {which} is {said}."


class Missing:
    """What is missing for a verdict.

    Args:
        what: It in words.
        command: What fills it; None where that is not known.
    """

    def __init__(self, what: str, command: str | None) -> None:
        self.what, self.command = what, command


def missing(answer: Answer) -> list[Missing]:
    """Return what is missing for a verdict, and the commands that fill it."""
    lines: list[Missing] = []
    base, again = answer.baseline, answer.setting.again
    if base is None:
        arm = answer.rows[0].arm
        given = [one for one in arm.overrides if not one.lstrip("+").startswith(OF_A_SOURCE)]
        lines.append(Missing("a baseline", command(["cell=scratch", *given], seeds(arm))))
        return lines
    for row in answer.rows:
        if row.role == CONTROL or row is base or row.on_test is None:
            continue
        lacking = [seed for seed in row.arm.runs if seed not in base.arm.runs]
        if lacking:
            lines.append(Missing(f"{base.arm.name} with seed {_list(lacking)}", _more(base.arm, lacking, again)))
        lacking = [seed for seed in base.arm.runs if seed not in row.arm.runs]
        if lacking and row.arm.stopped is None:
            lines.append(Missing(f"{row.arm.name} with seed {_list(lacking)}", _more(row.arm, lacking, again)))
        if row.verdict == CANNOT_TELL:
            lines.append(_for_verdict(row, base, again))
    several = len(answer.rows) > 1
    if several and not any(row.role == CONTROL for row in answer.rows) and base.arm.cell == "scratch":
        given = [one for one in base.arm.overrides if not one.startswith("cell=")]
        fill = None if again is not None else command(["cell=parallel_training", *given], seeds(base.arm))
        lines.append(Missing("a null control: parallel_training with mode cycle has to equal scratch exactly", fill))
    if answer.setting.plateau is None and answer.best not in (None, base.arm.name):
        steps = int(max(1, base.cost.steps if base.cost else 1))
        options = [one for one in base.arm.one.overrides() if not one.startswith(("steps=", "epochs="))]
        fill = command([*options, *until_plateau(steps, base.arm.one.validations)], seeds(base.arm))
        if again is not None:
            fill = shlex.join([*(one for one in shlex.split(again) if not one.startswith(PLATEAU)), f"{PLATEAU}true"])
        lines.append(Missing(f"{base.arm.name} until nothing gets better, to tell better from only faster", fill))
    return list({one.what: one for one in lines}.values())


def afterwards(answer: Answer) -> str | None:
    """Return where the runs of those commands are reported; None where that is here."""
    commands = [gap.command for gap in missing(answer) if gap.command]
    if answer.setting.again is not None:
        alone = any(ARMS in command for command in commands)
        return (
            "A command with compare.arms= makes a report of its own, of that arm and the baseline." if alone else None
        )
    return "Such runs lie in folders of their own: give report.py these folders too." if commands else None


def _for_verdict(row: Row, base: Row, again: str | None) -> Missing:
    assert row.on_test is not None
    have = sorted(row.arm.runs.keys() & base.arm.runs.keys())
    if row.on_test.count < 2:
        return Missing(
            f"{row.arm.name}: two seeds at least", _more(row.arm, [_next(have), _next(have) + 1], again, base.arm)
        )
    if row.on_test.mean == 0 and row.on_test.spread == 0:
        return Missing(f"{row.arm.name}: a difference; it scores as {base.arm.name} does with every seed", None)
    if row.needed is None:
        return Missing(f"{row.arm.name}: more seeds than can be run; the difference is too small for its spread", None)
    more = row.needed - row.on_test.count
    new = list(range(_next(have), _next(have) + more))
    what = f"{row.arm.name}: about {more} more seed{'s' if more > 1 else ''} of it and of {base.arm.name}"
    what = f"{what}, {duration(row.more_seconds)}"
    if more > MOST_MORE:
        return Missing(f"{what}; a difference that takes so many is hardly worth it", None)
    return Missing(what, _more(row.arm, new, again, base.arm))


def _more(arm: Arm, new: Sequence[int], again: str | None, also: Arm | None = None) -> str:
    """Return the command that adds seeds to an arm; with another to both, and to no other arm of a comparison."""
    if again is not None:
        changed = [SEEDS] if also is None else [SEEDS, ARMS, RACE, PLATEAU]
        changed += [RULE] if also is not None and arm.one.without_labels is None else []  # it would do nothing
        kept = [one for one in shlex.split(again) if not one.startswith(tuple(changed))]
        only = [] if also is None else [f"{ARMS}[{arm.name}]"]
        return shlex.join([*kept, *only, f"{SEEDS}{max(new) + 1}"])
    lines = [command(one.overrides or [f"cell={one.cell}"], new) for one in (arm, *([also] if also else []))]
    return "\n".join(lines)


def command(options: Sequence[str], new: Sequence[int]) -> str:
    """Return a command line that trains with some options and seeds.

    Args:
        options: Options of `train.py`.
        new: The seeds.
    """
    folds = any(one.lstrip("+").startswith("target.fold=") and "," in one for one in options)
    sweep = " -m" if len(new) > 1 or folds else ""
    span = list(new) == list(range(new[0], new[0] + len(new))) and len(new) > 8
    said = f"range({new[0]},{new[-1] + 1})" if span else ",".join(map(str, new))
    return f"python train.py{sweep} {shlex.join([*options, f'seed={said}'])}"


def seeds(arm: Arm) -> list[int]:
    """Return an arm's seeds."""
    return sorted(arm.runs)


def _next(have: Sequence[int]) -> int:
    return max(have, default=-1) + 1


def _list(values: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(values)))


def duration(seconds: float) -> str:
    """Return a time that one can read."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def number(value: float, digits: int = 4) -> str:
    """Return a number, a dash where it is none."""
    return NONE if math.isnan(value) else f"{value:.{digits}f}"


HEADER = (
    "arm", "verdict", "difference", "95 % interval", "p (Holm)", "test", "validation", "seeds", "lr",
    "labelled", "target seen", "source seen", "FLOPs", "seconds", "parameters", "source before → after",
)  # fmt: skip
NONE = "-"
NARROW = 9  # columns of the first table; the others are costs

COSTS = (HEADER[0], *HEADER[NARROW:])


def _probability(value: float) -> str:
    return f"{value:.3f}" if value >= LEAST_P else f"< {LEAST_P}"


def cells(row: Row) -> list[str]:
    """Return an arm's line of the table, as `HEADER` names it."""
    arm, found = row.arm, row.on_test
    several = found is not None and found.count > 1
    difference, span, p = "", "", ""
    if found is not None:
        difference = NONE if math.isnan(found.mean) else f"{found.mean:+.4f}"
        span = f"{found.low:+.4f} to {found.high:+.4f}" if several else NONE
        p = _probability(row.corrected) if several else NONE
    said = row.verdict or row.role
    if row.role == CONTROL:
        span, p, said = "", "", f"{CONTROL}: {'0' if row.gap == 0 else 'NOT ZERO'}"
    if row.role == BASELINE:
        said = BASELINE
    if arm.stopped:
        said += " (stopped early)"
    cost = row.cost
    assert cost is not None
    lost = row.forgotten
    return [
        arm.name, said, difference, span, p, number(row.test), number(row.val), str(len(arm.runs)),
        f"{float(arm.one.results['lr']):g}", f"{cost.labelled:.0f}", f"{cost.target:.0f}", f"{cost.source:.0f}",
        f"{cost.flops:.2e}", f"{cost.seconds:.0f}", f"{cost.parameters:,.0f}",
        "" if lost is None else f"{number(lost.before, 3)} → {number(lost.after, 3)}",
    ]  # fmt: skip
