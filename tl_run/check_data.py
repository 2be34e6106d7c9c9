"""A look at a run's data before anything is trained: what is found is said, and kept in `data_report.json`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from datamodules.naming import naming
from datamodules.pair import PairedData
from datamodules.readers.published import PublishedData
from tl_run import lineage
from tl_run.build import build_data, build_module, check_kinds
from tl_run.folder import first_process, write_json
from tl_run.own import import_own

REPORT = "data_report.json"
Config = dict[str, Any]


def prepare(data: PairedData, folder: Path) -> None:
    """Get a run's data ready, and write what is found in them.

    Args:
        data: The run's data.
        folder: The run's folder.

    Raises:
        ValueError: If the data cannot be used.
    """
    data.prepare_data()
    wrong = examine(data)
    write_report(data, folder, wrong)
    if wrong:
        raise ValueError("; ".join(wrong))
    data.setup()


def check(config: Config, folder: Path) -> list[str]:
    """Do all that comes before training, say what is found in the data, and write it.

    Args:
        config: The composed and checked configuration, plain values.
        folder: Where the report is written.

    Returns:
        Why a run would not start, a line each; none where it would.
    """
    data: PairedData | None = None
    log = logging.getLogger("datamodules.findings")
    level = log.level
    log.setLevel(logging.ERROR)  # all of it is printed here
    try:
        import_own(config)
        data = build_data(config)
        data.prepare_data()
        wrong = examine(data)
        if not wrong:
            data.setup()
            check_kinds(config, data)
            lineage.compare(config, data)
            build_module(config, data)
    except (ValueError, OSError) as error:
        wrong = [" ".join(str(error).split())]
    finally:
        log.setLevel(level)
    write_report(data, folder, wrong)
    for line in said(data):
        print(line)
    print(f"{'a run would not start' if wrong else 'a run would start'}; all that was found is in {folder / REPORT}")
    return wrong


def examine(data: PairedData) -> list[str]:
    """Look at both roles' samples and return why they cannot be used, a line each.

    Args:
        data: The run's data.
    """
    wrong = []
    for role, one in reversed(data.data.items()):
        if not isinstance(one, PublishedData):
            continue
        try:
            with naming(role):
                refusal = one.examine().refusal(one.max_invalid)
                if refusal is not None:
                    raise ValueError(refusal)
        except (ValueError, OSError) as error:
            wrong.append(" ".join(str(error).split()))
    return wrong


def write_report(data: PairedData | None, folder: Path, wrong: Sequence[str]) -> None:
    """Write what is found into `data_report.json`.

    Args:
        data: The run's data; None where they could not be made.
        folder: Where it is written.
        wrong: Why a run would not start.
    """
    roles = {}
    for role, one in ({} if data is None else data.data).items():
        examined = isinstance(one, PublishedData)
        roles[role] = {"examined": examined, **(one.findings.report() if isinstance(one, PublishedData) else {})}
    if first_process():
        write_json(folder / REPORT, {"schema": 1, "would_start": not wrong, "wrong": list(wrong), "roles": roles})


def said(data: PairedData | None) -> Iterable[str]:
    """Yield what is found, role by role."""
    for role, one in ({} if data is None else data.data).items():
        if not isinstance(one, PublishedData):
            yield f"{role}: its samples are not read from files by a reader of ours; nothing is looked at"
            continue
        yield from looked_at(role, one)


def found_in(data: PairedData) -> list[str]:
    """Return what is found where samples are read by readers of ours, role by role.

    Args:
        data: The run's data, set up.
    """
    ours = {role: one for role, one in data.data.items() if isinstance(one, PublishedData)}
    return [line for role, one in ours.items() for line in looked_at(role, one)]


def looked_at(role: str, one: PublishedData) -> Iterable[str]:
    """Yield what is found in a dataset.

    Args:
        role: Whose it is.
        one: The dataset.
    """
    found = one.findings
    counts = ", ".join(f"{count} {unit}" for unit, count in found.totals.items()) or "nothing"
    yield f"{role}: {counts}"
    yield from (f"{role}: {line}" for line in found.lines())
    classes = ", ".join(f"{name} {count}" for name, count in found.classes.items())
    yield from [f"{role}: samples by class: {classes}"] if classes else []
