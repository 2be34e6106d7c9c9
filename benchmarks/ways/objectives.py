"""Joint objectives on the two tasks of MultiMNIST, by `compare.py`, against the sum with tuned static weights.

`python -m benchmarks.ways.objectives --data-root <folder>` writes `docs/ways/objectives.json`; runs that are complete
are not run again, and `--json-only` writes it from what is there. All arms have the same budget and the rate by rule.
The weight of the sum is chosen by the mean accuracy of both tasks on validation, over the seeds; all else is told on
the test set. Nothing is expected to beat it (Kurin et al. 2022).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.pairs import ROOT
from tl_run.folder import read_metrics
from tl_run.report.arms import Arm, compared
from tl_run.report.reading import Run, read_comparison
from tl_run.report.statistics import holm, paired, verdict

JSON = ROOT / "docs" / "ways" / "objectives.json"
TASKS = ("source/accuracy", "target/accuracy")
SUMS = {f"sum_{weight:g}": [f"source.weight={weight:g}"] for weight in (0.5, 1.0, 2.0)}
METHODS = {
    "learned_weights": ["objective=uncertainty"],
    "geometric": ["objective=geometric_mean"],
    "random_weights": ["objective=random"],
    "jacobian_upgrad": ["objective=torchjd", "objective.aggregator=UPGrad"],
    "jacobian_mgda": ["objective=torchjd", "objective.aggregator=MGDA"],
}
FIXED = (
    *("dataset@source=multi_mnist_left", "dataset@target=multi_mnist_right"),
    *(f"{role}.{size}" for role in ("source", "target") for size in ("train_size=2000", "val_size=1000")),
    *("backbone=lenet", "steps=200", "datamodule.batch_size=32"),
    *("selection.rule=last", "trainer.validations=1", "trainer.progress=false", "trainer.accelerator=cpu"),
    *("precision=32", "compare.rates=[]", f"compare.arms=[{','.join([*SUMS, *METHODS])}]"),
)


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the public data")
    parser.add_argument("--runs", type=Path, default=Path("outputs/ways/objectives"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds")
    parser.add_argument("--json-only", action="store_true", help="write the record from what is there")
    given = parser.parse_args()
    folder = given.runs.resolve()
    options = [*FIXED, f"compare.seeds={given.seeds}"]
    if not given.json_only:
        compare(options, folder, given.data_root.resolve())
    record = {"options": options, **told(folder)}
    JSON.parent.mkdir(parents=True, exist_ok=True)
    JSON.write_text(json.dumps(record, indent=1) + "\n")
    print(record["finding"])


def compare(options: list[str], folder: Path, data_root: Path) -> None:
    """Run the comparison.

    Args:
        options: Its options.
        folder: The folder that it is run in, where its arms are written too.
        data_root: Folder of the public data.
    """
    arms = folder / "conf" / "arm"
    arms.mkdir(parents=True, exist_ok=True)
    for name, overrides in {**SUMS, **METHODS}.items():
        said = ", ".join(["cell=multitask", "datamodule.mode=aligned", *overrides])
        (arms / f"{name}.yaml").write_text(f"says: {overrides[-1]}\nneeds: {{source: data}}\noverrides: [{said}]\n")
    network = arms.parent / "backbone" / "lenet.yaml"
    network.parent.mkdir(exist_ok=True)
    network.write_text("name: benchmarks.ways.lenet.lenet\nweights: null\n")
    call = [sys.executable, str(ROOT / "compare.py"), "--config-dir", str(arms.parent), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run([*call, f"data_root={data_root}"], cwd=folder, env=environment, check=True)


def told(folder: Path) -> dict[str, Any]:
    """Return what the newest comparison in a folder says.

    Args:
        folder: The folder that it was run in.
    """
    place = max(folder.glob("comparisons/*/comparison.json"), key=lambda path: path.stat().st_mtime).parent
    setting, _ = compared(place, read_comparison(place))
    arms = {arm.name: arm for arm in setting.arms}
    sums = [name for name in SUMS if name in arms]
    tuned = max(sums, key=lambda name: statistics.fmean(both(arms[name], "val").values()))
    base = both(arms[tuned], "test")
    gaps = {name: paired(both(arms[name], "test"), base) for name in METHODS if name in arms}
    corrected = holm([gap.p for gap in gaps.values()])
    better = [name for (name, gap), p in zip(gaps.items(), corrected, strict=True) if verdict(gap, p) == "helps"]
    rows = [row(arms[name]) for name in (*sums, *gaps)]
    for name, p in zip(gaps, corrected, strict=True):
        gap = gaps[name]
        mine = next(one for one in rows if one["arm"] == name)
        mine["against_tuned"] = {"mean": gap.mean, "low": gap.low, "high": gap.high, "seeds": gap.count}
        mine["against_tuned"] |= {"p_holm": p, "verdict": verdict(gap, p)}
    said = f"{', '.join(better)} beat" if better else f"none of {len(gaps)} beats"
    return {
        "machine": arms[tuned].one.results["machine"],
        "tuned": tuned,
        "finding": f"{said} the sum with the weight that validation chose ({tuned})",
        "rows": rows,
    }


def both(arm: Arm, split: str) -> dict[int, float]:
    """Return the mean accuracy of both tasks by seed, on `val` as it was at the end, or on `test`."""
    return {
        seed: statistics.fmean((at_end(run) if split == "val" else run.results["test"])[name] for name in TASKS)
        for seed, run in arm.runs.items()
    }


def at_end(run: Run) -> Mapping[str, float]:
    """Return the last value of each metric on validation."""
    rows = read_metrics(run.folder / "metrics.csv")
    return {row["metric"].removeprefix("val/"): float(row["value"]) for row in rows if row["metric"].startswith("val/")}


def row(arm: Arm) -> dict[str, Any]:
    """Return what is told of an arm: its scores by seed, and what a run saw and cost."""
    tests = {name: [run.value("test", name) for run in arm.runs.values()] for name in TASKS}
    return {
        "arm": arm.name,
        "options": arm.overrides,
        "seeds": list(arm.runs),
        "val": list(both(arm, "val").values()),
        "test": list(both(arm, "test").values()),
        "test_by_task": tests,
        "labelled": arm.one.labelled,
        "samples": arm.one.samples,
        "flops": arm.mean("flops"),
        "seconds": arm.mean("seconds"),
    }


if __name__ == "__main__":
    main()
