"""A run that starts from another's weights is not tested on what those were trained on."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from tl_run import lineage as earlier
from tl_run.build import build_data
from tl_run.cli import checked
from tl_run.errors import RunError
from tl_run.paths import CONF
from tl_run.runner import execute

TINY = ["steps=2", "trainer.validations=1", "trainer.progress=false", "datamodule.batch_size=4", "precision=32"]


def config(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return checked(compose("train", [*TINY, *overrides]))


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A finished run on forty pictures, and its folder of pictures."""
    folder = tmp_path_factory.mktemp("first")
    rng = np.random.default_rng(0)
    for label in ("ant", "bee"):
        (folder / "data" / label).mkdir(parents=True)
        for i in range(20):
            Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(
                folder / "data" / label / f"{i}.png"
            )
    options = ["dataset@target=image_folder", f"target.root={folder / 'data'}", "target.image_size=16"]
    execute(config("cell=scratch", *options), folder / "run")
    return folder, options


def copied(folder, tmp_path, names):
    """Return a folder with some of the pictures under other names."""
    for i, name in enumerate(names):
        place = tmp_path / "copy" / name.split("/")[0] / f"copy{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "data" / name, place)
    return ["dataset@target=image_folder", f"target.root={tmp_path / 'copy'}", "target.image_size=16"]


@pytest.mark.slow
def test_what_an_earlier_run_was_trained_on_is_not_tested(first, tmp_path):
    folder, _ = first
    trained = json.loads((folder / "run" / "splits.json").read_text())["target"]["train"]["ids"]
    options = copied(folder, tmp_path, trained)
    weights = f"backbone.weights={folder / 'run'}"
    with pytest.raises(RunError, match=r"backbone\.weights=.*was trained on samples that are tested or chosen by here"):
        execute(config("cell=finetune", weights, *options), tmp_path / "run")
    execute(config("cell=finetune", weights, "datamodule.overlap=allow", *options), tmp_path / "allowed")
    results = json.loads((tmp_path / "allowed" / "results.json").read_text())
    tested = results["target"]["test_size"] + results["target"]["val_size"]
    assert results["overlap"]["earlier"] == {"backbone.weights": {"target/train": tested}}


def test_the_same_data_with_the_same_seed_are_in_order(first):
    folder, options = first
    given = config("cell=finetune", f"backbone.weights={folder / 'run'}", *options)
    data = build_data(given)
    data.setup()
    assert earlier.compare(given, data) == {"backbone.weights": {}}


def test_only_this_projects_classes_are_made_from_a_recorded_configuration(first, tmp_path):
    folder, options = first
    shutil.copytree(folder / "run", tmp_path / "run")
    path = tmp_path / "run" / "journal.json"
    path.write_text(path.read_text().replace("datamodules.readers.image_folder.ImageFolder", "os.system"))
    given = config("cell=finetune", f"backbone.weights={tmp_path / 'run'}", *options)
    data = build_data(given)
    data.setup()
    assert earlier.compare(given, data) == {"backbone.weights": None}


@pytest.mark.slow
def test_an_earlier_source_tells_no_labels_of_data_that_were_not_read(first, tmp_path):
    folder, options = first
    source = [option.replace("target", "source") for option in options]
    mine = copied(folder, tmp_path, json.loads((folder / "run" / "splits.json").read_text())["target"]["test"]["ids"])
    given = config(
        "cell=task_finetuning", f"source_checkpoint={folder / 'run'}", *source, *mine, "datamodule.overlap=allow"
    )
    execute(given, tmp_path / "run")
    told = json.loads((tmp_path / "run" / "results.json").read_text())["source"]
    assert told["checkpoint"] == str(folder / "run")
    assert "labelled" not in told


@pytest.mark.slow
def test_groups_of_what_an_earlier_run_was_trained_on_are_not_tested(first, tmp_path):
    folder, options = first
    rng = np.random.default_rng(1)
    for path in (folder / "data").rglob("*.png"):  # another picture of the same thing
        place = tmp_path / "data" / path.parent.name / f"{path.stem}-b.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(place)
    grouped = "target.group_by='(ant/[0-9]+|bee/[0-9]+)'"
    execute(config("cell=scratch", *options, grouped, "target.fold=1/4"), tmp_path / "first")
    told = json.loads((tmp_path / "first" / "results.json").read_text())["target"]
    assert told["fold"] == "1/4" and told["groups"]["count"] == 40 and told["test_size"] == told["groups"]["test"] == 10
    others = ["dataset@target=image_folder", f"target.root={tmp_path / 'data'}", "target.image_size=16"]
    weights = f"backbone.weights={tmp_path / 'first'}"
    said = r"in its target's train share a group with the target's test \(\w+/\d+.png, as \w+/\d+-b.png\)"
    with pytest.raises(RunError, match=said):
        execute(config("cell=finetune", weights, *others, grouped, "target.fold=2/4"), tmp_path / "second")
    execute(config("cell=finetune", weights, *others, "target.fold=2/4"), tmp_path / "third")  # as without groups
