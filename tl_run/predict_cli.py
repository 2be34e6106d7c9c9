"""The command line of `predict.py`: checked before torch is imported, and errors are one line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datamodules.readers.folders import PICTURES
from tl_modules.cube import BASELINES, BY_NAME
from tl_modules.task import UNION
from tl_run.messages import near
from tl_run.plain_cli import answered, program

USAGE = """\
{program} run=<run folder> input=<picture, folder of pictures, or text file> [option=value ...]

  run     folder of a finished run
  input   a picture; a folder, searched for pictures; or, for a run on texts, a text file with one text a line
  out     folder for predictions.csv, predictions.json, the drawn pictures, and unreadable.csv, which lists the inputs
          that cannot be read; default: predictions in the run's folder
  role    target (default) or source: whose names are predicted; of a run that merged two datasets union (default), the
          names of both
  cell    for a cell of one's own: its class, such as my_project.cells.MyCell
  trust   true: import what else the run's config.yaml names of one's own, such as a head; default false
  draw    how many pictures are drawn, default 100
  batch   pictures at a time, default 64"""
OPTIONS: dict[str, Any] = {
    "run": None,
    "input": None,
    "out": None,
    "role": None,
    "cell": None,
    "trust": "false",
    "draw": 100,
    "batch": 64,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Predict what the command line asks for; exit with 2 on wrong options and 1 where predicting fails.

    Args:
        arguments: The command line after the program's name.
    """

    def act(options: dict[str, Any]) -> None:
        from tl_run.predicting import predict

        predict(**options)

    answered(arguments, USAGE, read, act)


def read(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the options of a command line, checked.

    Args:
        arguments: Such as `run=outputs/x`.

    Raises:
        ValueError: If an option is unknown, missing or wrong.
    """
    options = dict(OPTIONS)
    for argument in arguments:
        key, sign, value = argument.partition("=")
        if key not in OPTIONS or not sign:
            raise ValueError(f"{argument}: unknown option; {near(key, OPTIONS)}allowed: {', '.join(OPTIONS)}")
        options[key] = value
    for key in ("draw", "batch"):
        if not str(options[key]).isdigit() or int(options[key]) < (key == "batch"):
            raise ValueError(f"{key}={options[key]}: must be a whole number, at least {int(key == 'batch')}")
        options[key] = int(options[key])
    for key in ("run", "input"):
        if not options[key]:
            raise ValueError(f"{key}= is missing; {program()} --help shows the options")
    if options["trust"] not in ("true", "false"):
        raise ValueError(f"trust={options['trust']}: must be true or false")
    options["trust"] = options["trust"] == "true"
    folder = options["run"] = Path(options["run"])
    if not (folder / "results.json").is_file():
        raise ValueError(f"run={folder}: must be the folder of a finished run, but it has no results.json")
    try:
        results = json.loads((folder / "results.json").read_text())
        tested = {key.partition("/")[0] for key in results["test"]}
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"run={folder}: its results.json is damaged; resume={folder} makes it again") from None
    roles = [role for role in ("target", "source") if role in tested]
    roles = [*([UNION] if results.get("mode") == "merged" else []), *roles]
    options["role"] = options["role"] or (roles or ["target"])[0]
    if options["role"] not in roles:
        raise ValueError(f"role={options['role']}: allowed, as heads of the run that are in use: {', '.join(roles)}")
    if options["cell"] is None and results["cell"] not in (*BY_NAME, *BASELINES):
        raise ValueError(f"cell= is missing: the run's cell {results['cell']} is none of ours; name its class")
    options["input"] = found(Path(options["input"]))
    options["out"] = Path(options["out"]) if options["out"] else folder / "predictions"
    return options


def found(path: Path) -> list[Path]:
    """Return the pictures that a path names, or a text file.

    Args:
        path: A picture, a folder or a text file.

    Raises:
        ValueError: If there is no such file, or the folder has no pictures.
    """
    if path.is_dir():
        pictures = sorted(p for p in path.rglob("*") if p.suffix.lower() in PICTURES and not p.name.startswith("."))
        if not pictures:
            raise ValueError(f"input={path}: the folder has no pictures ({', '.join(PICTURES)})")
        return pictures
    if not path.is_file():
        raise ValueError(f"input={path}: must be a picture, a folder of pictures or a text file that exists")
    return [path]


if __name__ == "__main__":
    main()
