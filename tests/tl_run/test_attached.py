"""Callbacks, loggers and further options of the Trainer, by config."""

import sys
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment

from tests.integration.test_runs import config
from tl_run.attached import LOGGERS, callbacks_of, loggers_for, remarks
from tl_run.report import pictures
from tl_run.runner import execute
from tl_run.schema import ConfigError


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    for name in ("samples", "predictions", "curves"):
        monkeypatch.setattr(pictures, name, lambda *_: None)


SEEN: list[str] = []


class Mine(Callback):
    def __init__(self, word: str = "x"):
        self.word = word

    def on_train_start(self, trainer, pl_module):
        SEEN.append(f"{self.word} {pl_module.stage.name}")


class Kept(Logger):
    lines: ClassVar[list] = []

    def __init__(self, tag: str):
        super().__init__()
        self.tag = tag

    name, version = "kept", "0"

    @property
    @rank_zero_experiment
    def experiment(self):
        return self

    def log_metrics(self, metrics, step=None):
        Kept.lines.append((self.tag, step, dict(metrics)))

    def log_hyperparams(self, *_, **__):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("name", ["swa", "batch_size_finder"])
def test_lightnings_callbacks_work_in_a_run(name, tmp_path):
    execute(config("cell=multitask", f"callbacks={name}"), tmp_path)
    assert (tmp_path / "results.json").exists()


@pytest.mark.slow
def test_averaged_weights_are_the_mean_of_the_last_steps_and_what_is_kept(tmp_path):
    last = []
    for name, more in (("6", []), ("7", []), ("8", []), ("8", ["callbacks=swa"])):
        fixed = ["cell.schedule=constant", "target.augment=null", "selection.rule=last", "trainer.validations=1"]
        folder = tmp_path / "-".join([name, *more])
        execute(config("cell=scratch", f"steps={name}", *fixed, *more), folder)
        last.append(torch.load(folder / "checkpoints/target/last.ckpt", weights_only=True)["state_dict"])
    *each, mean = (one["parts.head.target.linear.weight"] for one in last)
    assert torch.allclose(mean, sum(each) / 3, atol=1e-6) and not torch.allclose(mean, each[-1], atol=1e-5)


@pytest.mark.slow
def test_early_stopping_stops_each_stage_by_its_own_metric(tmp_path):
    more = ("callbacks=early_stopping", "callbacks.early_stopping.patience=1", "cell.lr=1e-12")
    given = config("cell=task_adaptation", "steps=40", "trainer.validations=10", *more)
    execute(given, tmp_path)
    import json

    stages = json.loads((tmp_path / "results.json").read_text())["stages"]
    assert all(stage["steps"] < stage["most_steps"] for stage in stages) and len(stages) == 2


@pytest.mark.slow
def test_ones_own_callback_and_logger_are_made_by_their_paths(tmp_path):
    callback = f"+callbacks.mine={{_target_:{__name__}.Mine,word:hello}}"
    logger = f"logger=[csv,tensorboard,{{_target_:{__name__}.Kept,tag:t}}]"
    execute(config("cell=task_finetuning", callback, logger, "+trainer.log_every_n_steps=1"), tmp_path)
    assert SEEN == ["hello source", "hello target"]
    assert any("train/target/loss" in metrics for tag, _, metrics in Kept.lines if tag == "t")
    assert list((tmp_path / "tensorboard").glob("*/events*")) and (tmp_path / "metrics.csv").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("+trainer.max_steps=3", "trainer.max_steps=3: is said by steps="),
        ("+trainer.gradient_clip_val=1", "is said by cell.clip="),
        ("+trainer.deterministc=true", "did you mean deterministic?"),
        ("logger=wndb", "did you mean wandb?"),
        ("logger=[csv,x]", "logger=x: allowed: csv, tensorboard, wandb, mlflow"),
        ("+callbacks.a=1", "callbacks.a=1: must be a mapping with _target_"),
        ("+callbacks.a={x:1}", "must be a mapping with _target_"),
        ("+callbacks.a={_target_:a.B,c:{_target_:os.system}}", "cannot be made by another _target_"),
        (
            "+callbacks.a={_target_:lightning.pytorch.callbacks.EarlyStopping,monitr:x}",
            "callbacks.a.monitr=x: unknown; did you mean monitor?",
        ),
        (
            "+callbacks.a={_target_:lightning.pytorch.callbacks.StochasticWeightAveraging,swa_lrs:1}",
            "has no effect on the checkpoints of a run; use callbacks=swa",
        ),
        ("datamodule.prefetch_factor=2", "has no effect with datamodule.num_workers=0"),
        ("datamodule.persistent_workers=true", "has no effect with datamodule.num_workers=0"),
    ],
)
def test_wrong_options_are_answered_in_a_line(more, said):
    with pytest.raises(ConfigError) as error:
        config("cell=scratch", more)
    assert said in str(error.value) and len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("missing", [name for name, (package, _) in LOGGERS.items()])
def test_a_logger_that_is_not_installed_is_named(missing, monkeypatch):
    monkeypatch.setattr("tl_run.attached.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=f"logger={missing}: .* is not installed"):
        config("cell=scratch", f"logger={missing}")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("os.system", "must be a Callback"),
        ("nowhere.B", "cannot be imported"),
        ("tests.tl_run.test_attached.Nothing", "cannot"),
    ],
)
def test_what_is_no_callback_is_never_called(target, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        callbacks_of({"callbacks": {"a": {"_target_": target}}}, ("val/x", "max"))


def test_automatic_options_are_the_stages_own():
    node = {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "monitor": "auto", "mode": "auto"}
    (made,) = callbacks_of({"callbacks": {"a": node}}, ("val/target/mae", "min"))
    assert isinstance(made, ModelCheckpoint) and (made.monitor, made.mode) == ("val/target/mae", "min")


def test_what_may_break_exact_resume_is_said():
    said = remarks(config("cell=scratch", "callbacks=[ema,batch_size_finder]", "+trainer.max_time=00:01:00:00"))
    may = "a run that is stopped and goes on may differ from one that was not"
    assert said == [f"trainer.max_time, callbacks.batch_size_finder: {may}"]
    assert remarks(config("cell=scratch", "callbacks=[ema,swa,lr_monitor,early_stopping]")) == []


def test_loggers_of_services_are_made_with_the_runs_name(monkeypatch):
    made = []

    class Fake(Logger):
        def __init__(self, **options):
            made.append(options)

        name = version = "x"

        def log_metrics(self, *_, **__):
            pass

        def log_hyperparams(self, *_, **__):
            pass

    module = type(sys)("fake_service")
    module.Fake = Fake
    monkeypatch.setitem(sys.modules, "fake_service", module)
    monkeypatch.setitem(LOGGERS, "wandb", ("os", "fake_service.Fake"))
    loggers_for({"logger": {"name": "wandb", "project": "p"}}, Path("runs/a"), "target")
    assert made == [{"name": "a/target", "save_dir": "runs/a", "project": "p"}]
