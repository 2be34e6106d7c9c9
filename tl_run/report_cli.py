"""The command line of `report.py`: errors are one line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tl_run.messages import near
from tl_run.plain_cli import answered, program

USAGE = """\
{program} <folder> [<folder> ...] [option=value ...]

  <folder>  a run, a sweep, a comparison, or any folder above them

  out       folder for report.html, report.md and runs.csv; default: the first folder
  baseline  the arm that others are compared with; default: scratch, else finetune or probe
  title     of the page; default: source and target, or the folders' names
  draw      false: do not read the data again to draw test samples; default true"""
OPTIONS: dict[str, Any] = {"out": None, "baseline": None, "title": None, "draw": "true"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Report what the command line asks for; exit with 2 on wrong options and 1 where there is nothing to report.

    Args:
        arguments: The command line after the program's name.
    """

    def act(asked: tuple[list[Path], dict[str, Any]]) -> None:
        from tl_run.report.comparison import report

        report(asked[0], **asked[1])

    answered(arguments, USAGE, read, act)


def read(arguments: Sequence[str]) -> tuple[list[Path], dict[str, Any]]:
    """Return the folders and the options of a command line, checked.

    Args:
        arguments: Such as `outputs` or `out=reports`.

    Raises:
        ValueError: If an option is unknown or wrong, or a folder is missing.
    """
    options, folders = dict(OPTIONS), []
    for argument in arguments:
        key, sign, value = argument.partition("=")
        if sign and key in OPTIONS:
            options[key] = value
        elif sign and not Path(argument).exists():
            raise ValueError(f"{argument}: unknown option; {near(key, OPTIONS)}allowed: {', '.join(OPTIONS)}")
        else:
            folders.append(Path(argument))
    if not folders:
        raise ValueError(f"a folder is missing; {program()} --help shows what can be given")
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{folder}: must be a folder that exists")
    if options["draw"] not in ("true", "false"):
        raise ValueError(f"draw={options['draw']}: must be true or false")
    options["draw"] = options["draw"] == "true"
    options["out"] = Path(options["out"]) if options["out"] else None
    return folders, options


if __name__ == "__main__":
    main()
