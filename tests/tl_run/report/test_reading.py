import json
import shutil

from tests.tl_run.report.made_up import run, sweep
from tl_run.report.arms import settings_of
from tl_run.report.reading import read


def why(folder):
    runs, left_out = read([folder])
    return [one.seed for one in runs], {one.folder.name: one.why for one in left_out}


def test_broken_partial_and_foreign_folders_are_named_and_left_out(tmp_path):
    run(tmp_path / "good")
    (run(tmp_path / "broken") / "results.json").write_text('{"cell": "scr')
    (run(tmp_path / "foreign") / "results.json").write_text('{"accuracy": 0.9}')
    (run(tmp_path / "list") / "results.json").write_text("[]")
    run(tmp_path / "later", schema=2)
    run(tmp_path / "diverged", test=None)
    run(tmp_path / "undefined", seed=3, test=None, val=0.4)
    half = run(tmp_path / "half")
    (half / "results.json").unlink()
    (half / "journal.json").write_text(json.dumps({"schema": 2, "status": "interrupted", "config": "", "stages": {}}))
    damaged = run(tmp_path / "damaged")
    (damaged / "journal.json").write_text("{")

    seeds, said = why(tmp_path)

    assert seeds == [0]
    assert said["broken"] == "broken: results.json cannot be read"
    assert said["foreign"].startswith("of something else: its results.json has no cell, seed")
    assert said["list"].startswith("of something else")
    assert said["later"] == "of another version: schema 2, this one reads 1"
    assert said["half"] == "is not over: interrupted"
    assert said["damaged"].startswith("broken: ")
    assert said["undefined"] == "test/target/accuracy was not measured, or is not a number"


def test_folders_without_runs_are_named(tmp_path):
    (tmp_path / "empty").mkdir()

    runs, left_out = read([tmp_path / "empty", tmp_path / "nowhere"])

    assert runs == []
    assert [one.why for one in left_out] == ["holds no run", "is no folder"]


def test_a_run_counts_once_however_often_its_folder_is_given(tmp_path):
    sweep(tmp_path, scratch=[0.5, 0.6])

    runs, left_out = read([tmp_path, tmp_path / "scratch_0", tmp_path])

    assert (len(runs), left_out) == (2, [])


def test_a_copy_of_a_run_is_left_out_of_its_arm(tmp_path):
    sweep(tmp_path, scratch=[0.5, 0.6])
    shutil.copytree(tmp_path / "scratch_0", tmp_path / "zz_copy")

    settings, twice = settings_of(read([tmp_path])[0])

    assert list(settings[0].arms[0].runs) == [0, 1]
    assert [(one.folder.name, one.why.split(":")[0]) for one in twice] == [("zz_copy", "is there twice")]
