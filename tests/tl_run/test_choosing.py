"""When stages are validated, and which checkpoint is the best."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from tests.conftest import module_for, pair_for, trainer_for
from tests.integration.test_runs import config, killed, rows
from tl_modules.metrics import Scores
from tl_run.callbacks.checkpoints import Checkpoints
from tl_run.callbacks.choosing import NEVER, ValidateAt, validation_steps
from tl_run.errors import RunError
from tl_run.folder import write_json
from tl_run.journal import Journal
from tl_run.report import pictures
from tl_run.run import Run
from tl_run.runner import execute
from tl_run.stopping import Stopping


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("samples", "predictions", "curves"):
        monkeypatch.setattr(pictures, name, lambda *_: None)


@pytest.mark.parametrize("steps", [1, 7, 10, 11, 12, 180, 420, 600, 601, 997])
def test_a_stage_is_validated_at_fixed_fractions_and_at_its_end(steps: int) -> None:
    found = validation_steps(steps, 10)
    assert len(found) == len(set(found)) == min(10, steps)
    assert found[-1] == steps and found[0] >= 1 and found == sorted(found)
    assert all(abs(step - (k + 1) * steps / len(found)) <= 0.5 for k, step in enumerate(found))


class Recorded(Callback):
    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        self.steps.append(trainer.global_step)


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize("steps", [2, 11, 13])
def test_lightning_validates_exactly_then(steps: int, accumulate: int) -> None:
    data, seen = pair_for("scratch", accumulate=accumulate), Recorded()
    due = validation_steps(steps, 4)
    options = {"val_check_interval": NEVER, "check_val_every_n_epoch": None, "limit_val_batches": 1.0}
    callbacks = [ValidateAt(due, accumulate), seen]
    trainer = trainer_for(steps, callbacks=callbacks, accumulate_grad_batches=accumulate, max_epochs=-1, **options)
    trainer.fit(module_for("scratch", data), datamodule=data)
    assert trainer.global_step == steps and seen.steps == due


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["domain_adaptation", "multitask", "scratch"])
def test_every_stage_of_every_cell_has_the_same_number_of_choices(cell: str, tmp_path: Path) -> None:
    execute(config(f"cell={cell}", "steps=13", "trainer.accumulate=2"), tmp_path)
    stages = json.loads((tmp_path / "results.json").read_text())["stages"]
    for stage in stages:
        found = [row for row in rows(tmp_path) if row["stage"] == stage["name"] and row["metric"].startswith("val/")]
        role = "source" if stage["name"] == "source" else "target"
        steps = [int(row["step"]) for row in found if row["metric"] == f"val/{role}/accuracy"]
        assert steps == [step - 1 for step in validation_steps(stage["steps"], 4)]
        assert any(row["metric"] == f"train/{role}/loss" for row in rows(tmp_path) if row["stage"] == stage["name"])


class Played:
    """A Trainer as the callback sees it: scores and losses as they come, a file per step."""

    class strategy:
        checkpoint_io = None

        @staticmethod
        def reduce_boolean_decision(value: bool, all: bool = True) -> bool:
            return value

    class state:
        fn = "fit"

    sanity_checking, max_steps, world_size = False, 100, 1

    def __init__(self) -> None:
        self.callback_metrics: dict[str, torch.Tensor] = {}
        self.global_step = 0

    def save_checkpoint(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(self.global_step))


def kept(folder: Path, mode: str) -> Checkpoints:
    return Checkpoints(Journal(folder), "target", "val/x", mode, Stopping(), None)


def played_out(best: Checkpoints, played: list[tuple[float, float]], start: int = 0) -> list[int]:
    """Return the places of the checkpoints that were the best when they came."""
    trainer: Any = Played()
    won = []
    for place, (score, loss) in enumerate(played, start):
        trainer.global_step = place
        trainer.callback_metrics = {"val/x": torch.tensor(score), "val/loss": torch.tensor(loss)}
        best.on_validation_end(trainer, trainer)
        won += [place] if best.best and best.best["step"] == place else []
    return won


NAN = math.nan


@pytest.mark.parametrize(
    ("mode", "played", "saved"),
    [
        ("max", [(0.5, 1.0), (0.5, 0.9), (0.5, 0.95), (0.5, 0.9)], [0, 1, 3]),
        ("max", [(0.5, 1.0), (0.4, 0.1), (0.6, 2.0)], [0, 2]),
        ("min", [(0.5, 1.0), (0.4, 2.0), (0.4, 1.5), (0.6, 0.1)], [0, 1, 2]),
        ("max", [(NAN, 0.1), (0.2, 1.0), (NAN, 0.1)], [1]),
        ("min", [(NAN, 0.1), (0.2, 1.0), (NAN, 0.1)], [1]),
        ("max", [(0.5, NAN), (0.5, 1.0), (0.5, NAN)], [0, 1]),
        ("max", [(NAN, 1.0), (NAN, 1.0)], []),
    ],
)
def test_ties_go_to_the_lower_loss_then_to_the_later(mode: str, played: list[Any], saved: list[int], tmp_path: Path):
    assert played_out(kept(tmp_path / "one", mode), played) == saved
    best, found = kept(tmp_path / "resumed", mode), []  # the same through a resume after each
    for place, one in enumerate(played):
        found += played_out(best, [one], place)
        state = best.state_dict()
        best = kept(tmp_path / "resumed", mode)
        best.load_state_dict(state)
    assert found == saved


def test_the_last_two_generations_stay_each_with_its_best(tmp_path: Path):
    scores = [0.5, 0.1, 0.9, 0.2, 0.3]
    played_out(kept(tmp_path, "max"), [(score, 1.0) for score in scores])
    names = {int(path.stem.removeprefix("step-")) for path in (tmp_path / "checkpoints/target").glob("*.ckpt")}
    assert names == {2, 3, 4}
    stage = Journal(tmp_path).stage("target")
    assert [(one["step"], one["best"]["step"]) for one in stage["checkpoints"]] == [(3, 2), (4, 2)]


@pytest.mark.slow
def test_a_run_that_was_moved_keeps_its_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = config("cell=scratch", "steps=13", "trainer.accumulate=2")
    execute(given, tmp_path / "straight")
    with monkeypatch.context() as patch:
        killed(patch, at=9, stage="target")
        with pytest.raises(RunError, match="killed"):
            execute(given, tmp_path / "killed")
    shutil.move(tmp_path / "killed", tmp_path / "moved")
    execute(given, tmp_path / "moved")
    states = [
        torch.load(tmp_path / name / "checkpoints/target" / f"{which}.ckpt", weights_only=True)
        for name in ("straight", "moved")
        for which in ("best", "last")
    ]
    for one, other in ((0, 2), (1, 3)):
        assert states[one]["global_step"] == states[other]["global_step"]
        same = (
            torch.equal(tensor, states[other]["state_dict"][key]) for key, tensor in states[one]["state_dict"].items()
        )
        assert all(same)
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("straight", "moved")]
    assert results[0]["val"] == results[1]["val"] and results[0]["test"] == results[1]["test"]


def test_a_module_is_chosen_by_a_metric_that_its_targets_head_reports() -> None:
    data = pair_for("modality_transfer")  # from segmentation to classification
    module = module_for("modality_transfer", data, selection_metric="auroc")
    module.enter("source")
    assert module.monitor == ("val/source/miou", "max")
    module.enter("target")
    assert module.monitor == ("val/target/auroc", "max")
    assert module.hparams["selection_metric"] == "auroc"
    with pytest.raises(ValueError, match=r"selection_metric='f1' is unknown; allowed: accuracy, macro_f1, auroc$"):
        module_for("modality_transfer", data, selection_metric="f1")  # ten labels have no positive one
    counted = module_for("scratch", pair_for("scratch", "count"), selection_metric="r2")
    assert counted.monitor == ("val/target/r2", "max")
    assert module_for("scratch", pair_for("scratch", "count")).monitor == ("val/target/mae", "min")


UNDEFINED = ("selection.metric=auroc", "target.val_size=1")  # one sample is of one label


def test_a_metric_that_is_undefined_on_the_validation_set_gives_back_no_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert math.isnan(execute(config("cell=scratch", *UNDEFINED), tmp_path))
    results = json.loads((tmp_path / "results.json").read_text())
    assert not (tmp_path / "error.json").exists()
    assert (results["selection"], results["val"]) == ("last", {"target/auroc": None})
    line = "val/target/auroc was never defined on the validation set: the last checkpoint counts"
    assert capsys.readouterr().out.splitlines().count(line) == 1


def test_a_metric_that_is_undefined_on_the_test_set_gives_back_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tested = Run.test
    monkeypatch.setattr(Run, "test", lambda self: {k: v for k, v in tested(self).items() if "auroc" not in k})
    wanted = ("optimized_metric=test/target/auroc", "optimize_on_test=true")
    assert math.isnan(execute(config("cell=scratch", *wanted), tmp_path))
    assert "test/target/auroc is not defined on the test set" in capsys.readouterr().out


def test_a_metric_that_the_run_has_not_is_told_before_there_are_results(tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=r"optimized_metric='val/target/nothing' is not measured by this run; it has val"
    ):
        execute({**config("cell=scratch"), "optimized_metric": "val/target/nothing"}, tmp_path)
    assert (tmp_path / "error.json").exists() and not (tmp_path / "results.json").exists()


def test_patience_ends_a_stage_whose_metric_is_undefined(tmp_path: Path) -> None:
    patient = ("cell.schedule=constant", "trainer.patience=2")
    assert math.isnan(execute(config("cell=scratch", *UNDEFINED, *patient), tmp_path))
    stage = json.loads((tmp_path / "results.json").read_text())["stages"][0]
    assert (stage["steps"], stage["ended"]) == (6, "no better val/target/auroc in 2 validations")


def strict(path: Path) -> dict[str, Any]:
    """Return the content of a file that is JSON by its standard, which has no NaN."""
    return dict(json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} in {path.name}")))


@pytest.mark.parametrize("rule", ["best", "last"])
def test_a_run_that_diverges_is_no_result(rule: str, tmp_path: Path) -> None:
    given = config("cell=scratch", "cell.lr=1e30", "cell.clip=null", f"selection.rule={rule}")
    with pytest.raises(RunError, match=r"^diverged in stage target at step \d+: .*; its samples: textured-"):
        execute(given, tmp_path)
    assert not (tmp_path / "results.json").exists()
    assert strict(tmp_path / "journal.json")["status"] == "diverged"
    assert strict(tmp_path / "error.json")["type"] == "Diverged"


def test_a_run_that_came_to_its_end_says_so(tmp_path: Path) -> None:
    execute(config("cell=scratch", "steps=2"), tmp_path)
    results = strict(tmp_path / "results.json")
    assert results["status"] == strict(tmp_path / "journal.json")["status"] == "complete"
    assert results["stages"][0]["stopped"] == {}


def test_a_score_that_is_not_finite_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tl_run.run.last_validation", lambda *_: {"val/target/accuracy": math.inf})
    with pytest.raises(RunError, match="diverged in stage target: val/target/accuracy is inf"):
        execute(config("cell=scratch", "steps=2", "selection.rule=last"), tmp_path)
    assert not (tmp_path / "results.json").exists()


@pytest.mark.slow
def test_a_score_is_that_of_the_last_validation_and_no_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute, calls = Scores.compute, []

    def first_defined(self: Scores) -> dict[str, torch.Tensor]:
        calls.append(self)
        return {key: value for key, value in compute(self).items() if len(calls) == 1 or "accuracy" not in key}

    monkeypatch.setattr(Scores, "compute", first_defined)
    execute(config("cell=scratch", "selection.rule=last"), tmp_path)
    assert [row["step"] for row in rows(tmp_path) if row["metric"] == "val/target/accuracy"] == ["2"]
    results = strict(tmp_path / "results.json")
    assert (results["selection"], results["val"]) == ("last", {"target/accuracy": None})


def test_json_refuses_what_is_not_finite(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"x": math.nan})
    assert not (tmp_path / "x.json").exists()


def test_epochs_are_passes_however_many_processes_share_them(tmp_path: Path) -> None:
    def planned(*more: str) -> int:
        given = config("cell=scratch", "steps=null", "epochs=4", *more)
        return Run(given, Journal(tmp_path), Stopping()).steps

    assert planned() == 12  # 24 samples, 8 per step
    assert planned("trainer.devices=3") == planned("trainer.devices=3", "+trainer.num_nodes=1") == 4
