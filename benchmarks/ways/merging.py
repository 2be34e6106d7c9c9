"""Naive against masked merging: `python -m benchmarks.ways.merging --data-root <folder>`.

One detection set (BCCD) and one segmentation set (CamVid) are each cut into two halves of other pictures, of which each
annotates only some of the names; a cell dataset_merging learns both. Naive merging takes what a half does not annotate
for absent (`absent=negative`), masked merging does not judge it (`absent=unknown`). Both are told on the test pictures
with all names annotated, which no run has seen. Finished runs are in `docs/ways/merging.json` and are not repeated, so
that the command can be stopped at any time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

from benchmarks.article.runs import ROOT, composed
from datamodules.pair import fetch
from datamodules.readers.label_maps import LabelMaps
from datamodules.readers.published import PublishedData
from datamodules.readers.voc import VocBoxes
from tl_modules.module import TransferModule
from tl_run.folder import finite
from tl_run.report.statistics import paired

RECORD = ROOT / "docs" / "ways" / "merging.json"
ARMS = {"naive": "negative", "masked": "unknown"}
HALVES = ("target", "source")
SPLITS = ("train", "val", "test")
BACKGROUND = "background"
SIZE = (48, 64)
SIZES = tuple(f"{role}.image_size=[{SIZE[0]},{SIZE[1]}]" for role in HALVES)
STREET = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]
COMMON = (
    "cell=dataset_merging",
    "datamodule.batch_size=8",
    "trainer.validations=1",
    "trainer.progress=false",
    "trainer.accelerator=cpu",
    "precision=32",
    *(f"{role}.duplicates=allow" for role in HALVES),  # every picture is in one split of one half
)


class Case(NamedTuple):
    """A set whose halves are merged.

    Args:
        options: What all runs on it have.
        names: The names that each half annotates.
        metric: What is compared.
    """

    options: tuple[str, ...]
    names: Mapping[str, Sequence[str]]
    metric: str


CASES = {
    "BCCD": Case(
        ("dataset@source=voc", "dataset@target=voc", "steps=120", *SIZES),
        {"target": ("RBC", "Platelets"), "source": ("WBC",)},
        "map50",
    ),
    "CamVid": Case(
        (
            *("dataset@source=label_maps", "dataset@target=label_maps", "steps=120", *SIZES),
            *(f"{role}.ignore=[11]" for role in HALVES),
        ),
        {"target": STREET[::2], "source": STREET[1::2]},
        "miou_foreground",
    ),
}


def halves_of_boxes(root: Path, folder: Path) -> None:
    """Make two folders in the layout of Pascal VOC, with every second picture of each split."""
    for half, role in enumerate(HALVES):
        lists = folder / role / "ImageSets" / "Main"
        lists.mkdir(parents=True)
        for name in ("JPEGImages", "Annotations"):
            (folder / role / name).symlink_to(root / name, target_is_directory=True)
        for split in SPLITS:
            names = (root / "ImageSets" / "Main" / f"{split}.txt").read_text().split()
            (lists / f"{split}.txt").write_text("\n".join(names[half::2]) + "\n")


def halves_of_maps(root: Path, folder: Path) -> None:
    """Make two folders of pictures and label maps, with every second picture of each split."""
    for half, role in enumerate(HALVES):
        for split in SPLITS:
            pairs = zip(*(sorted((root / name).iterdir()) for name in (split, f"{split}annot")), strict=True)
            for picture, labels in list(pairs)[half::2]:
                for name, file in ((split, picture), (f"{split}annot", labels)):
                    place = folder / role / name
                    place.mkdir(parents=True, exist_ok=True)
                    (place / file.name).symlink_to(file)


def maps_of(case: str) -> dict[str, str]:
    """Return the labels of each half as an option says them: what the other half has is background, or has no box."""
    found = {}
    for role, own in CASES[case].names.items():
        other = [name for half, names in CASES[case].names.items() if half != role for name in names]
        if case == "BCCD":
            pairs = [f"{name}: null" for name in other]
        else:
            pairs = [f"{name}: {name if name in own else BACKGROUND}" for name in STREET]
        found[role] = f"{role}.labels={{{', '.join(pairs)}}}"
    return found


def options_of(case: str, arm: str, seed: int, folder: Path) -> list[str]:
    """Return the options of a run, as they would stand on the command line of `train.py`."""
    roles = [line for role in HALVES for line in (f"{role}.root={folder / role}", f"{role}.absent={ARMS[arm]}")]
    return [*COMMON, *CASES[case].options, *maps_of(case).values(), *roles, f"seed={seed}"]


def whole(case: str, root: Path) -> PublishedData:
    """Return all pictures of a set with all names annotated, set up."""
    data: PublishedData
    if case == "BCCD":
        data = VocBoxes(str(root), image_size=SIZE)
    else:
        data = LabelMaps(str(root), STREET, ignore=[11], image_size=SIZE)
    data.setup()
    return data


@torch.no_grad()
def over_all_names(module: TransferModule, data: PublishedData) -> dict[str, float]:
    """Return the metrics of a merged module on test pictures with all names annotated.

    Args:
        module: The trained module.
        data: The pictures, set up.
    """
    module.eval()
    task, head, names = data.task, module.head("target"), list(module.task_of("union").labels)
    assert task is not None
    columns = torch.tensor([names.index(name) for name in task.labels])
    metrics: Any = head.metrics(names)
    count = len(data.test_dataset)  # type: ignore[arg-type]
    for start in range(0, count, 16):
        batch = fetch(data.test_dataset, range(start, min(start + 16, count)), task)
        outputs = module.outputs(module.features(batch), "union")
        true = head.targets(head.to_union(batch, task.key, columns, len(names)))
        metrics.update(head.predict(outputs), true)
    return {name: float(value) for name, value in metrics.compute().items()}


def run(case: str, arm: str, seed: int, data: PublishedData, halves: Path, folder: Path) -> dict[str, Any]:
    """Train, and return what goes on the record."""
    from tl_run.predicting import load
    from tl_run.runner import execute

    given = options_of(case, arm, seed, halves)
    config = composed(given, halves)
    execute(config, folder)
    results = json.loads((folder / "results.json").read_text())
    return {
        "case": case,
        "arm": arm,
        "seed": seed,
        "options": [line.replace(f"{halves}/", "<halves>/") for line in given],
        "all_names": over_all_names(load(folder, None), data),
        "test": results["test"],
        "absent": results["absent"],
        "labelled": {role: results[role]["labelled"] for role in HALVES},
        "flops": results["flops"],
        "seconds": results["seconds"],
        "machine": results["machine"],
    }


def answers(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return masked minus naive merging by set, on the test pictures with all names annotated, paired by seed."""
    made = {}
    for case, one in CASES.items():
        by_arm = {
            arm: {r["seed"]: r["all_names"][one.metric] for r in runs if (r["case"], r["arm"]) == (case, arm)}
            for arm in ARMS
        }
        if not all(by_arm.values()):
            continue
        found = paired(by_arm["masked"], by_arm["naive"])
        made[case] = {
            "metric": one.metric,
            "mean": {arm: statistics.fmean(values.values()) for arm, values in by_arm.items()},
            "masked_minus_naive": {
                "mean": found.mean,
                "low": finite(found.low),
                "high": finite(found.high),
                "seeds": found.count,
            },
        }
    return made


def main() -> None:
    """Run what is not on the record yet, and write it after each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="folder that holds BCCD and camvid")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    runs = json.loads(RECORD.read_text())["runs"] if RECORD.is_file() else []
    known = {(one["case"], one["arm"], one["seed"]) for one in runs}
    places = {"BCCD": given.data_root.resolve() / "BCCD", "CamVid": given.data_root.resolve() / "camvid"}
    with TemporaryDirectory() as place:
        halves = {case: Path(place) / case for case in CASES}
        halves_of_boxes(places["BCCD"], halves["BCCD"])
        halves_of_maps(places["CamVid"], halves["CamVid"])
        data = {case: whole(case, root) for case, root in places.items()}
        for seed, case, arm in ((s, c, a) for s in range(given.seeds) for c in CASES for a in ARMS):
            if (case, arm, seed) in known:
                continue
            runs.append(run(case, arm, seed, data[case], halves[case], Path(place) / f"{case}_{arm}_{seed}"))
            RECORD.parent.mkdir(parents=True, exist_ok=True)
            RECORD.write_text(json.dumps({"answers": answers(runs), "runs": runs}, indent=1) + "\n")
            print(case, arm, seed, runs[-1]["all_names"], flush=True)


if __name__ == "__main__":
    main()
