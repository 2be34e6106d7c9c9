"""The tables at the end of a run, of a sweep and of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tl_modules.task import UNION
from tl_run.report import words
from tl_run.report.answer import Answer
from tl_run.report.unlabelled import lines_on

SHORT = ("arm", "verdict", "difference", "95 % interval", "test", "validation", "seeds")
FEW = 3  # settings that are shown each by itself
LEAST = 100  # characters per line that the table of arms needs


def cost_table(stages: Sequence[Mapping[str, Any]]) -> Table:
    """Return what each stage saw and cost.

    Args:
        stages: The stages' records.
    """
    roles = list(dict.fromkeys(role for stage in stages for role in stage["samples"]))
    table = Table(title="samples seen and training FLOPs", title_justify="left")
    table.add_column("stage")
    for column in ("steps", *(f"{role} samples" for role in roles), "FLOPs", "seconds"):
        table.add_column(column, justify="right")
    for stage in stages:
        seen = (str(stage["samples"].get(role, 0)) for role in roles)
        table.add_row(stage["name"], str(stage["steps"]), *seen, f"{stage['flops']:.2e}", f"{stage['seconds']:.0f}")
    return table


def show_results(results: Mapping[str, Any], folder: Path) -> None:
    """Print a run's test results.

    Args:
        results: The content of `results.json`.
        folder: The run's folder.
    """
    what = f"{results['cell']}, seed {results['seed']}"
    rule = results["selection"]
    chosen = "last checkpoint" if rule == "last" else f"checkpoint with the best {rule}"
    table = Table(title=f"{what}: test of the {chosen}", title_justify="left")
    for column in ("role", "dataset", "metric"):
        table.add_column(column)
    table.add_column("test", justify="right")
    for key, value in results["test"].items():
        role, metric = key.split("/", 1)
        dataset = "both, all names" if role == UNION else results[role]["dataset"]
        table.add_row(role, dataset, metric, "-" if value is None else f"{value:.4f}")
    console = Console(soft_wrap=True)
    console.print(table)
    if results["status"] == "diverged":
        console.print("diverged: - stands for what is not a finite number, null in results.json", highlight=False)
    for role in ("source", "target"):
        labelled = (results[role] or {}).get("labelled")
        if labelled:
            known = f"{sum(labelled.values())} labelled samples are known"
            console.print(
                f"{role}: {known}, {labelled['train']} to train on and {labelled['val']} to choose by", highlight=False
            )
    console.print(cost_table(results["stages"]))
    console.print(f"{results['steps']} steps, {results['seconds']:.0f} s. Everything is in {folder}", highlight=False)


def show_answer(answer: Answer, console: Console) -> None:
    """Print what a setting's runs say: a table of its arms, the answer, and what is missing for a verdict.

    Args:
        answer: What they say.
        console: Where it is printed.
    """
    setting = answer.setting
    better = "lower" if setting.direction == "min" else "higher"
    heading = setting.title or f"{setting.metric}, {better} is better"
    table = Table(title=heading, title_justify="left", box=SIMPLE)
    for index, name in enumerate(SHORT):
        table.add_column(
            name, justify="right" if index > 1 else "left", no_wrap=index > 0, min_width=18 if index == 0 else None
        )
    for row in answer.rows:
        line = dict(zip(words.HEADER, words.cells(row), strict=True))
        shown = [escape(line[name]) for name in SHORT]
        table.add_row(*shown, style="bold" if row.arm.name == answer.best else None)
    console.print(table)
    for warning in answer.warnings:
        console.print(warning, style="bold red", highlight=False, markup=False)
    for said in (words.headline(answer), words.lasting(answer), *lines_on(setting)):
        if said:
            console.print(said, highlight=False, markup=False)
    for gap in words.missing(answer):
        console.print(f"missing: {gap.what}", highlight=False, markup=False)
        for command in (gap.command or "").splitlines():
            console.print(f"  {command}", highlight=False, markup=False)
    then = words.afterwards(answer)
    if then:
        console.print(then, highlight=False, markup=False)


def show_answers(answers: Sequence[Answer], console: Console) -> None:
    """Print what the runs of several settings say: each by itself, or, where they are many, a line per arm.

    Args:
        answers: What they say.
        console: Where it is printed.
    """
    if len(answers) <= FEW and any(len(one.rows) > 1 for one in answers):
        for one in answers:
            show_answer(one, console)
        return
    table = Table(box=SIMPLE)
    for index, name in enumerate(("setting", *SHORT)):
        table.add_column(name, justify="right" if index > 2 else "left", no_wrap=index > 1)
    for one in answers:
        for row in one.rows:
            line = dict(zip(words.HEADER, words.cells(row), strict=True))
            shown = [escape(cell) for cell in (one.setting.title, *(line[name] for name in SHORT))]
            table.add_row(*shown, style="bold" if row.arm.name == one.best and len(one.rows) > 1 else None)
    console.print(table)
    for one in answers:
        for warning in one.warnings:
            console.print(f"{one.setting.title}: {warning}", style="bold red", highlight=False, markup=False)
        if one.baseline is not None and len(one.rows) > 1:
            console.print(f"{one.setting.title}: {words.headline(one)}", highlight=False, markup=False)
