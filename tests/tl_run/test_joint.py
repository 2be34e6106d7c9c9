"""Runs that learn two roles to the end, by replay or at random, go on exactly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.test_runs import config, killed, results_of, same_outcome
from tl_run.errors import RunError
from tl_run.report import pictures
from tl_run.runner import execute

GIVEN = {
    "target": ("cell=domain_adaptation", "cell.replay=0.5"),
    "joint": ("cell=multitask", "objective=torchjd", "objective.aggregator=GradDrop", "cell.gradient_cosine=true"),
}


@pytest.mark.slow
@pytest.mark.parametrize("stage", GIVEN)
def test_a_killed_run_goes_on_exactly(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("samples", "predictions", "curves"):
        monkeypatch.setattr(pictures, name, lambda *_: None)
    if stage == "joint":
        pytest.importorskip("torchjd")
    given = config(*GIVEN[stage])
    execute(given, tmp_path / "straight")
    with monkeypatch.context() as patch:
        killed(patch, 2, stage)
        with pytest.raises(RunError, match="killed"):
            execute(given, tmp_path / "killed")
    execute(given, tmp_path / "killed")
    same_outcome(tmp_path / "straight", tmp_path / "killed")
    results = results_of(tmp_path / "straight")
    last = results["stages"][-1]
    assert set(last["samples"]) == {"source", "target"} and min(last["samples"].values()) > 0
    if stage == "target":
        assert results["source_share"]["replay"] == 0.5 and "source/accuracy" in results["test"]
        assert sum(last["samples"].values()) == last["steps"] * results["batch_size"]
    else:
        assert "train/gradient_cosine" in (tmp_path / "straight" / "metrics.csv").read_text()
