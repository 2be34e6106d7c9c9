"""A run's journal: the lock, the generations, what is whole, and going on from it."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from omegaconf import OmegaConf

from tests.integration.test_runs import config, killed, results_of, same_outcome
from tl_modules.module import TransferModule
from tl_modules.weights.runs import BEFORE, NAME, SCHEMA, chosen_checkpoint, read_journal
from tl_run.errors import RunError
from tl_run.journal import Journal
from tl_run.report import pictures
from tl_run.resuming import asked, resumed
from tl_run.run import Run
from tl_run.runner import execute
from tl_run.schema import ConfigError
from tl_run.stopping import Interrupted, Stopping

TRAIN = [sys.executable, "-m", "tl_run.train"]


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("samples", "predictions", "curves"):
        monkeypatch.setattr(pictures, name, lambda *_: None)


def hold(folder: str, ready: Any, done: Any) -> None:
    journal = Journal(Path(folder))
    with journal.held():
        journal.begin("{}")
        ready.set()
        done.wait(60)


def test_a_run_is_held_by_one_process_and_who_holds_it_is_named(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(str(tmp_path), ready, done))
    other.start()
    assert ready.wait(60)
    before = (tmp_path / NAME).read_bytes()
    with pytest.raises(RunError, match=rf"is being trained by process {other.pid} on \S+ since 20"):
        execute(config("cell=scratch"), tmp_path)
    assert (tmp_path / NAME).read_bytes() == before, "nothing is written into a folder that another process holds"
    assert not (tmp_path / "error.json").exists()
    os.kill(int(other.pid or 0), signal.SIGKILL)
    other.join()
    with Journal(tmp_path).held():
        pass


def test_the_journal_before_counts_where_the_last_is_damaged(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(status="running")
    journal.write(status="complete")
    (tmp_path / NAME).write_text('{"schema": 2, "sta')
    found = read_journal(tmp_path)
    assert found is not None and found["status"] == "running"
    (tmp_path / NAME).unlink()
    assert (read_journal(tmp_path) or {})["status"] == "running"
    (tmp_path / NAME).write_text("[]")
    (tmp_path / BEFORE).write_bytes(b"\x00" * 30)
    with pytest.raises(ValueError, match=r"journal\.json: is damaged, and there is none before it"):
        read_journal(tmp_path)
    (tmp_path / NAME).write_text(json.dumps({"schema": SCHEMA + 1}))
    with pytest.raises(ValueError, match=rf"schema {SCHEMA + 1} is of a later version, this one reads up to {SCHEMA}"):
        read_journal(tmp_path)


def test_a_folder_from_before_there_were_journals_is_read(tmp_path: Path) -> None:
    stage = tmp_path / "checkpoints" / "target"
    stage.mkdir(parents=True)
    (stage / "best.ckpt").write_bytes(b"weights")
    (stage / "DONE.json").write_text('{"checkpoint": "best.ckpt"}')
    assert chosen_checkpoint(tmp_path) == stage / "best.ckpt"
    assert Journal(tmp_path).stage("target")["done"] == {"checkpoint": "best.ckpt"}


class Save(Callback):
    """Ask for a checkpoint at each of some steps, whatever the clock says; end the run at another."""

    def __init__(self, at: int, end: int) -> None:
        self.at, self.end = at, end

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        kept: Any = trainer.checkpoint_callbacks[0]
        kept.minutes = 0.0 if trainer.global_step == self.at else None
        if trainer.global_step == self.end:
            raise RuntimeError("killed")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "more", "at"),
    [
        ("multitask", ("datamodule.mode=proportional",), 1),
        ("multitask", ("datamodule.mode=proportional",), 4),
        ("scratch", ("trainer.accumulate=2", "callbacks=[ema,lr_monitor]"), 5),
        ("scratch", ("trainer.accumulate=2", "callbacks=[ema,lr_monitor]"), 10),
    ],
)
def test_a_checkpoint_between_validations_goes_on_exactly(
    cell: str, more: tuple[str, ...], at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = config(f"cell={cell}", *more)
    execute(given, tmp_path / "straight")
    made = Run.trainer

    def with_save(self: Run, *args: Any, **kwargs: Any) -> Trainer:
        trainer = made(self, *args, **kwargs)
        trainer.callbacks.insert(0, Save(at, at + 1))  # type: ignore[attr-defined]
        return trainer

    with monkeypatch.context() as patch:
        patch.setattr(Run, "trainer", with_save)
        with pytest.raises(RunError, match="killed"):
            execute(given, tmp_path / "killed")
    last = Journal(tmp_path / "killed").stage(next(iter(Journal(tmp_path / "killed").content["stages"])))["checkpoints"]
    assert last[-1]["step"] == at
    shutil.move(tmp_path / "killed", tmp_path / "moved")
    execute(given, tmp_path / "moved")
    same_outcome(tmp_path / "straight", tmp_path / "moved")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", pytest.param("SIGUSR1", marks=pytest.mark.proof)])
def test_a_signal_saves_and_says_how_to_go_on(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = config("cell=task_finetuning")
    execute(given, tmp_path / "straight")

    class Ask(Callback):
        def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
            if trainer.global_step == 2:
                signal.raise_signal(getattr(signal, name))

    made = Run.trainer

    def with_signal(self: Run, stage: str, *args: Any, **kwargs: Any) -> Trainer:
        trainer = made(self, stage, *args, **kwargs)
        if stage == "target":
            trainer.callbacks.append(Ask())  # type: ignore[attr-defined]
        return trainer

    before = [signal.getsignal(getattr(signal, one)) for one in ("SIGTERM", "SIGINT", "SIGUSR1")]
    with monkeypatch.context() as patch:
        patch.setattr(Run, "trainer", with_signal)
        with pytest.raises(Interrupted) as stopped:
            execute(given, tmp_path / "stopped")
    assert stopped.value.code == (130 if name == "SIGINT" else 143)
    assert [signal.getsignal(getattr(signal, one)) for one in ("SIGTERM", "SIGINT", "SIGUSR1")] == before
    journal = Journal(tmp_path / "stopped")
    assert journal.content["status"] == "interrupted" and journal.content["holder"] is None
    said = capsys.readouterr().err
    assert f"stopped by {name} at step 3 of stage target; all is saved, go on with: " in said
    assert said.rstrip().endswith(f"resume={tmp_path / 'stopped'}")
    execute(given, tmp_path / "stopped")
    same_outcome(tmp_path / "straight", tmp_path / "stopped")


def newest(folder: Path) -> Path:
    journal = Journal(folder)
    return journal.place("target") / journal.stage("target")["checkpoints"][-1]["file"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(path.read_bytes()[:5000] + bytes(64) + path.read_bytes()[5064:]),
        lambda path: path.unlink(),
    ],
    ids=["cut", "zeroed", "gone"],
)
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_is_taken(
    damage: Callable[[Path], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = config("cell=scratch")
    execute(given, tmp_path / "straight")
    with monkeypatch.context() as patch:
        killed(patch, at=8, stage="target")
        with pytest.raises(RunError, match="killed"):
            execute(given, tmp_path / "killed")
    damage(newest(tmp_path / "killed"))
    capsys.readouterr()
    execute(given, tmp_path / "killed")
    said = capsys.readouterr()
    assert "step-00000006.ckpt: " in said.err and "stage target goes on from step 3" in said.err
    same_outcome(tmp_path / "straight", tmp_path / "killed")
    damage(tmp_path / "killed" / "checkpoints" / "target" / "best.ckpt")
    with pytest.raises(ValueError, match=r"best\.ckpt: (differs from what was written|cannot be read)"):
        chosen_checkpoint(tmp_path / "killed")


def test_what_is_resumed_is_what_the_journal_says(tmp_path: Path) -> None:
    given = config("cell=scratch")
    Journal(tmp_path).begin(OmegaConf.to_yaml(OmegaConf.create(given)))
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "overrides.yaml").write_text("- +hydra.callbacks.x={_target_: os.system}\n")
    (tmp_path / "config.yaml").write_text("cell: {name: multitask}\n")
    argument = f"resume={tmp_path}"
    found = resumed(tmp_path, [argument, "trainer.progress=true", "checkpoint.minutes=3", "cell=scratch"])
    assert {**found, "trainer": given["trainer"], "resume": None, "checkpoint": given["checkpoint"]} == given
    assert found["trainer"]["progress"] is True and found["checkpoint"]["minutes"] == 3
    assert asked([argument]) == tmp_path and asked(["resume=auto"]) is None and asked(["cell=scratch"]) is None
    with pytest.raises(ConfigError, match=r"leave out cell\.lr=1 cell=multitask$"):
        resumed(tmp_path, [argument, "cell.lr=1", "cell=multitask"])
    with pytest.raises(ConfigError, match="leave out -m"):
        resumed(tmp_path, [argument, "-m"])
    with pytest.raises(ConfigError, match="must be the folder of a run, but it has no journal"):
        resumed(tmp_path / "nothing", [])


@pytest.mark.slow
def test_resume_auto_begins_goes_on_and_is_done(tmp_path: Path) -> None:
    options = ["cell=scratch", "steps=6", "target.train_size=24", "target.val_size=8", "target.image_size=32"]
    call = [*TRAIN, *options, "trainer.progress=false", "resume=auto"]
    first = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    again = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0 and "is complete; nothing to do" in again.stdout, again.stderr
    (folder,) = tmp_path.glob("outputs/scratch/*")
    swept = subprocess.run([*call, "-m", "seed=0,1"], cwd=tmp_path, capture_output=True, text=True)
    assert swept.returncode == 0, swept.stderr
    assert swept.stdout.count("is complete; nothing to do") == 1, "the first seed is there"
    assert len(list(tmp_path.glob("outputs/scratch/*/results.json"))) == 2
    assert results_of(folder)["seed"] == 0


@pytest.mark.slow
def test_a_role_that_diverges_stops_alone_where_it_shares_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(config("cell=scratch"), tmp_path / "scratch")
    loss = TransferModule.loss

    def odd(self: Any, role: str, *args: Any) -> Any:
        found = loss(self, role, *args)
        return found * torch.nan if role == "source" and self.trainer.global_step == 5 else found

    monkeypatch.setattr(TransferModule, "loss", odd)
    execute(config("cell=parallel_training"), tmp_path / "beside")
    alone, beside = results_of(tmp_path / "scratch"), results_of(tmp_path / "beside")
    assert {k: v for k, v in beside["test"].items() if k.startswith("target/")} == alone["test"]
    told = beside["stages"][0]["stopped"]
    assert set(told) == {"source"} and told["source"]["stopped_at"] == 5 and len(told["source"]["samples"]) == 8
    execute(config("cell=parallel_training", "cell.skip_nonfinite=1"), tmp_path / "skipped")
    assert results_of(tmp_path / "skipped")["stages"][0]["stopped"] == {"source": {"skipped": 1}}
    said = "diverged in stage joint at step 6: the loss of source is nan; its samples: "
    with pytest.raises(RunError, match=f"{said}.*; the last checkpoint before it is .*step-00000003.ckpt$"):
        execute(config("cell=multitask"), tmp_path / "shared")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_whose_exception_python_drops_still_ends_the_run() -> None:
    class Dropped:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)  # what its handler raises here is printed and dropped

    with pytest.raises(Interrupted) as stopped, Stopping():
        one = Dropped()
        del one
    assert stopped.value.code == 143
