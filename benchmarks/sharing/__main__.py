"""Run the cases, keep what was seen as JSON, and write the page of it.

`python -m benchmarks.sharing` takes some hours on two cores; `--only probes --more steps=100` is a short form.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.sharing.runs import CASES, ROOT, differing, run

RECORD, PAGE = ROOT / "docs" / "sharing.json", ROOT / "docs" / "sharing.md"
HEAD = """# What sharing saves

Made by `python -m benchmarks.sharing` from `docs/sharing.json`; not written by hand. Every case was run twice by one
command, in empty folders: once with a store that was empty at the beginning, once with `store.gigabytes=0`. *Steps* are
optimiser steps that were trained, not taken over; *CPU s* are seconds of all processes from the command's begin to its
end, data, validation, test and pictures included. *Equal* are runs whose results and tested weights are the same to the
bit.

| case | runs | steps without | with | ratio | CPU s without | with | ratio | equal |
|---|---|---|---|---|---|---|---|---|
"""


def measured(name: str, folder: Path, more: list[str]) -> dict[str, Any]:
    """Run a case both ways and return what is kept of it.

    Args:
        name: The case.
        folder: Where its runs lie.
        more: Further options of all its runs.
    """
    shared, alone = (run(CASES[name], folder / name / way, way == "with", more) for way in ("with", "without"))
    wrong = differing(shared, alone)
    for one in wrong:
        print(f"{name}: {one} differs", file=sys.stderr)
    return {
        "runs": len(alone.results),
        "steps": {"without": alone.steps(), "with": shared.steps()},
        "cpu_seconds": {"without": round(alone.seconds, 1), "with": round(shared.seconds, 1)},
        "equal": len(alone.results) - len(wrong),
        "options": [*CASES[name].options, *more],
        "program": CASES[name].program,
        "machine": {"python": platform.python_version(), "torch": torch.__version__},
    }


def page(record: Mapping[str, Any]) -> str:
    """Return the page, in Markdown.

    Args:
        record: What `measured` gave, by case.
    """
    rows, told = [], []
    for name, case in CASES.items():
        if name not in record:
            continue
        seen = record[name]
        cells = [name, str(seen["runs"])]
        for what in ("steps", "cpu_seconds"):
            without, shared = seen[what]["without"], seen[what]["with"]
            cells += [f"{without:.0f}", f"{shared:.0f}", f"{shared / without:.2f}"]
        rows.append(f"| {' | '.join([*cells, str(seen['equal'])])} |")
        told.append(f"- *{name}*: {case.says}. `python {' '.join([seen['program'], *seen['options']])}`")
    return HEAD + "\n".join(rows) + "\n\n" + "\n".join(told) + "\n"


def main() -> None:
    """Read the command line and do what it says; the exit status is 1 where runs differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES), help="some cases")
    parser.add_argument("--folder", type=Path, default=Path("outputs/sharing"), help="of the runs; made anew")
    parser.add_argument("--more", nargs="+", default=[], metavar="OPTION", help="further options of all runs")
    given = parser.parse_args()
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    differ = False
    for name in given.only:
        record[name] = measured(name, given.folder.resolve(), given.more)
        seen = record[name]
        differ |= seen["equal"] != seen["runs"]
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
        PAGE.write_text(page(record))
        print(f"{name}: {seen['steps']} steps, {seen['cpu_seconds']} CPU s, {seen['equal']} of {seen['runs']} equal")
    sys.exit(differ)


if __name__ == "__main__":
    main()
