from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.types import RunMode

from tests.tl_run.report.made_up import run, sweep
from tl_run.report import ending


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch):
    monkeypatch.setattr(ending, "SWEEPS", [])
    monkeypatch.setattr(ending, "RUNS", [])


def config(folder: Path, mode=RunMode.MULTIRUN):
    hydra = SimpleNamespace(
        sweep=SimpleNamespace(dir=str(folder)), mode=mode, runtime=SimpleNamespace(output_dir=str(folder))
    )
    return SimpleNamespace(hydra=hydra)


def test_a_sweep_ends_with_the_table_of_its_runs(tmp_path, capsys):
    sweep(tmp_path, scratch=[0.5, 0.52, 0.48], multitask=[0.7, 0.73, 0.67])
    (tmp_path / "multitask_2" / "results.json").write_text("{")

    ending.Ending().on_multirun_start(config(tmp_path))
    ending.show()

    said = capsys.readouterr().out
    assert "multitask" in said
    assert "+0.2050" in said
    assert "multitask_2: broken" in said
    assert f"report.py {tmp_path}" in said or f"tl-report {tmp_path}" in said


def test_runs_of_this_process_are_those_of_the_sweep_wherever_they_lie(tmp_path, capsys):
    sweep(tmp_path, scratch=[0.5, 0.52], weight_sharing=[0.6, 0.61])
    one = ending.Ending()

    one.on_multirun_start(config(tmp_path))
    for name in ("scratch_0", "scratch_1"):
        one.on_job_start(config(tmp_path / name))
    ending.show()

    said = capsys.readouterr().out
    assert "scratch" in said
    assert "weight_sharing" not in said


def test_a_single_run_and_a_sweep_of_one_end_without_a_table(tmp_path, capsys):
    run(tmp_path / "one")
    ending.show()
    ending.Ending().on_job_start(config(tmp_path / "one", RunMode.RUN))
    assert ending.RUNS == []
    ending.Ending().on_multirun_start(config(tmp_path))
    ending.show()

    assert capsys.readouterr().out == ""
