"""The page of figures, made from the record."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.article.aims import AIMS, Runs, number
from benchmarks.article.arms import EXAMPLES
from benchmarks.article.runs import ROOT, Record, Run, describe

PAGE = ROOT / "docs" / "article.md"
COLUMNS = "| | metric | test, mean ± sd | by seed | labels | samples seen | FLOP | chosen by | lr | steps | CPU s |"
HEAD = """# The article's examples

Made by `python -m benchmarks.article --data-root <folder>` from `docs/article.json`; not written by hand. Public data,
MobileNetV2 with ImageNet weights where photographs are the source. What the columns say:

- *labels*: labelled samples of the target, training + validation; a published validation set counts when it is read.
- *samples seen*: the target's and, after a plus, the source's, over all stages; *FLOP*: of a run's training steps,
  counted on one step of each stage. What the pretrained weights cost is not in them.
- *lr*: the best on validation with the first seed, of 0.0003, 0.001 and 0.003, widened until the best is inside; the
  same grid for every arm. With few labels it is the recipe's, for which none was looked at.
- *chosen by*: the metric on validation whose best checkpoint was tested. Nothing is chosen by the test set.

Intervals are 95 % by Student's t over the seeds' paired differences; with three seeds they are wide. CPU seconds are of
a whole run and mean little but beside each other.
"""


def metric_rows(example: str, name: str, runs: Sequence[Run]) -> list[str]:
    """Return an arm's rows of the table, one per metric."""
    arm, shown = EXAMPLES[example].arms[name], EXAMPLES[example]
    first, rows = runs[0], []
    labels = first["target"]["labelled"]
    seen: dict[str, int] = {}
    for stage in first["stages"]:
        for role, count in stage["samples"].items():
            seen[role] = seen.get(role, 0) + count
    told = " + ".join(f"{seen[role]:,}" for role in ("target", "source") if seen.get(role))
    steps = sorted({run_steps(run) for run in runs})
    length = f"{steps[0]}" if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"
    cpu = [run["cpu"] for run in runs if run["cpu"] is not None]
    for metric in (arm.metric or shown.metric, *shown.also.get(name, ())):
        values = [number(run["test"][metric]) for run in runs]
        spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ", one seed"
        by_seed = ", ".join(f"{value:.3f}" for value in values)
        cells = [arm.says, metric, f"{statistics.fmean(values):.3f}{spread}", by_seed]
        cells += [f"{labels['train']} + {labels['val']}", told, scaled(first["flops"]), describe(first)]
        cells += [f"{first['lr']:g}", length, f"{statistics.fmean(cpu):.0f}" if cpu else ""]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def scaled(count: float) -> str:
    """Return a number with its unit's prefix: tera, or peta from a thousand of these on."""
    tera = count / 1e12
    return f"{tera / 1000:.1f} P" if tera >= 1000 else f"{tera:.1f} T"


def run_steps(run: Run) -> int:
    """Return the steps that a run took."""
    return sum(int(stage["steps"]) for stage in run["stages"])


def section(example: str, record: Record) -> list[str]:
    """Return an example's section; arms that are not finished are named."""
    shown = EXAMPLES[example]
    finished = {name: record.of(example, name) for name in shown.arms}
    runs: Runs = {name: several for name, several in finished.items() if several is not None}
    lines = [f"## {example}", "", f"{shown.title}. `experiment=article/{example}`", "", *shown.notes, ""]
    if runs:
        lines += [COLUMNS, "|" + "---|" * 11]
        lines += [row for name in runs for row in metric_rows(example, name, runs[name])]
        lines += ["", *mixed({shown.arms[name].says: several for name, several in runs.items()})]
    for text, check in AIMS.get(example, []):
        try:
            good, figures = check(runs)
        except KeyError:
            lines.append(f"- Aim: {text}. Not yet run.")
        else:
            lines.append(f"- Aim: {text}. **{'Met' if good else 'Missed'}**: {figures}.")
    waiting = [shown.arms[name].says for name, several in finished.items() if several is None]
    lines += [f"- Not yet run: {'; '.join(waiting)}."] if waiting else []
    return [line for line, before in zip(lines, ["x", *lines], strict=False) if line or before] + [""]


def mixed(runs: Mapping[str, Sequence[Run]]) -> list[str]:
    """Return a line that says which arms were run where, if not all on one machine in one arithmetic.

    Args:
        runs: An example's runs by what its arms are.
    """
    on: dict[str, str] = {}
    for name, several in runs.items():
        kinds = {", ".join(str(run["machine"][key]) for key in ("processor", "precision")) for run in several}
        on[name] = " and ".join(sorted(kinds))
    if len(set(on.values())) < 2 and not any(" and " in kind for kind in on.values()):
        return []
    return [
        "Differences between these are the machine's too: " + "; ".join(f"{n}: {k}" for n, k in on.items()) + ".",
        "",
    ]


def machines(record: Record) -> str:
    """Return on which machines and arithmetic the runs were made."""
    kinds = sorted(
        {", ".join(f"{key} {value}" for key, value in run["machine"].items()) for run in record.runs.values()}
    )
    return "\nMade on: " + "; ".join(kinds) + ".\n" if kinds else ""


def write(record: Record) -> None:
    """Write the page."""
    body = [line for example in EXAMPLES for line in section(example, record)]
    PAGE.write_text("\n".join([HEAD + machines(record), *body]).rstrip() + "\n")
