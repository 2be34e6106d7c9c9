"""The report of runs, sweeps and comparisons: a page, Markdown, a table of runs, and a table in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tl_run.folder import write_whole
from tl_run.report.answer import Answer, answer
from tl_run.report.arms import Setting, compared, settings_of
from tl_run.report.page import MOST_SETTINGS, html, markdown, section, table_of_runs
from tl_run.report.reading import COMPARISON, LeftOut, read, read_comparison
from tl_run.report.table import LEAST, show_answers

PAGE = "report.html"


def report(
    folders: Path | Sequence[Path],
    out: Path | None = None,
    baseline: str | None = None,
    draw: bool = True,
    title: str | None = None,
) -> list[Answer]:
    """Write `report.html`, `report.md` and `runs.csv`, and print what they say.

    Args:
        folders: A comparison's folder, or folders of runs and sweeps.
        out: Where the files are written; by default into the first folder.
        baseline: The arm that others are compared with; by default the comparison's own, or `scratch`.
        draw: Whether test samples are drawn, for which the data are read again.
        title: The page's title; by default source and target where all runs have the same, else the folders' names.

    Returns:
        What the runs of each setting say, the setting with the most runs first.

    Raises:
        ValueError: If there is no run to report, or no arm is called `baseline`.
    """
    places = [folders] if isinstance(folders, Path) else list(folders)
    settings, left_out = gathered(places, baseline)
    answers = [answer(one) for one in settings]
    sections = [section(one, draw and index < MOST_SETTINGS) for index, one in enumerate(answers)]
    name = title or _of_data(settings) or ", ".join(place.resolve().name for place in places)
    out = out or places[0]
    write_whole(out / "report.md", markdown(name, sections, left_out).encode())
    write_whole(out / "runs.csv", table_of_runs(answers).encode())
    write_whole(out / PAGE, html(name, sections, left_out).encode())
    console = Console(soft_wrap=True, width=max(LEAST, Console().width))
    show_answers(answers, console)
    for gone in left_out:
        console.print(f"left out: {gone.folder}: {gone.why}", highlight=False, markup=False)
    console.print(f"The report is {out / PAGE}", highlight=False, markup=False)
    return answers


def _of_data(settings: Sequence[Setting]) -> str:
    """Return from which source to which target the runs are, where they all are to one."""
    runs = [run for one in settings for arm in one.arms for run in arm.runs.values()]
    found = {role: {run.named(role) for run in runs if run.results.get(role)} for role in ("source", "target")}
    if len(found["target"]) != 1:
        return ""
    target = found["target"].pop()
    if len(found["source"]) > 1:
        return f"several sources to {target}"
    return " to ".join([*found["source"], target])


def show_sweep(places: Sequence[Path], folder: Path) -> None:
    """Print the table of a sweep's runs at its end; nothing where fewer than two are over.

    Args:
        places: The runs' folders, or folders above them.
        folder: The sweep's folder.
    """
    try:
        settings, left_out = gathered(places)
    except ValueError:
        return
    if sum(len(arm.runs) for one in settings for arm in one.arms) < 2:
        return
    console = Console(soft_wrap=True, width=max(LEAST, Console().width))
    show_answers([answer(one) for one in settings], console)
    for gone in left_out:
        console.print(f"left out: {gone.folder}: {gone.why}", highlight=False, markup=False)
    program = Path(sys.argv[0])
    again = f"python {program.with_name('report.py').name}" if program.suffix == ".py" else "tl-report"
    console.print(f"For pictures and calibration: {again} {folder}", highlight=False, markup=False)


def gathered(places: Sequence[Path], baseline: str | None = None) -> tuple[list[Setting], list[LeftOut]]:
    """Return the settings of what lies in folders, and what is left out of them.

    Args:
        places: Folders of comparisons, runs and sweeps.
        baseline: The arm that others are compared with.

    Raises:
        ValueError: If there is no run, or no arm is called `baseline`.
    """
    settings: list[Setting] = []
    left_out: list[LeftOut] = []
    plain = []
    for place in places:
        if not (place / COMPARISON).exists():
            plain.append(place)
            continue
        content = read_comparison(place)
        if baseline is not None:
            content["baseline"] = baseline
        one, gone = compared(place, content)
        if baseline is not None and one.baseline is None:
            raise ValueError(f"baseline={baseline}: no runs have it; allowed: {', '.join(a.name for a in one.arms)}")
        one.title = place.name if len(places) > 1 else ""
        settings.append(one)
        left_out += gone
    if plain:
        runs, gone = read(plain)
        more, twice = settings_of(runs, baseline if runs else None)
        settings += more
        left_out += [*gone, *twice]
    if not settings:
        why = "; ".join(f"{one.folder}: {one.why}" for one in left_out[:3])
        raise ValueError(f"there is no run to report{': ' + why if why else ''}")
    return settings, left_out
