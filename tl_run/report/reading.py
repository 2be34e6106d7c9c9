"""The runs below some folders: what their results say, and which folders are left out and why."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from tl_modules.weights.runs import NAME as JOURNAL
from tl_modules.weights.runs import read_journal
from tl_run.callbacks.judging import test_table
from tl_run.journal import COMPLETE
from tl_run.options import LOWER_IS_BETTER

RESULTS, COMPARISON, SCHEMA = "results.json", "comparison.json", 1
NEEDED = ("cell", "seed", "target", "baseline_key", "selection", "val", "test", "stages", "parameters", "seconds", "lr")
# Options that are no part of an arm.
NOT_OF_THE_ARM = ("seed", "trainer.progress", "logger", "resume", "hydra", "store.", "checkpoint.")
VALIDATIONS = 10  # where a folder does not tell: as conf/trainer/default.yaml has it


class LeftOut(NamedTuple):
    """A folder that is not counted, and why."""

    folder: Path
    why: str


class Sample(NamedTuple):
    """A test sample's id and what was said of it; see `tl_modules.heads.base.Judged`."""

    id: str
    truth: str
    prediction: str
    score: float | None
    right: float


class Run:
    """A run that is over.

    Args:
        folder: Its folder.
        results: What its `results.json` says.
    """

    def __init__(self, folder: Path, results: Mapping[str, Any]) -> None:
        self.folder, self.results = folder, results

    @property
    def alone(self) -> Run:
        """The run whose data its folder names."""
        return self

    @property
    def seed(self) -> int:
        """The seed."""
        return int(self.results["seed"])

    @property
    def without_labels(self) -> dict[str, Any] | None:
        """What it says of the rules that choose without labels, where it read none of the target."""
        found: dict[str, Any] | None = self.results.get("without_labels")
        return found

    @property
    def metric(self) -> str:
        """What it was chosen by, such as `target/accuracy`, or would have been with labels of the target."""
        if self.without_labels is not None:
            return str(self.without_labels["oracle"]["metric"])
        return str(self.results["stages"][-1]["monitor"]).removeprefix("val/")

    @property
    def direction(self) -> str:
        """Whether `metric` is better higher (`max`) or lower (`min`)."""
        rule = str(self.results["selection"]).rpartition(" ")[2]
        name = self.metric.rpartition("/")[2]
        known = rule in ("max", "min") and self.without_labels is None
        return rule if known else "min" if name in LOWER_IS_BETTER else "max"

    def named(self, role: str) -> str:
        """Return what a role's dataset is called: its folder too, where it has one of its own."""
        name = str(self.results[role]["dataset"])
        try:
            config: Any = OmegaConf.to_container(OmegaConf.load(self.folder / "config.yaml"))
            root, common = config[role].get("root"), config.get("data_root")
        except Exception:  # YAML may fail in any way
            return name
        return name if root in (None, common) else f"{Path(str(root)).name} ({name})"

    def value(self, split: str, metric: str) -> float:
        """Return a metric on `val` or `test`, NaN where it was undefined or not measured."""
        found = self.results[split].get(metric)
        return math.nan if found is None else float(found)

    @property
    def labelled(self) -> int:
        """Labelled samples of the target that it knows, training and validation together."""
        return sum((self.results["target"].get("labelled") or {}).values())

    @property
    def samples(self) -> dict[str, int]:
        """Samples seen per role, all stages together."""
        seen: dict[str, int] = {}
        for stage in self.results["stages"]:
            for role, count in stage["samples"].items():
                seen[role] = seen.get(role, 0) + int(count)
        return seen

    @property
    def plateau(self) -> bool:
        """Whether its last stage ended because nothing got better."""
        return str(self.results["stages"][-1].get("ended", "")).startswith("no better")

    @property
    def validations(self) -> int:
        """How often each of its stages was to be validated, as far as its folder tells."""
        try:
            return int(OmegaConf.load(self.folder / "config.yaml").trainer.validations)
        except Exception:  # YAML may fail in any way
            return VALIDATIONS

    def judged(self, role: str = "target") -> list[Sample]:
        """Return what the test said of each sample; empty where the run has no table of them."""
        path = self.folder / test_table(role)
        if not path.is_file():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [
            Sample(
                row["id"],
                row["truth"],
                row["prediction"],
                float(row["score"]) if row["score"] else None,
                float(row["right"]),
            )
            for row in rows
        ]

    def overrides(self) -> list[str]:
        """Return the options it was started with, but for its seed, as far as its folder tells."""
        try:
            kept: Any = OmegaConf.to_container(OmegaConf.load(self.folder / ".hydra" / "overrides.yaml"))
            lines = [str(line) for line in kept]
        except (OSError, ValueError, TypeError):
            lines = [f"cell={self.results['cell']}"]
        return [line for line in lines if not line.lstrip("+~").startswith(NOT_OF_THE_ARM)]


def read(folders: Sequence[Path]) -> tuple[list[Run], list[LeftOut]]:
    """Read the runs in and below folders.

    Args:
        folders: Folders of runs, or of sweeps and comparisons with runs below them.

    Returns:
        The runs, each once, by path; and what is left out.
    """
    runs: list[Run] = []
    left_out: list[LeftOut] = []
    seen: set[Path] = set()
    for folder in folders:
        found = False
        for place in places(folder):
            found = True
            if place.resolve() in seen:
                continue
            seen.add(place.resolve())
            one = read_run(place)
            if isinstance(one, Run):
                runs.append(one)
            else:
                left_out.append(one)
        if not found:
            left_out.append(LeftOut(folder, "holds no run" if folder.is_dir() else "is no folder"))
    return runs, left_out


def places(folder: Path) -> Iterator[Path]:
    """Yield the folders of runs in and below a folder."""
    marks = (RESULTS, JOURNAL)
    if any((folder / mark).exists() for mark in marks):
        yield folder
        return
    yield from sorted({path.parent for mark in marks for path in folder.rglob(mark)})


def read_run(folder: Path) -> Run | LeftOut:
    """Return a folder's run, or why it has none that counts."""
    path = folder / RESULTS
    try:
        journal = read_journal(folder) if (folder / JOURNAL).exists() else None
    except ValueError as error:
        return LeftOut(folder, f"broken: {error}")
    if not path.exists():
        status = (journal or {}).get("status") or "was never started"
        return LeftOut(folder, f"is not over: {status}")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return LeftOut(folder, f"broken: {RESULTS} cannot be read")
    if not isinstance(results, dict) or any(key not in results for key in NEEDED):
        missing = [key for key in NEEDED if not isinstance(results, dict) or key not in results]
        return LeftOut(folder, f"of something else: its {RESULTS} has no {', '.join(missing)}")
    if results.get("schema") != SCHEMA:
        return LeftOut(folder, f"of another version: schema {results.get('schema')}, this one reads {SCHEMA}")
    if results.get("status", COMPLETE) != COMPLETE:
        return LeftOut(folder, f"is not over: {results['status']}")
    if not results["stages"]:
        return LeftOut(folder, f"broken: its {RESULTS} has no stage")
    run = Run(folder, results)
    if not math.isfinite(run.value("test", run.metric)):
        return LeftOut(folder, f"test/{run.metric} was not measured, or is not a number")
    return run


def read_comparison(folder: Path) -> dict[str, Any]:
    """Return what a folder's `comparison.json` says.

    Args:
        folder: The comparison's folder.

    Raises:
        ValueError: If it cannot be read.
    """
    path = folder / COMPARISON
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or "arms" not in content:
        raise ValueError(f"{path}: must be a comparison of schema {SCHEMA} with arms and runs")
    return content
