"""`check_data=true`, and what a run writes of its data."""

from __future__ import annotations

import json
import runpy
import shlex
import sys

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from PIL import Image

from tests.tl_run.mistakes import PAGE

ROOT = PAGE.parents[1]


@pytest.fixture
def insects(tmp_path, monkeypatch):
    """Two folders of pictures; one picture of the target's cannot be read."""
    rng = np.random.RandomState(0)
    for role in ("target", "source"):
        for label in ("ant", "bee"):
            (tmp_path / role / label).mkdir(parents=True)
            for i in range(55):
                Image.fromarray(rng.randint(0, 255, (32, 32, 3)).astype(np.uint8)).save(
                    tmp_path / role / label / f"{i}.png"
                )
    (tmp_path / "target" / "bee" / "4.png").write_bytes(b"nothing")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(command, monkeypatch, capfd):
    """Run `train.py` in this process; return its exit code and what it said."""
    monkeypatch.setattr(sys, "argv", ["train.py", *shlex.split(command)])
    code = 0
    try:
        runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
    except SystemExit as left:
        code = left.code
    finally:
        GlobalHydra.instance().clear()
    said = capfd.readouterr()
    return code, said.out.splitlines(), said.err.strip().splitlines()


PAIR = (
    "cell=task_finetuning dataset@source=image_folder source.root=source dataset@target=image_folder "
    "target.root=target target.image_size=32 source.image_size=32 check_data=true hydra.run.dir=run"
)


def test_a_run_that_would_start_is_told_from_one_that_would_not(insects, monkeypatch, capfd):
    code, said, wrong = call(PAIR, monkeypatch, capfd)
    assert (code, wrong) == (0, [])
    assert "target: 110 pictures" in said and "source: 110 pictures" in said
    assert "target: samples by class: ant 55, bee 54" in said
    (line,) = [line for line in said if "unreadable" in line]
    assert line.startswith("target: root=target: 1 of 110 pictures unreadable, left out: target/bee/4.png: cannot")
    assert said[-1] == f"a run would start; all that was found is in {insects / 'run' / 'data_report.json'}"
    assert {path.name for path in (insects / "run").iterdir()} <= {"data_report.json", ".hydra", "train.log"}
    report = json.loads((insects / "run" / "data_report.json").read_text())
    assert report["would_start"] and report["wrong"] == []
    assert report["roles"]["target"]["left_out"] == {"pictures": 1} and report["roles"]["source"]["left_out"] == {}

    for role in ("source", "target"):
        (insects / role / "ant" / "1.png").write_bytes(b"nothing")
    code, said, wrong = call(f"{PAIR} max_invalid=0", monkeypatch, capfd)
    assert code == 2 and [line.partition(": ")[0] for line in wrong] == ["target.root=target", "source.root=source"]
    assert said[-1].startswith("a run would not start;")
    report = json.loads((insects / "run" / "data_report.json").read_text())
    assert not report["would_start"] and report["wrong"] == wrong


def test_what_the_data_are_not_to_blame_for_is_said_too(insects, monkeypatch, capfd):
    code, _, wrong = call(f"{PAIR} target.train_size=500", monkeypatch, capfd)
    assert code == 2 and wrong == ["target.train_size=500: must be at most 70, the training samples beside val"]
    code, _, wrong = call(f"{PAIR} selection.metric=f1", monkeypatch, capfd)
    assert code == 2 and wrong[0].startswith("selection.metric=f1: not measured for this target; allowed: ")


def test_generated_samples_are_said_not_to_be_read(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    options = "cell=scratch check_data=true target.train_size=16 target.val_size=8 hydra.run.dir=run"
    code, said, _ = call(options, monkeypatch, capfd)
    assert code == 0 and "target: its samples are not read from files by a reader of ours; nothing is looked at" in said
    assert json.loads((tmp_path / "run" / "data_report.json").read_text())["roles"] == {"target": {"examined": False}}


@pytest.mark.slow
def test_a_run_says_what_is_left_out_and_trains_on_the_rest(insects, monkeypatch, capfd):
    options = "cell=scratch dataset@target=image_folder target.root=target target.image_size=32 steps=2"
    options += " trainer.validations=1 trainer.progress=false hydra.run.dir=run seed="
    used = []
    for seed in (0, 1):
        code, said, wrong = call(f"{options}{seed}", monkeypatch, capfd)
        assert (code, wrong) == (0, [])
        assert any("1 of 110 pictures unreadable, left out" in line for line in said)
        report = json.loads((insects / "run" / "data_report.json").read_text())
        assert report["roles"]["target"]["counts"] == {"unreadable": {"pictures": 1}}
        splits = json.loads((insects / "run" / "splits.json").read_text())["target"]
        used.append({name for split in splits.values() for name in split["ids"]})
        (insects / "run").rename(insects / f"run{seed}")
    assert used[0] == used[1] and len(used[0]) == 109 and "bee/4.png" not in used[0]
