"""A comparison by command: its answer, its going on, a failing arm, and an arm by its file alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    *("steps=8", "trainer.validations=2", "datamodule.batch_size=8", "compare.seeds=2", "compare.rates=[0.003,0.01]"),
    *(f"{role}.{size}" for role in ("source", "target") for size in ("train_size=24", "val_size=16")),
]


def start(folder: Path, *given: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    call = [sys.executable, str(ROOT / "compare.py"), *given]
    pipe = subprocess.PIPE
    return subprocess.Popen(call, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


def compare(folder: Path, *given: str) -> tuple[int, str, str]:
    process = start(folder, *given)
    out, err = process.communicate(timeout=900)
    return process.returncode, out, err


def record(folder: Path) -> dict:
    return json.loads(next(folder.glob("comparisons/*/comparison.json")).read_text())


def complete(folder: Path) -> list[Path]:
    journals = folder.glob("outputs/*/*/journal.json")
    return [path.parent / "results.json" for path in journals if json.loads(path.read_text())["status"] == "complete"]


def test_killed_it_goes_on_and_ends_with_an_answer_and_again_nothing_is_run(tmp_path):
    asked = [*TINY, "compare.arms=[parallel_training]"]
    process = start(tmp_path, *asked)
    while process.poll() is None and not complete(tmp_path):
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 143, err
    before = {path: path.stat().st_mtime_ns for path in complete(tmp_path)}
    assert before
    code, _, err = compare(tmp_path, *asked)
    assert code == 0, err
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())
    found = record(tmp_path)
    assert [arm["name"] for arm in found["arms"]] == ["scratch", "parallel_training"]
    assert {(run["arm"], run["seed"], run["status"]) for run in found["runs"]} == {
        (arm, seed, "complete") for arm in ("scratch", "parallel_training") for seed in (0, 1)
    }
    assert all(len(arm["rates_tried"]) in (2, 3) and arm["rate"] for arm in found["arms"])
    place = next(tmp_path.glob("comparisons/*"))
    by_arm = {
        (run["arm"], run["seed"]): json.loads((place / run["folder"] / "results.json").read_text())["test"]
        for run in found["runs"]
    }
    for seed in (0, 1):  # the null control
        key = "target/accuracy"
        assert by_arm["scratch", seed][key] == by_arm["parallel_training", seed][key]
    assert (place / "report.html").exists()
    code, out, _ = compare(tmp_path, *asked)
    assert code == 0
    assert "chosen by" in out
    assert not [line for line in out.splitlines() if ": val/target/accuracy" in line]  # no run was started


def test_a_failing_arm_is_named_and_one_of_ones_own_is_found_by_its_file_and_ranked(tmp_path):
    arms = tmp_path / "own" / "arm"
    arms.mkdir(parents=True)
    (arms / "steep.yaml").write_text(
        "says: steep\nneeds: {}\noverrides: [cell=scratch, backbone.weights=null, cell.clip=null]\n"
    )
    (arms / "wild.yaml").write_text(
        "says: wild\nneeds: {}\noverrides: [cell=scratch, cell.weight_decay=1e30, cell.clip=null]\n"
    )
    asked = ["--config-dir", "own", *TINY, "compare.rates=[]", "compare.arms=[steep,wild]", "advise=true"]
    code, out, err = compare(tmp_path, *asked)
    assert code == 1, err  # the others have finished, and the report is made
    assert out.index("no track record") < out.index("scratch seed 0")  # before anything is trained
    assert out.splitlines()[-1].startswith("Foretold: ")
    place = next(tmp_path.glob("comparisons/*"))
    assert json.loads((place / "advice.json").read_text())["order"] == ["steep", "wild", "scratch"]
    assert "Foretold" in (place / "report.html").read_text()
    assert "arm wild failed in wild seed 0: " in err
    statuses = {(run["arm"], run["status"]) for run in record(tmp_path)["runs"]}
    assert {("steep", "complete"), ("scratch", "complete"), ("wild", "diverged")} <= statuses


def test_a_wrong_option_is_answered_before_anything_is_run(tmp_path):
    code, _, err = compare(tmp_path, *TINY, "compare.arms=[multitsk]")
    assert code == 2
    assert err.splitlines()[-1].startswith("compare.arms=multitsk: did you mean multitask?")
    code, _, err = compare(tmp_path, *TINY, "target.labelled=8,16")
    assert code == 2
    assert err.splitlines()[-1].startswith("target.labelled=8,16: a comparison has one value of it")
    assert not list(tmp_path.glob("outputs/*"))


def test_side_by_side_by_joblib_the_runs_are_those_of_one_after_the_other(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="the extra joblib is not installed")
    arms = tmp_path / "own" / "arm"
    arms.mkdir(parents=True)
    (arms / "wild.yaml").write_text(
        "says: wild\nneeds: {}\noverrides: [cell=scratch, cell.weight_decay=1e30, cell.clip=null]\n"
    )
    found = {}
    for launcher in ([], ["hydra/launcher=joblib_cores"]):
        place = tmp_path / f"runs{len(launcher)}"
        place.mkdir()
        asked = [*TINY, "compare.rates=[]", "compare.arms=[task_finetuning,wild]", *launcher]
        code, out, err = compare(place, "--config-dir", str(arms.parent), *asked)
        assert code == 1, err  # one arm has failed
        assert "arm wild failed in wild seed 0: " in err
        assert len([line for line in out.splitlines() if " seed " in line and ": val/target/accuracy" in line]) == 4
        assert "epoch" not in out, "what runs print is in the log"
        results = {path.parent.name: json.loads(path.read_text()) for path in place.glob("outputs/*/*/results.json")}
        found[len(launcher)] = {name: (one["val"], one["test"]) for name, one in results.items()}
    assert len(found[0]) == 4 and found[0] == found[1]


def test_where_an_arm_is_best_the_baseline_goes_on_until_nothing_gets_better(tmp_path):
    arms = tmp_path / "own" / "arm"
    arms.mkdir(parents=True)
    (arms / "quick.yaml").write_text("says: quick\nneeds: {}\noverrides: [cell=scratch, cell.lr=0.01, steps=60]\n")
    asked = ["--config-dir", "own", *TINY[:3], *TINY[5:], "cell.lr=0.000001", "compare.arms=[quick]"]
    code, out, err = compare(tmp_path, *asked, "compare.seeds=2", "compare.plateau=true")
    assert code == 0, err
    runs = [line.partition(":")[0] for line in out.splitlines() if ": val/target/accuracy" in line]
    assert runs == [f"{arm} seed {seed}" for arm in ("scratch", "quick", "scratch_plateau") for seed in (0, 1)]
    assert "scratch trained until nothing gets better (" in out
    found = record(tmp_path)
    assert [(arm["name"], arm.get("longer")) for arm in found["arms"]] == [
        ("scratch", None), ("quick", None), ("scratch_plateau", "scratch")
    ]  # fmt: skip
    place = next(tmp_path.glob("comparisons/*"))
    assert "scratch_plateau" not in (place / "report.md").read_text()  # it is no arm
    assert "plateau" in (place / "runs.csv").read_text()
    code, out, err = compare(tmp_path, *asked, "compare.seeds=2")  # what is there counts
    assert code == 0, err
    assert "scratch trained until nothing gets better (" in out
    assert not [line for line in out.splitlines() if ": val/target/accuracy" in line]
