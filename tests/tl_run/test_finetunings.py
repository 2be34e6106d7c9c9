"""Finetunings on the command line: what a run keeps of one, and what an arm of one is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.integration.test_runs import config, killed, results_of, same_outcome
from tl_modules import TaskFineTuning
from tl_modules.finetunings import build_finetuning
from tl_modules.weights.runs import chosen_checkpoint
from tl_run.baselines import baseline_key
from tl_run.compare.arms import BASELINE, chosen_arms, read_arms
from tl_run.errors import RunError
from tl_run.options import FINETUNINGS
from tl_run.paths import CONF
from tl_run.report import pictures
from tl_run.runner import execute


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("samples", "predictions", "curves"):
        monkeypatch.setattr(pictures, name, lambda *_: None)


@pytest.mark.parametrize("name", FINETUNINGS)
def test_a_file_has_the_defaults_of_its_class(name: str) -> None:
    made = config("cell=domain_adaptation", f"finetuning={name}")
    built, plain = build_finetuning(made["finetuning"]), build_finetuning(name)
    options = [key for key in made["finetuning"] if key not in ("name", "lr")]
    for key in options:
        kept = "coefficients" if key == "points" else key
        assert getattr(built, kept) == getattr(plain, kept)
    assert set(options) | {"name", "lr"} == set(FINETUNINGS[name].model_fields)
    target = {"labels": [], "sizes": {}, "published": None}
    assert baseline_key(made, 8, "32", target) == baseline_key(config("cell=domain_adaptation"), 8, "32", target)


def test_each_is_an_arm_that_is_tried_where_it_is_named() -> None:
    arms = read_arms([CONF])
    usual = [arm.name for arm in chosen_arms(arms, None)]
    assert BASELINE in usual and not set(FINETUNINGS) & set(usual)
    for name in FINETUNINGS:
        assert [arm.name for arm in chosen_arms(arms, [name])] == [BASELINE, name]
        assert config(*arms[name].overrides)["finetuning"]["name"] == name


def test_a_run_keeps_the_curve_of_old_and_new_skill_and_goes_on_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = config("cell=task_finetuning", "finetuning=wise_ft", "finetuning.points=3")
    execute(given, tmp_path / "straight")
    found = results_of(tmp_path / "straight")
    curve: dict[str, Any] = found["wise_ft"]
    assert set(curve) == {"coefficients", "target", "source", "chosen", "metric"}
    assert curve["coefficients"] == [0.0, 0.5, 1.0] and len(curve["target"]) == len(curve["source"]) == 3
    assert found["finetuning"] == "wise_ft" and found["finetuning_options"]["points"] == 3
    chosen = curve["target"][curve["coefficients"].index(curve["chosen"])]
    assert found["val"] == {"target/accuracy": chosen} and chosen == max(curve["target"])
    assert curve["source"][0] == pytest.approx(found["stages"][0]["score"]), "where nothing is forgotten"
    checkpoint = chosen_checkpoint(tmp_path / "straight")
    assert checkpoint.name == "settled.ckpt"
    module = TaskFineTuning.load_from_checkpoint(checkpoint, weights_only=True)
    start = torch.load(tmp_path / "straight" / "checkpoints" / "source" / "best.ckpt", weights_only=True)["state_dict"]
    if curve["chosen"] == 0:
        assert all(torch.equal(module.state_dict()[name], value) for name, value in start.items())
    with monkeypatch.context() as patch:
        killed(patch, 2, "target")
        with pytest.raises(RunError, match="killed"):
            execute(given, tmp_path / "killed")
    execute(given, tmp_path / "killed")
    same_outcome(tmp_path / "straight", tmp_path / "killed")
    execute(given, tmp_path / "killed")  # complete


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.parametrize("name", FINETUNINGS)
@pytest.mark.parametrize("cell", ["modality_transfer", "finetune"])
def test_every_one_goes_on_exactly_from_data_and_from_weights(
    name: str, cell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more: list[str] = []
    if cell == "finetune":
        execute(config("cell=scratch", "seed=1"), tmp_path / "before")
        more = [f"backbone.weights={tmp_path / 'before'}", "datamodule.overlap=allow"]
    given = config(f"cell={cell}", f"finetuning={name}", "steps=24", *more)
    execute(given, tmp_path / "straight")
    stages = [stage["name"] for stage in results_of(tmp_path / "straight")["stages"]]
    for at, stage in ((2, stages[-1]), (1, stages[-2])) if len(stages) > 1 else ((2, "target"),):
        with monkeypatch.context() as patch:
            killed(patch, at, stage)
            with pytest.raises(RunError, match="killed"):
                execute(given, tmp_path / stage)
        execute(given, tmp_path / stage)
        same_outcome(tmp_path / "straight", tmp_path / stage)
