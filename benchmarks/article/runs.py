"""Running arms, and the record of finished runs that the page is made from."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.article.arms import EXAMPLES

Config = dict[str, Any]
Run = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "docs" / "article.json"
DATA = "<data_root>"  # stands for the data's folder on the record
RATES = tuple(float(f"{digit}e{power}") for power in range(-5, 0) for digit in (1, 3))  # 1e-5, 3e-5, ..., 3e-1
FIRST = (0.0003, 0.001, 0.003)  # tried first; widened until the best is inside
KEPT = (
    "cell",
    "lr",
    "steps",
    "selection",
    "val",
    "test",
    "source",
    "target",
    "stages",
    "flops",
    "parameters",
    "machine",
)


def seeds_of(example: str, name: str) -> range:
    """Return the seeds of an arm."""
    shown = EXAMPLES[example]
    return range(shown.arms[name].seeds or shown.seeds)


# Options that shape no result, and later ones at what a run did before it had them.
NO_SHAPE = ("checkpoint", "store")
AS_BEFORE = (
    ("objective", {"name": "sum"}),
    ("skip_nonfinite", 0),
    ("max_invalid", 0.01),
    ("num_nodes", 1),
    ("without_labels", "source"),
    ("absent", "unknown"),
    ("replay", 0.0),
)


class Job(NamedTuple):
    """One run.

    Args:
        example: The example.
        arm: The arm.
        seed: The seed.
        rate: The learning rate; None for the recipe's.
    """

    example: str
    arm: str
    seed: int
    rate: float | None

    @property
    def key(self) -> str:
        """Its name in the record."""
        return f"{self.example}/{self.arm}/{'rule' if self.rate is None else f'{self.rate:g}'}/{self.seed}"


def overrides(job: Job, root: Path) -> list[str]:
    """Return the options of a run, as they would stand on the command line of `train.py`.

    Args:
        job: The run.
        root: Folder of the data.
    """
    arm = EXAMPLES[job.example].arms[job.arm]
    recipe = [] if arm.naive else [f"experiment=article/{job.example}"]
    given = [*recipe, *arm.overrides, f"seed={job.seed}", "trainer.progress=false"]
    given += [] if job.rate is None else [f"cell.lr={job.rate:g}"]
    if arm.longer > 1:
        given.append(f"steps={arm.longer * composed(recipe, root)['steps']}")
    return given


def composed(options: list[str], root: Path) -> Config:
    """Return a run's checked configuration.

    Args:
        options: Beside the data's folder.
        root: Folder of the data.
    """
    from hydra import compose, initialize_config_dir

    from tl_run.cli import checked
    from tl_run.paths import CONF, CONFIG_NAME

    with initialize_config_dir(str(CONF), version_base="1.3"):
        return checked(compose(CONFIG_NAME, [*options, f"data_root={root}"]))


def essence(value: Any, key: str = "") -> Any:
    """Return a configuration without what is off and without where classes are.

    So an option that a later version adds, or a module that it moves, makes no other run of it.

    Args:
        value: The configuration, or what stands in it.
        key: Under which it stands.
    """
    if isinstance(value, Mapping):
        kept = {name: essence(one, name) for name, one in value.items() if one is not None and one is not False}
        return {name: one for name, one in kept.items() if name not in NO_SHAPE and (name, one) not in AS_BEFORE}
    return str(value).rpartition(".")[2] if key == "_target_" else value


def digest(config: Config, root: Path) -> str:
    """Return a hash of what a run is, wherever its data lie."""
    text = json.dumps(essence(config), sort_keys=True).replace(str(root), "")
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def run(job: Job, root: Path, runs: Path) -> Run:
    """Train and test one run, and return what the record keeps of it.

    Args:
        job: The run.
        root: Folder of the data.
        runs: Folder of the runs.
    """
    import torch

    from tl_run.runner import execute

    torch.set_num_threads(EXAMPLES[job.example].arms[job.arm].threads)
    config = composed(overrides(job, root), root)
    folder = runs / job.key / digest(config, root)  # a changed recipe is another run
    if not (folder / "results.json").exists():
        began = time.process_time()
        execute(config, folder)
        (folder / "cpu.json").write_text(json.dumps(time.process_time() - began))
    results = json.loads((folder / "results.json").read_text().replace(str(root), DATA))
    cpu = json.loads((folder / "cpu.json").read_text()) if (folder / "cpu.json").exists() else None
    return {"digest": digest(config, root), "cpu": cpu, **{key: results[key] for key in KEPT}}


class Record:
    """The finished runs, by their key, in a file.

    Args:
        path: The file.
    """

    def __init__(self, path: Path = RECORD) -> None:
        self.path = path
        self.runs: dict[str, Run] = json.loads(path.read_text()) if path.exists() else {}

    def add(self, job: Job, found: Run) -> None:
        """Keep a run."""
        self.runs[job.key] = found
        whole = self.path.with_suffix(".part")
        whole.write_text(json.dumps(dict(sorted(self.runs.items())), indent=1) + "\n")
        os.replace(whole, self.path)

    def drop_stale(self, root: Path) -> None:
        """Drop the runs of recipes that have changed since, and of arms that are no more."""
        for key, found in list(self.runs.items()):
            example, arm, rate, seed = key.split("/")
            known = example in EXAMPLES and arm in EXAMPLES[example].arms
            job = Job(example, arm, int(seed), None if rate == "rule" else float(rate))
            if not known or digest(composed(overrides(job, root), root), root) != found["digest"]:
                del self.runs[key]

    def get(self, job: Job) -> Run | None:
        """Return a run, or None if it is not finished."""
        return self.runs.get(job.key)

    def tried(self, example: str, name: str) -> dict[float, float]:
        """Return the validation score of an arm's first seed by the learning rates tried, larger is better."""
        scores = {}
        for rate in RATES:
            found = self.get(Job(example, name, 0, rate))
            if found is not None:
                sign = -1 if found["selection"].endswith(" min") else 1
                score = next(iter(found["val"].values()))
                scores[rate] = -math.inf if score is None else sign * score  # it diverged
        return scores

    def rate(self, example: str, name: str) -> tuple[float | None, list[float]]:
        """Return an arm's learning rate and the rates that must be tried before it is known.

        The best on validation of a grid that is widened until the best is inside it; of equal ones the middle one.
        """
        arm = EXAMPLES[example].arms[name]
        if arm.rate == "rule":
            return None, []
        if arm.rate != "grid":
            return self.rate(example, arm.rate)[0], []
        scores = self.tried(example, name)
        missing = [rate for rate in FIRST if rate not in scores]
        if missing:
            return None, missing
        top = max(scores.values())
        best = [rate for rate, score in scores.items() if score == top]
        chosen = min(best, key=lambda rate: abs(math.log(rate / FIRST[1])))
        place = RATES.index(chosen)
        beside = [RATES[i] for i in (place - 1, place + 1) if 0 <= i < len(RATES)]
        return chosen, [rate for rate in beside if rate not in scores]

    def jobs(self, example: str) -> Iterator[Job]:
        """Yield the runs of an example that are missing and wait for nothing, each once."""
        for name, arm in EXAMPLES[example].arms.items():
            chosen, untried = self.rate(example, name)
            if untried:
                yield from (Job(example, name, 0, rate) for rate in untried)
            elif chosen is not None or arm.rate == "rule":
                seeds = seeds_of(example, name)
                yield from (job for seed in seeds if self.get(job := Job(example, name, seed, chosen)) is None)

    def of(self, example: str, name: str) -> list[Run] | None:
        """Return an arm's runs over the seeds, or None if one is missing."""
        chosen, untried = self.rate(example, name)
        if untried or (chosen is None and EXAMPLES[example].arms[name].rate != "rule"):
            return None
        found = [self.get(Job(example, name, seed, chosen)) for seed in seeds_of(example, name)]
        return None if any(one is None for one in found) else [one for one in found if one is not None]


def describe(results: Mapping[str, Any]) -> str:
    """Return which checkpoint of a run was tested."""
    rule = str(results["selection"])
    return "last step" if rule == "last" else f"best {rule.removeprefix('val/').rsplit(' ', 1)[0]} on validation"
