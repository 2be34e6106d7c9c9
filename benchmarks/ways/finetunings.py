"""Finetunings from ImageNet's weights at few labels, by `compare.py`.

`python -m benchmarks.ways.finetunings --data-root <folder>` writes `docs/ways/finetunings.json`; runs that are complete
are not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pairs import ROOT, WEIGHTS, told
from tl_run.report.answer import answer
from tl_run.report.arms import Arm, compared
from tl_run.report.reading import read_comparison
from tl_run.report.statistics import paired

JSON = ROOT / "docs" / "ways" / "finetunings.json"
FULL = "domain_adaptation"  # the arm of finetuning=full
METHODS = ("lp_ft", "gradual_unfreezing", "layerwise_decay", "l2_sp", "wise_ft", "lora")
ARMS = (FULL, "linear_probe", *METHODS)
LABELLED = (50, 100, 200)
FIXED = (
    *("dataset@source=pretrained", f"source.weights={WEIGHTS}", "backbone=mobilenet_v2"),
    *("dataset@target=image_folder", "target.root=${data_root}/flowers12", "target.image_size=65"),
    *("datamodule.batch_size=16", "steps=60", "trainer.validations=4"),
    *("trainer.progress=false", "trainer.accelerator=cpu", "precision=32"),
    *("compare.rates=[]", f"compare.arms=[{','.join(ARMS)}]"),
)


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the public data")
    parser.add_argument("--runs", type=Path, default=Path("outputs/ways/finetunings"), help="folder of the runs")
    parser.add_argument(
        "--labelled", nargs="+", type=int, default=list(LABELLED), help="labelled samples of the target"
    )
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds")
    given = parser.parse_args()
    for count in given.labelled:
        options = [*FIXED, f"target.labelled={count}", f"compare.seeds={given.seeds}"]
        folder = given.runs.resolve()
        found = compare(options, folder, given.data_root.resolve())
        record = json.loads(JSON.read_text()) if JSON.exists() else {}
        record[str(count)] = found
        JSON.parent.mkdir(parents=True, exist_ok=True)
        JSON.write_text(json.dumps(dict(sorted(record.items(), key=lambda one: int(one[0]))), indent=1) + "\n")
        print(f"{count} labels: {found['headline']}", flush=True)


def compare(options: Sequence[str], folder: Path, data_root: Path) -> dict[str, Any]:
    """Run a comparison and return what it says.

    Args:
        options: Its options.
        folder: The folder that it is run in.
        data_root: Folder of the public data.
    """
    folder.mkdir(parents=True, exist_ok=True)
    call = [sys.executable, str(ROOT / "compare.py"), *options, f"data_root={data_root}"]
    subprocess.run(call, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)
    place = max(folder.glob("comparisons/*/comparison.json"), key=lambda path: path.stat().st_mtime).parent
    return {"overrides": list(options), **said_by(place)}


def said_by(place: Path) -> dict[str, Any]:
    """Return what a comparison says, with each arm's difference to `finetuning=full` on the test set.

    Args:
        place: The comparison's folder.
    """
    setting, _ = compared(place, read_comparison(place))
    said = told(answer(setting))
    arms = {arm.name: arm for arm in setting.arms}
    tests = {name: by_seed(arm, setting.metric) for name, arm in arms.items()}
    for row in said["rows"]:
        name = row["arm"]
        row["tests"] = list(tests[name].values())
        row["against_full"] = None
        if name != FULL:
            gap = paired(tests[name], tests[FULL], setting.direction)
            row["against_full"] = known([gap.mean, gap.low, gap.high])
        row["gain"] = known(row["gain"])
        chosen = [run.results["wise_ft"]["chosen"] for run in arms[name].runs.values() if "wise_ft" in run.results]
        row |= {"coefficients": chosen} if chosen else {}
    return said


def known(values: Sequence[float] | None) -> list[float | None] | None:
    """Return numbers as JSON has them, None for one that is unbounded."""
    return None if values is None else [one if math.isfinite(one) else None for one in values]


def by_seed(arm: Arm, metric: str) -> dict[int, Any]:
    """Return an arm's test scores by seed."""
    found: Mapping[int, Any] = {seed: run.results["test"].get(metric) for seed, run in arm.runs.items()}
    return dict(sorted(found.items()))


if __name__ == "__main__":
    main()
