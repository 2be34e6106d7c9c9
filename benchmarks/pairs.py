"""Real pairs of datasets, each compared by `compare.py`: what helped, by how much, and what the advisor had said.

`python -m benchmarks.pairs --data-root <folder>`; runs that are complete are not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tl_run.report.answer import Answer, Row, answer
from tl_run.report.arms import compared
from tl_run.report.reading import read_comparison
from tl_run.report.words import headline, lasting

DATA = "<data_root>"  # stands for the data's folder on the record
ROOT = Path(__file__).resolve().parents[1]
JSON, PAGE = ROOT / "docs" / "pairs.json", ROOT / "docs" / "pairs.md"
WEIGHTS = "${data_root}/weights/mobilenet_v2_tf2ptq-bd4cb33c.pth"
FIXED = ["trainer.progress=false", "trainer.accelerator=cpu", "hydra/launcher=joblib_cores"]
BY_RULE = ["compare.seeds=5", "compare.rates=[]"]  # where a grid of rates would take hours


class Pair(NamedTuple):
    """A pair of datasets.

    Args:
        title: What is learned from what.
        overrides: The comparison's options.
    """

    title: str
    overrides: Sequence[str]


def x_rays(*more: str) -> list[str]:
    """Return ImageNet's weights against chest X-rays."""
    return [
        *("dataset@source=pretrained", f"source.weights={WEIGHTS}", "backbone=mobilenet_v2"),
        *("dataset@target=npz", "target.root=${data_root}/pneumoniamnist.npz", "target.labels=[normal,pneumonia]"),
        *("target.domain=x-rays", "selection.metric=auroc", "target.image_size=65", "steps=150", *BY_RULE, *more),
    ]


def street(source: str, target: str) -> list[str]:
    """Return the two tasks on the same street scenes."""
    names = "[sky,building,pole,road,pavement,tree,sign,fence,car,pedestrian,bicyclist]"
    of = {
        "label_maps": ["task=street"],
        "label_map_boxes": ["boxes=[car,pedestrian,bicyclist]", "task=traffic"],
    }
    lines = [f"dataset@source={source}", f"dataset@target={target}"]
    for role, name in (("source", source), ("target", target)):
        options = ["root=${data_root}/camvid", f"labels={names}", "ignore=[11]", "image_size=[90,120]", *of[name]]
        lines += [f"{role}.{option}" for option in (*options, "domain=street-camera")]
    return [*lines, "datamodule.batch_size=8", "steps=400", *BY_RULE]


PAIRS = {
    "digits": Pair(
        "MNIST's digits to 100 labelled ones of USPS",
        ["dataset@source=mnist", "dataset@target=usps", "source.train_size=5000", "target.labelled=100", "steps=300"],
    ),
    "texts": Pair(
        "Moderation of posts to 200 labelled messages, spam or not",
        [
            *("dataset@source=texts", "source.root=${data_root}/moderation/labeled_data.csv", "source.text=tweet"),
            *("source.labels={0: hate, 1: offensive, 2: neither}", "source.label=class"),
            *("source.task=moderation", "source.domain=posts", "source.train_size=5000", "source.val_size=500"),
            *("dataset@target=texts", "target.root=${data_root}/sms_spam/SMSSpamCollection", "target.text=1"),
            *("target.label=0", 'target.separator="\\t"', "target.header=false", "target.quotes=false"),
            *("target.positive=spam", "target.duplicates=allow", "target.task=spam", "target.domain=messages"),
            *("target.labelled=200", "selection.metric=macro_f1", "backbone=bag", "steps=300"),
        ],
    ),
    "x_rays_50": Pair("ImageNet's weights to 50 labelled chest X-rays", x_rays("target.labelled=50")),
    "x_rays_200": Pair("ImageNet's weights to 200 labelled chest X-rays", x_rays("target.labelled=200")),
    "x_rays": Pair("ImageNet's weights to all labelled chest X-rays", x_rays()),
    "street_boxes": Pair(
        "Segmentation of the street to boxes of who is on it", street("label_maps", "label_map_boxes")
    ),
    "street": Pair("Boxes of who is on the street to its segmentation", street("label_map_boxes", "label_maps")),
}


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the public data")
    parser.add_argument("--runs", type=Path, default=Path("outputs/pairs"), help="folder of the runs")
    parser.add_argument("--only", nargs="+", default=list(PAIRS), choices=list(PAIRS), help="some pairs")
    given = parser.parse_args()
    for name in given.only:
        found = compare(PAIRS[name], given.runs.resolve(), given.data_root.resolve())
        record = json.loads(JSON.read_text()) if JSON.exists() else {}
        record[name] = found
        JSON.write_text(json.dumps({one: record[one] for one in PAIRS if one in record}, indent=1) + "\n")
        PAGE.write_text(page(record))
        print(f"{name}: {found['headline']}", flush=True)


def compare(pair: Pair, folder: Path, data_root: Path) -> dict[str, Any]:
    """Run a pair's comparison and return what it says.

    Args:
        pair: The pair.
        folder: The folder that all pairs are run in, so that advice on one is judged by those before it.
        data_root: Folder of the public data.
    """
    folder.mkdir(parents=True, exist_ok=True)
    call = [sys.executable, str(ROOT / "compare.py"), *pair.overrides, f"data_root={data_root}", *FIXED]
    call.append("compare.advise=true")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(call, cwd=folder, env=environment, check=True)
    place = max(folder.glob("comparisons/*/comparison.json"), key=lambda path: path.stat().st_mtime).parent
    setting, _ = compared(place, read_comparison(place))
    advice = place / "advice.json"
    said = json.loads(advice.read_text()) if advice.exists() else None
    found = {"overrides": list(pair.overrides), "advice": said, **told(answer(setting))}
    kept: dict[str, Any] = json.loads(json.dumps(found).replace(str(data_root), DATA))
    return kept


def told(found: Answer) -> dict[str, Any]:
    """Return what a comparison says as plain values."""
    return {
        "metric": found.setting.metric,
        "recommended": found.best,
        "headline": headline(found),
        "lasting": lasting(found),
        "warnings": found.warnings,
        "rows": [row_of(row) for row in found.rows],
    }


def row_of(row: Row) -> dict[str, Any]:
    """Return what is said of an arm as plain values."""
    gain, cost = row.on_test, row.cost
    return {
        "arm": row.arm.name,
        "seeds": len(row.arm.runs),
        "rate": row.arm.one.results["lr"],
        "val": row.val,
        "test": row.test,
        "gain": None if gain is None else [gain.mean, gain.low, gain.high],
        "p": row.corrected if row.verdict else None,
        "verdict": row.verdict or row.role,
        "cost": None if cost is None else cost._asdict(),
    }


def page(record: Mapping[str, Any]) -> str:
    """Return the page of figures."""
    lines = [
        "# Real pairs",
        "",
        "Made by `python -m benchmarks.pairs --data-root <folder>`; not written by hand. Five seeds each, gains on the",
        "test set against `scratch` on the same budget, 95 % intervals of paired differences, verdicts by Holm's",
        "correction. The recommended arm, in bold, is chosen on validation.",
        "",
    ]
    for name, pair in PAIRS.items():
        if name not in record:
            continue
        found = record[name]
        lines += [f"## {pair.title}", "", str(found["headline"]), ""]
        lines += [str(found["lasting"]), ""] if found["lasting"] else []
        lines += [f"**{one}**" for one in found["warnings"]]
        advice = found["advice"]
        if advice:
            lines += [f"The advisor had said: {', '.join(advice['order'])}.", ""]
        lines += [
            f"| arm | {found['metric']} | gain | 95 % interval | verdict | seeds | lr | labels | samples | FLOP |",
            "|" + "---|" * 10,
        ]
        lines += [_line(row, row["arm"] == found["recommended"]) for row in found["rows"]]
        lines.append("")
    return "\n".join(lines)


def _line(row: Mapping[str, Any], bold: bool) -> str:
    gain, cost = row["gain"], row["cost"]
    shown = [f"{gain[0]:+.4f}", f"{gain[1]:+.4f} to {gain[2]:+.4f}"] if gain else ["", ""]
    samples = f"{cost['target']:,.0f} + {cost['source']:,.0f}"
    name = f"**{row['arm']}**" if bold else row["arm"]
    figures = [str(row["seeds"]), f"{row['rate']:g}", f"{cost['labelled']:.0f}", samples, f"{cost['flops']:.1e}"]
    cells = [name, f"{row['test']:.4f}", *shown, row["verdict"], *figures]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
