"""Whole runs in one process: folders, resume, results."""

from __future__ import annotations

import csv
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from lightning.pytorch import Callback, Trainer
from PIL import Image

from tests.conftest import CELLS
from tl_modules.weights.runs import chosen_checkpoint, digest_of
from tl_run.cli import checked
from tl_run.errors import RunError
from tl_run.folder import write_whole
from tl_run.journal import Journal
from tl_run.paths import CONF
from tl_run.predicting import load
from tl_run.report import pictures
from tl_run.run import Run
from tl_run.runner import execute
from tl_run.schema import ConfigError
from tl_run.stopping import Stopping

TINY = [
    "steps=12",
    "{role}.image_size=32",
    "{role}.train_size=24",
    "{role}.val_size=12",
    "datamodule.batch_size=8",
    "trainer.validations=4",
    "trainer.accelerator=cpu",
    "store.gigabytes=0",  # what is compared here is trained twice
    "trainer.progress=false",
    "precision=32",
]


@pytest.fixture(autouse=True)
def _no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw only where the pictures are looked for: they take longer than these runs."""
    if "folder_holds" not in request.node.name:
        for name in ("samples", "predictions", "curves"):
            monkeypatch.setattr(pictures, name, lambda *_: None)


def config(*overrides: str) -> dict[str, Any]:
    lines = [line.format(role=role) for line in TINY for role in ("source", "target")]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return checked(compose("train", [*dict.fromkeys(lines), *overrides]))


def weights(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Return the last weights of every stage."""
    found = sorted(folder.glob("checkpoints/*/last.ckpt"))
    return {path.parent.name: torch.load(path, weights_only=True)["state_dict"] for path in found}


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv") as file:
        return list(csv.DictReader(file))


def results_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "results.json").read_text()))


def same_outcome(one: Path, other: Path) -> None:
    """Hold two runs to the same last weights, results and metrics, bit for bit."""
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, state in first.items():
        assert all(torch.equal(tensor, second[name][key]) for key, tensor in state.items()), name
    found = [results_of(folder) for folder in (one, other)]
    for run in found:
        run.pop("seconds")
        for stage in run["stages"]:
            for key in ("seconds", "resumed_at"):
                stage.pop(key)
    assert found[0] == found[1]
    assert rows(one) == rows(other)


class Killed(Exception):
    pass


class Kill(Callback):
    """End the process's work in mid-epoch, at an optimiser step of a stage."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == self.at:
            raise Killed("killed")


def killed(monkeypatch: pytest.MonkeyPatch, at: int, stage: str) -> None:
    made = Run.trainer

    def with_kill(self: Run, name: str, *args: Any, **kwargs: Any) -> Trainer:
        trainer = made(self, name, *args, **kwargs)
        if name == stage:
            trainer.callbacks.append(Kill(at))  # type: ignore[attr-defined]
        return trainer

    monkeypatch.setattr(Run, "trainer", with_kill)


LAST = {cell: "joint" for cell in CELLS} | {
    cell: "target"
    for cell in ("task_finetuning", "domain_adaptation", "task_adaptation", "modality_transfer", "scratch")
}
PAGES = (
    "dataset@source=pages/content",
    "dataset@target=pages/starts",
    "backbone=document",
    "datamodule.mode=aligned",
    "source.image_size=64",
    "target.image_size=64",
)
RESUMED = [
    *((cell, stage, ()) for cell, stage in LAST.items()),
    ("task_adaptation", "source", ()),
    ("multitask", "joint", ("trainer.accumulate=2",)),
    ("multitask", "joint", ("datamodule.mode=proportional", "datamodule.num_workers=1")),
    ("multitask", "joint", ("datamodule.mode=aligned",)),
    ("weight_sharing", "joint", ("datamodule.mode=temperature", "datamodule.temperature=1000")),
    ("domain_adaptation", "target", ("cell.normalisation=per_role",)),
    ("task_adaptation", "target", ("target.augment=null",)),  # its frozen features are computed once
    ("multitask", "joint", PAGES),
    ("domain_adaptation", "adapt", ("objective=adabn",)),
    ("domain_adaptation", "adapt", ("objective=dann", "selection.without_labels=importance_weighted")),
    ("multitask", "joint", ("objective=uncertainty",)),
    ("multitask", "joint", ("callbacks=[ema,lr_monitor,early_stopping]",)),
    ("multitask", "joint", ("callbacks=accumulate",)),
    ("scratch", "target", ("callbacks=swa",)),
    ("scratch", "target", ("datamodule.num_workers=1", "datamodule.persistent_workers=true")),
]


@pytest.mark.parametrize(("cell", "stage", "more"), RESUMED)
def test_a_killed_run_goes_on_as_if_it_had_not_been(
    cell: str, stage: str, more: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = config(f"cell={cell}", *more)
    straight = execute(given, tmp_path / "straight")
    with monkeypatch.context() as patch:
        killed(patch, at=3 if stage in ("target", "adapt") and cell != "scratch" else 5, stage=stage)
        with pytest.raises(RunError, match="killed"):
            execute(given, tmp_path / "killed")
    assert (tmp_path / "killed" / "error.json").exists()
    assert not (tmp_path / "killed" / "results.json").exists()
    resumed = execute(given, tmp_path / "killed")
    assert not (tmp_path / "killed" / "error.json").exists()
    assert resumed == straight
    same_outcome(tmp_path / "straight", tmp_path / "killed")


def test_the_seconds_of_a_resumed_run_are_of_all_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = config("cell=task_finetuning")
    with monkeypatch.context() as patch:
        killed(patch, at=3, stage="target")
        with pytest.raises(RunError, match="killed"):
            execute(given, tmp_path)
    journal = Journal(tmp_path)
    journal.stage("source")["done"]["seconds"] = 1000.0
    generation = journal.stage("target")["checkpoints"][-1]
    last = journal.place("target") / generation["file"]
    checkpoint = torch.load(last, weights_only=True)
    assert checkpoint["callbacks"]["Cost"]["seconds"] > 0
    checkpoint["callbacks"]["Cost"]["seconds"] = 500.0
    torch.save(checkpoint, last)
    generation["files"][generation["file"]] = digest_of(last.read_bytes())
    journal.write()
    execute(given, tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert [stage["seconds"] // 100 for stage in results["stages"]] == [10, 5]
    assert 1500 < results["seconds"] < 1700


def test_a_finished_run_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = config("cell=scratch")
    first = execute(given, tmp_path)
    monkeypatch.setattr(Run, "trainer", lambda *_: pytest.fail("trained again"))
    assert execute(given, tmp_path) == first
    with pytest.raises(RunError, match="seed differs from what the run"):
        execute({**given, "seed": 1}, tmp_path)
    with pytest.raises(RunError, match=r"^cell, seed differ from what the run"):
        by_rule = {**given["by_rule"], "cell.lr": {"value": 0.5, "scratch": 0.5}}
        execute({**given, "seed": 1, "cell": {**given["cell"], "lr": 0.5}, "by_rule": by_rule}, tmp_path)
    quiet = {**given["trainer"], "progress": not given["trainer"]["progress"]}
    assert execute({**given, "trainer": quiet}, tmp_path) == first
    with pytest.raises(RunError, match=r"^trainer differs from what the run"):
        execute({**given, "trainer": {**quiet, "validations": 3}}, tmp_path)


def test_the_same_run_gives_the_same_numbers(tmp_path: Path) -> None:
    given = config("cell=weight_sharing")
    assert execute(given, tmp_path / "a") == execute(given, tmp_path / "b")
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


def test_parallel_training_minus_scratch_is_zero(tmp_path: Path) -> None:
    for cell in ("scratch", "parallel_training"):
        execute(config(f"cell={cell}", "precision=bf16"), tmp_path / cell)
    found = [json.loads((tmp_path / cell / "results.json").read_text()) for cell in ("scratch", "parallel_training")]
    alone, beside = ({k: v for k, v in one["test"].items() if k.startswith("target/")} for one in found)
    assert alone == beside
    assert found[0]["val"] == found[1]["val"]
    assert found[0]["baseline_key"] == found[1]["baseline_key"]


def test_a_source_is_tested_by_its_own_head_after_its_trunk_moved_on(tmp_path: Path) -> None:
    for name in ("linear_probe", "full"):
        execute(config("cell=task_adaptation", f"finetuning={name}"), tmp_path / name)
    frozen, moved = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("linear_probe", "full"))
    (metric,) = (stage["monitor"].removeprefix("val/") for stage in frozen["stages"] if stage["name"] == "source")
    assert metric.startswith("source/") and {metric, "source/loss"} <= set(frozen["test"])
    assert moved["test"]["source/loss"] != frozen["test"]["source/loss"]  # by the same head, which moved in neither


def test_an_old_skill_that_is_lost_or_was_never_learned_here_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(config("cell=task_adaptation"), tmp_path / "first")
    execute(config("cell=task_adaptation", f"source_checkpoint={tmp_path / 'first'}"), tmp_path / "second")
    first, second = (json.loads((tmp_path / name / "results.json").read_text())["test"] for name in ("first", "second"))
    assert any(name.startswith("source/") for name in first) and "source/loss" not in second

    measured = Run.test
    lost = {"test/source/loss": math.inf}
    monkeypatch.setattr(Run, "test", lambda run: {**measured(run), **lost})
    execute(config("cell=task_adaptation"), tmp_path / "lost")
    assert json.loads((tmp_path / "lost" / "results.json").read_text())["test"]["source/loss"] is None
    lost["test/target/loss"] = math.inf
    with pytest.raises(RunError, match="diverged in the test: test/target/loss is inf"):
        execute(config("cell=task_adaptation"), tmp_path / "diverged")


def test_a_run_folder_holds_what_it_says(tmp_path: Path) -> None:
    execute(config("cell=domain_adaptation", "logger=tensorboard"), tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"config.yaml", "metrics.csv", "results.json", "samples.png", "predictions.png", "curves.png"} <= names
    assert "predictions_source.png" in names  # its trunk is the target's
    assert any((tmp_path / "tensorboard").rglob("events*"))
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["selection"] == "val/target/accuracy max"
    assert [stage["name"] for stage in results["stages"]] == ["source", "target"]
    assert sum(stage["steps"] for stage in results["stages"]) == results["steps"] == 12
    assert "source/accuracy" in results["test"]  # what was forgotten
    for stage in ("source", "target"):
        folder = tmp_path / "checkpoints" / stage
        assert {path.name for path in folder.iterdir()} == {"best.ckpt", "last.ckpt"}
        torch.load(folder / "best.ckpt", weights_only=True)
    best = max(
        float(r["value"]) for r in rows(tmp_path) if r["metric"] == "val/target/accuracy" and r["stage"] == "target"
    )
    assert results["val"]["target/accuracy"] == pytest.approx(best)


@pytest.mark.parametrize(("cell", "moves"), [("finetune", True), ("probe", False)])
def test_baselines_on_pretrained_weights_go_under_names_of_their_own(cell: str, moves: bool, tmp_path: Path) -> None:
    execute(config("cell=scratch", "seed=1", "steps=4"), tmp_path / "first")
    execute(config(f"cell={cell}", f"backbone.weights={tmp_path / 'first'}"), tmp_path / "second")
    results = json.loads((tmp_path / "second" / "results.json").read_text())
    assert (results["cell"], results["source"]) == (cell, None)
    assert results["finetuning"] == {"finetune": "full", "probe": "linear_probe"}[cell]
    assert [stage["name"] for stage in results["stages"]] == ["target"]
    kept = weights(tmp_path / "second")["target"]
    given = torch.load(chosen_checkpoint(tmp_path / "first"), weights_only=True)["state_dict"]
    body = [key for key in kept if key.startswith(("parts.stem.", "parts.trunk."))]
    assert body and any(not torch.equal(given[key], kept[key]) for key in body) == moves
    head = [key for key in kept if key.startswith("parts.head.") and key.endswith("weight")]
    assert head and all(not torch.equal(given[key], kept[key]) for key in head)
    assert load(tmp_path / "second", None).stage.freeze == (() if moves else ("stem", "trunk"))


def test_finetune_is_finetuning_from_a_source_without_data_to_the_digit(tmp_path: Path) -> None:
    execute(config("cell=scratch", "seed=1", "steps=4"), tmp_path / "first")
    source = ["dataset@source=pretrained", f"source.weights={tmp_path / 'first'}", "source.domain=scenes-textured"]
    lines = [line.format(role="target") for line in TINY]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        same = ["cell=task_finetuning", "source.task=largest-digit", *source]
        pretrained = checked(compose("train", [*dict.fromkeys(lines), *same]))
    execute(pretrained, tmp_path / "pretrained")
    execute(config("cell=finetune", f"backbone.weights={tmp_path / 'first'}"), tmp_path / "finetune")
    first, second = ((tmp_path / name / "results.json").read_text() for name in ("pretrained", "finetune"))
    assert json.loads(first)["test"] == json.loads(second)["test"]
    assert json.loads(first)["val"] == json.loads(second)["val"]


def test_an_earlier_run_stands_in_for_the_source(tmp_path: Path) -> None:
    execute(config("cell=scratch", "steps=4"), tmp_path / "first")
    given = config("cell=task_finetuning", f"source_checkpoint={tmp_path / 'first'}")
    execute(given, tmp_path / "second")
    results = json.loads((tmp_path / "second" / "results.json").read_text())
    assert results["source_checkpoint"] == str(tmp_path / "first")
    assert [stage["name"] for stage in results["stages"]] == ["target"]
    assert results["stages"][0]["steps"] == results["steps"]
    with pytest.raises(ConfigError, match="has no effect in multitask, which has no source stage"):
        config("cell=multitask", f"source_checkpoint={tmp_path / 'first'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises((ConfigError, RunError), match="empty"):
        execute(config("cell=task_finetuning", f"source_checkpoint={tmp_path / 'empty'}"), tmp_path / "third")


def test_failures_leave_one_line_and_the_traceback_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "samples", lambda *_: 1 / 0)
    with pytest.raises(RunError, match=r"ZeroDivisionError: division by zero; see .*error\.log"):
        execute(config("cell=scratch"), tmp_path)
    assert json.loads((tmp_path / "error.json").read_text())["type"] == "ZeroDivisionError"
    assert "Traceback" in (tmp_path / "error.log").read_text()


def test_an_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file"):
        execute(config("cell=scratch"), tmp_path / "file" / "run")


def test_an_unknown_metric_to_optimise_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="optimized_metric='test/target/acc' is not measured by this run; it has"):
        execute({**config("cell=scratch"), "optimized_metric": "test/target/acc"}, tmp_path)


def test_files_are_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    write_whole(path, b"old")
    monkeypatch.setattr(os, "replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_whole(path, b"new and longer")
    assert path.read_bytes() == b"old"


def test_the_last_checkpoint_counts_where_it_is_asked_for(tmp_path):
    execute(config("cell=scratch", "selection.rule=last"), tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["selection"] == "last" and results["stages"][0]["checkpoint"] == "last.ckpt"
    measured = [row for row in rows(tmp_path) if row["metric"] == "val/target/accuracy"]
    assert results["val"] == {"target/accuracy": float(measured[-1]["value"])}
    execute(config("cell=scratch"), tmp_path / "best")
    best = json.loads((tmp_path / "best" / "results.json").read_text())
    assert best["selection"] == "val/target/accuracy max" and best["baseline_key"] != results["baseline_key"]


PATIENT = ("steps=40", "cell.schedule=constant", "trainer.validations=20", "trainer.patience=3", "cell.lr=1e-9")


@pytest.mark.parametrize("cell", ["scratch", "parallel_training", "domain_adaptation"])
def test_a_stage_ends_at_its_plateau_and_says_so(cell: str, tmp_path: Path) -> None:
    execute(config(f"cell={cell}", *PATIENT), tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    for stage in results["stages"]:
        name, monitor = stage["name"], stage["monitor"]
        measured = [float(r["value"]) for r in rows(tmp_path) if (r["stage"], r["metric"]) == (name, monitor)]
        assert max(measured[:-3]) >= max(measured[-3:]), "not better three times"
        better = [max(measured[:i]) < max(measured[i : i + 3]) for i in range(1, len(measured) - 3)]
        assert all(better), "and never before"
        assert stage["steps"] < stage["most_steps"]
        assert stage["ended"] == f"no better {monitor} in 3 validations"
    assert results["steps"] == sum(stage["steps"] for stage in results["stages"]) < 40


def test_patience_that_is_not_exhausted_uses_all_steps(tmp_path: Path) -> None:
    more = ("cell.schedule=constant", "trainer.validations=6")
    execute(config("cell=scratch", *more, "trainer.patience=5"), tmp_path / "patient")
    execute(config("cell=scratch", *more), tmp_path / "plain")
    patient, plain = (json.loads((tmp_path / n / "results.json").read_text()) for n in ("patient", "plain"))
    assert [(stage["steps"], stage["ended"]) for stage in patient["stages"]] == [(12, "all steps")]
    assert patient["test"] == plain["test"] and patient["baseline_key"] != plain["baseline_key"]


@pytest.mark.parametrize("at", [3, 8])
def test_a_killed_run_ends_at_the_same_plateau(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = config("cell=scratch", *PATIENT)
    straight = execute(given, tmp_path / "straight")
    ended = json.loads((tmp_path / "straight" / "results.json").read_text())["steps"]
    assert ended >= 8
    with monkeypatch.context() as patch:
        if at == 8:  # after the checkpoint of the last validation, before the stage's record
            for module in ("run", "runner"):
                patch.setattr(f"tl_run.{module}.write_json", lambda *_: (_ for _ in ()).throw(Killed("killed")))
            with pytest.raises(Killed):
                execute(given, tmp_path / "killed")
        else:
            killed(patch, at=at, stage="target")
            with pytest.raises(RunError, match="killed"):
                execute(given, tmp_path / "killed")
    assert execute(given, tmp_path / "killed") == straight
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("straight", "killed")]
    assert results[0]["test"] == results[1]["test"] and results[0]["val"] == results[1]["val"]
    assert results[1]["stages"][0]["steps"] == ended
    first, second = (weights(tmp_path / name)["target"] for name in ("straight", "killed"))
    assert all(torch.equal(tensor, second[key]) for key, tensor in first.items())


def test_two_folders_of_pictures_run_and_their_splits_are_written(tmp_path):
    for domain, size in (("one", 36), ("two", 50)):
        for label, shade in (("dark", 30), ("light", 200)):
            for i in range(12):
                path = tmp_path / domain / label / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (size, size + i), (shade + i, shade, 90)).save(path)
    options = [f"dataset@{role}=image_folder" for role in ("source", "target")]
    options += [f"source.root={tmp_path / 'one'}", f"target.root={tmp_path / 'two'}", "source.domain=one"]
    cfg = config(
        "cell=domain_adaptation", *options, "source.train_size=null", "target.train_size=8", "target.val_size=4"
    )
    execute({**cfg, "source": {**cfg["source"], "val_size": None}}, tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["target"]["image"] == [3, 32, 32]
    assert [results["target"][f"{split}_size"] for split in ("train", "val", "test")] == [8, 4, 5]
    splits = json.loads((tmp_path / "run" / "splits.json").read_text())
    ids = [name for part in splits["target"].values() for name in part["ids"]]
    assert len(ids) == len(set(ids)) == 17 and all((tmp_path / "two" / name).is_file() for name in ids)
    assert results["test"]["target/accuracy"] > 0.5


def test_networks_are_built_for_the_size_of_the_images(tmp_path):
    options = ["dataset@source=scenes/plain_count", "backbone=vit_b_32", "target.image_size=64"]
    run = Run(config("cell=parallel_training", *options), Journal(tmp_path), Stopping())
    sizes = {role: len(run.module.parts.trunk[role].net.encoder.pos_embedding[0]) for role in ("source", "target")}
    assert sizes == {"source": 2, "target": 5}
    assert run.module.hparams["backbone"]["image_size"] == 64
    with pytest.raises(RunError, match=r"backbone=alexnet: does not take images of 32 pixels; the smallest .* is 64"):
        execute(config("cell=scratch", "backbone=alexnet"), tmp_path / "small")
