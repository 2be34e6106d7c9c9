"""Two sets of boxes with disjoint names, from the command line to `predict.py` and the report."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from PIL import Image

from tl_modules.heads.detection import SHOWN
from tl_run import predict_cli, report_cli
from tl_run.cli import checked
from tl_run.paths import CONF, CONFIG_NAME
from tl_run.runner import execute

COLOURS = {"ruby": (220, 20, 30), "leaf": (20, 200, 60)}
SIDE = 48


def drawn(folder: Path, name: str, count: int, seed: int) -> dict[str, Any]:
    """Draw pictures of one object each, and return COCO's JSON of them under the name `old <name>`."""
    folder.mkdir(parents=True)
    rng = np.random.RandomState(seed)
    images, notes = [], []
    for i in range(count):
        x, y, width, height = *rng.randint(2, 26, 2), *rng.randint(14, 20, 2)
        pixels = rng.randint(90, 140, (SIDE, SIDE, 3))
        pixels[y : y + height, x : x + width] = COLOURS[name]
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{name}{i}.png")
        images.append({"id": i, "file_name": f"{name}{i}.png", "width": SIDE, "height": SIDE})
        notes.append({"image_id": i, "category_id": 1, "bbox": [int(x), int(y), int(width), int(height)]})
    return {"images": images, "annotations": notes, "categories": [{"id": 1, "name": f"old {name}"}]}


def overlap(one: list[float], other: list[float]) -> float:
    """Return the intersection over union of two boxes."""
    width, height = (min(one[i + 2], other[i + 2]) - max(one[i], other[i]) for i in (0, 1))
    both = max(0.0, width) * max(0.0, height)
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return both / (area - both)


def test_unseen_pictures_of_either_set_are_named_rightly(tmp_path: Path) -> None:
    options = []
    for seed, (role, name) in enumerate((("source", "ruby"), ("target", "leaf"))):
        root = tmp_path / role
        (root / "x").mkdir(parents=True)
        (root / "train.json").write_text(json.dumps(drawn(root / "train", name, 40, seed)))
        options += [f"dataset@{role}=coco", f"{role}.root={root}", f"{role}.annotations={{train: train.json}}"]
        options += [f"{role}.image_size={SIDE}", f"{role}.labels={{old {name}: {name}}}"]
    options += ["cell=dataset_merging", "steps=60", "datamodule.batch_size=8", "cell.lr=0.005"]
    options += ["trainer.progress=false", "trainer.validations=1", "trainer.accelerator=cpu"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = checked(compose(CONFIG_NAME, options))
    run = tmp_path / "runs" / "merged"
    execute(config, run)

    new, truths = tmp_path / "new", {}
    for name in COLOURS:
        made = drawn(new / name, name, 8, 100)
        truths |= {
            str(new / name / image["file_name"]): (name, note["bbox"])
            for image, note in zip(made["images"], made["annotations"], strict=True)
        }
    predict_cli.main([f"run={run}", f"input={new}", "draw=0"])
    found = {row["input"]: row["boxes"] for row in json.loads((run / "predictions" / "predictions.json").read_text())}
    assert found.keys() == truths.keys()
    for picture, (name, (x, y, width, height)) in truths.items():
        best = max(found[picture], key=lambda box: box["score"])
        assert best["label"] == name and overlap(best["box"], [x, y, x + width, y + height]) > 0.5
        wrong = [box["score"] for box in found[picture] if box["label"] != name]
        assert max(wrong, default=0) < SHOWN < best["score"]

    results = json.loads((run / "results.json").read_text())
    assert results["absent"] == {"source": "unknown", "target": "unknown"} and results["target"]["labels"] == ["leaf"]
    assert results["test"]["union/map50"] > 0.9 and results["test"]["target/map50"] > 0.9
    with (run / "test_union.csv").open(newline="") as file:
        table = {(row["dataset"], row["true"]): row for row in csv.DictReader(file)}
    assert int(table["source", "ruby"]["leaf"]) == int(table["target", "leaf"]["ruby"]) == 0
    assert int(table["source", "ruby"]["ruby"]) >= 7 and int(table["target", "leaf"]["leaf"]) >= 7
    assert (run / "confusion_union.png").stat().st_size > 0
    report_cli.main([str(tmp_path / "runs"), "draw=false"])
    assert "Confusion across datasets" in (tmp_path / "runs" / "report.html").read_text()
