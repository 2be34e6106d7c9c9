"""`train.py` as a user runs it: in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

TRAIN = [sys.executable, str(Path(__file__).resolve().parents[2] / "train.py")]
TINY = [
    "steps=12",
    "source.train_size=24",
    "source.image_size=32",
    "target.train_size=24",
    "target.image_size=32",
    "datamodule.batch_size=8",
    "trainer.accelerator=cpu",
]


def train(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*TRAIN, *arguments], cwd=folder, capture_output=True, text=True, timeout=300)


def test_a_sweep_over_cells_and_one_wrong_line_before_it(tmp_path: Path):
    done = train("-m", "cell=scratch,parallel_training", "seed=1", *TINY, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    found = {one["cell"]: one for one in (json.loads(p.read_text()) for p in tmp_path.rglob("results.json"))}
    assert set(found) == {"scratch", "parallel_training"}
    shared = {key: value for key, value in found["scratch"]["test"].items() if key.startswith("target/")}
    assert shared and all(found["parallel_training"]["test"][key] == value for key, value in shared.items())
    assert "step 12/12" in done.stderr, "long work shows progress"
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr

    wrong = train("-m", "cell=scratch", "seed=1,-2", *TINY, folder=tmp_path)
    assert wrong.returncode == 2
    assert wrong.stderr.strip() == "seed=-2: must be at least 0"


def test_help_shows_the_choices_and_a_sweep_over_processes_is_refused(tmp_path: Path):
    done = train("--help", folder=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    assert all(word in done.stdout for word in ("multitask", "dataset@source=", "resume=", "coral", "--config-dir"))
    done = train("cell=multitask", "--help", folder=tmp_path)
    assert done.returncode == 0 and "weight_decay: 0.0001" in done.stdout
    done = train("-m", "cell=multitask", "trainer.devices=2", folder=tmp_path)
    said = "trainer.devices=2: a run of a sweep has one device; start it by itself, or on SLURM\n"
    assert (done.returncode, done.stderr) == (2, said)
    done = train("--config-dir", "nowhere", "cell=multitask", folder=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1) and "must be a folder" in done.stderr
    assert not list(tmp_path.iterdir())


def test_auto_is_the_cell_that_fits_in_the_folders_name_too(tmp_path: Path):
    done = train("cell=auto", "order=simultaneous", *TINY, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["dataset_merging"]


def test_the_progress_line_counts_passes_of_the_role_it_watches(tmp_path: Path):
    sizes = ["source.train_size=48", "target.train_size=8", "cell.source_share=0.5"]
    tiny = [line for line in TINY if "train_size" not in line]
    done = train("cell=task_finetuning", *sizes, *tiny, "trainer.validations=1", folder=tmp_path)
    assert "source  epoch 1.0  step 6/6" in done.stderr and "target  epoch 6.0  step 6/6" in done.stderr


def test_two_processes_train_the_same_model(tmp_path: Path):
    done = train("cell=multitask", "trainer.devices=2", "hydra.run.dir=two", *TINY, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "two" / "results.json").read_text())
    assert results["stages"][0]["steps"] == 12
    assert results["stages"][0]["samples"] == {"source": 12 * 16, "target": 12 * 16}  # of both processes
    assert results["flops"] > 0 and results["machine"]["processes"] == 2
    assert len(list(tmp_path.rglob("results.json"))) == 1


@pytest.mark.proof
def test_two_processes_train_boxes_on_a_network_with_layers_behind_its_maps(tmp_path: Path):
    boxes = ["dataset@target=scenes/textured_detect", "backbone=mobilenet_v3_small"]
    done = train("cell=scratch", *boxes, "trainer.devices=2", "hydra.run.dir=two", *TINY, "steps=4", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "target/map50" in json.loads((tmp_path / "two" / "results.json").read_text())["test"]


def test_a_run_killed_for_real_goes_on_to_the_same_weights(tmp_path: Path):
    options = ["cell=task_adaptation", "precision=32", *TINY, "steps=60", "trainer.validations=12", "store.gigabytes=0"]
    assert train(*options, "hydra.run.dir=straight", folder=tmp_path).returncode == 0
    process = subprocess.Popen([*TRAIN, *options, "hydra.run.dir=killed"], cwd=tmp_path, stderr=subprocess.DEVNULL)
    while not list(tmp_path.glob("killed/checkpoints/source/step-*")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "results.json").exists()
    resumed = train("resume=killed", folder=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    for stage in ("source", "target"):
        paths = [tmp_path / name / "checkpoints" / stage / "last.ckpt" for name in ("straight", "killed")]
        states = [torch.load(path, weights_only=True)["state_dict"] for path in paths]
        assert all(torch.equal(value, states[1][key]) for key, value in states[0].items()), stage
    tests = [json.loads((tmp_path / name / "results.json").read_text())["test"] for name in ("straight", "killed")]
    assert tests[0] == tests[1]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["cell=multitask", "source_checkpoint=nowhere"], "source_checkpoint=nowhere: has no effect in multitask"),
        (["cell=domain_adaptation", "dataset@source=scenes/plain_count"], "domain_adaptation"),
        (["cell=task_finetuning", "resume=nowhere"], "resume=nowhere: must be the folder of a run"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(arguments: list[str], line: str, tmp_path: Path):
    done = train(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert line in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
