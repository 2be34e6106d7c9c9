"""What is kept of an old skill while a new one is learned: `python -m benchmarks.ways.replay --data-root <folder>`.

Digits (MNIST) first, then the clothes of Fashion-MNIST with few labels, by a head of their own: with some shares of
replay, and by `wise_ft`, which takes a point between old and new weights. Runs that are complete are not repeated. The
record is `docs/ways/replay.json`, the picture `docs/pictures/replay.svg`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.pairs import ROOT
from tl_run.report import charts
from tl_run.report.answer import Answer, answer, skills
from tl_run.report.arms import settings_of
from tl_run.report.reading import read

RECORD, PICTURE = ROOT / "docs" / "ways" / "replay.json", ROOT / "docs" / "pictures" / "replay.svg"
COMMON = (
    *("dataset@source=mnist", "source.train_size=5000", "dataset@target=fashion_mnist", "target.labelled=500"),
    *("steps=600", "seed=0,1,2,3,4", "trainer.progress=false", "trainer.accelerator=cpu"),
)
SWEEPS = {
    "replay": ("cell=task_adaptation", "finetuning=full", "cell.replay=0,0.1,0.3,0.5"),
    "wise_ft": ("cell=task_adaptation", "finetuning=wise_ft"),
    "scratch": ("cell=scratch",),
}


def main() -> None:
    """Run what is missing, and write record and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds MNIST and FashionMNIST")
    parser.add_argument("--runs", type=Path, default=Path("outputs/replay"), help="folder of the runs")
    given = parser.parse_args()
    folder = given.runs.resolve()
    for name, options in SWEEPS.items():
        call = [sys.executable, str(ROOT / "train.py"), "-m", *options, *COMMON, "resume=auto"]
        place = [f"hydra.sweep.dir={folder / name}", f"data_root={given.data_root.resolve()}"]
        subprocess.run([*call, *place], env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)
    runs, _ = read([folder])
    (setting, *_), _ = settings_of(runs)
    found = answer(setting)
    drawn = charts.old_and_new(found)
    assert drawn is not None
    PICTURE.write_text(drawn + "\n")
    RECORD.write_text(json.dumps(told(found), indent=1) + "\n")
    print(f"written: {RECORD}, {PICTURE}")


def told(found: Answer) -> dict[str, Any]:
    """Return what the runs say as plain values: old and new skill of each arm, by seed."""
    rows = []
    for row in found.rows:
        old = skills(row.arm, found.setting.metric)
        new = row.arm.values("test", found.setting.metric)
        gain = row.on_test
        rows.append(
            {
                "arm": row.arm.name,
                "old": [] if old is None else [pair[0] for pair in old[1].values()],
                "new": list(new.values()),
                "gain": None if gain is None else [gain.mean, gain.low, gain.high],
                "samples": row.arm.one.samples,
            }
        )
    return {"metric": found.setting.metric, "options": [*COMMON], "rows": rows}


if __name__ == "__main__":
    main()
