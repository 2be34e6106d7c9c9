"""Source stages that several runs need alike."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.integration.test_runs import config as of_tests
from tests.integration.test_runs import rows
from tl_run.build import build_data, build_module
from tl_run.report import pictures
from tl_run.run import Run
from tl_run.runner import execute
from tl_run.store import WEIGHTS, Store, address, clear, store_folder


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("samples", "predictions", "curves"):
        monkeypatch.setattr(pictures, name, lambda *_: None)


def config(*overrides: str, stored: bool = True) -> dict[str, Any]:
    return of_tests(*overrides, f"store.gigabytes={int(stored)}")


def results(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "results.json").read_text()))


def entries() -> list[Path]:
    return sorted(path for path in store_folder().iterdir() if path.is_dir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "more"),
    [
        ("task_finetuning", ()),
        ("domain_adaptation", ("selection.rule=last",)),
        ("task_adaptation", ("backbone=mobilenet_v3_small",)),
        ("modality_transfer", ("finetuning=linear_probe",)),
    ],
)
def test_a_source_stage_is_trained_once_and_nothing_else_changes(
    cell: str, more: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = (f"cell={cell}", *more, "target.train_size=16", "target.val_size=8")
    execute(config(*second, stored=False), tmp_path / "alone")
    execute(config(f"cell={cell}", *more), tmp_path / "first")
    trained: list[str] = []
    made = Run.trainer
    monkeypatch.setattr(
        Run, "trainer", lambda self, name, *a, **k: (trained.append(name), made(self, name, *a, **k))[1]
    )
    execute(config(*second), tmp_path / "second")
    assert trained == ["target"]
    alone, shared = results(tmp_path / "alone"), results(tmp_path / "second")
    assert [stage["from_store"] for stage in shared["stages"]] == [True, False]
    assert (alone["val"], alone["test"], alone["flops"]) == (shared["val"], shared["test"], shared["flops"])
    assert [one["samples"] for one in alone["stages"]] == [one["samples"] for one in shared["stages"]]
    assert rows(tmp_path / "alone") == rows(tmp_path / "second")
    states = [
        torch.load(tmp_path / name / "checkpoints/target/last.ckpt", weights_only=True)["state_dict"]
        for name in ("alone", "second")
    ]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


@pytest.mark.slow
def test_another_source_is_another_stage(tmp_path: Path) -> None:
    cell = "cell=task_finetuning"
    for i, more in enumerate(([], ["seed=1"], ["source.train_size=16"], ["cell.lr=0.001"], ["steps=14"], ["steps=12"])):
        execute(config(cell, *more), tmp_path / str(i))
    assert len(entries()) == 5, "all but the last differ in what shapes the source's stage"


def train(folder: str, size: int) -> None:
    for name in ("samples", "predictions", "curves"):
        setattr(pictures, name, lambda *_: None)
    execute(config("cell=task_finetuning", f"target.train_size={size}", "target.val_size=4"), Path(folder))


@pytest.mark.slow
def test_two_at_once_train_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=train, args=(str(tmp_path / str(size)), size)) for size in (8, 16)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert [one.exitcode for one in both] == [0, 0]
    taken = [results(tmp_path / str(size))["stages"][0]["from_store"] for size in (8, 16)]
    assert sorted(taken) == [False, True]


@pytest.mark.slow
def test_a_damaged_stage_is_trained_again(tmp_path: Path) -> None:
    execute(config("cell=task_finetuning"), tmp_path / "first")
    weights = entries()[0] / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-9])
    execute(config("cell=task_finetuning"), tmp_path / "second")
    assert not results(tmp_path / "second")["stages"][0]["from_store"]
    execute(config("cell=task_finetuning"), tmp_path / "third")
    assert results(tmp_path / "third")["stages"][0]["from_store"]
    assert ": 1 source stages and features" in clear() and not store_folder().exists()


def test_the_store_is_bounded_and_what_is_larger_is_not_kept() -> None:
    store = Store(2.5e3 / 1024**3)
    for i, key in enumerate("abc"):
        assert store.take(key) is None
        store.put({"weights": bytes(1000)}, {"name": key})
        os.utime(store_folder() / key, (i, i))
    assert [path.name for path in entries()] == ["b", "c"]
    found = store.take("b")
    assert found is not None and found.record == {"name": "b"} and found.files == {"weights": bytes(1000)}
    assert store.lock is None
    assert store.take("d") is None
    store.put({"weights": bytes(3000)}, {})
    assert store.lock is None and [path.name for path in entries()] == ["b", "c"]


def test_arms_whose_source_stage_is_wired_alike_share_it() -> None:
    keys = []
    for arm in ("cell=task_finetuning", "cell=domain_adaptation finetuning=linear_probe", "cell=task_adaptation"):
        given = config(*arm.split(), "dataset@source=scenes/plain_classify", "dataset@target=scenes/textured_classify")
        data = build_data(given)
        data.setup()
        module = build_module(given, data)
        module.enter("source")
        keys.append(address(given, data, module, module.stage, steps=8))
    assert keys[0] == keys[1] is not None
    assert keys[2] not in keys[:2], "its source has a head of its own"
