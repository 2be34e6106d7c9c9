"""Nothing in a folder from elsewhere runs code that the user did not choose; and what a resumed run may be told."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from tests.integration.test_runs import config
from tl_run.attached import _check_made
from tl_run.build import build_data
from tl_run.derive import MORE, arguments
from tl_run.lineage import compare
from tl_run.options import Dataset, own_model
from tl_run.paths import CONF, folders, searched
from tl_run.report import pictures
from tl_run.runner import execute
from tl_run.schema import ConfigError, check


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    for name in ("samples", "predictions", "curves"):
        monkeypatch.setattr(pictures, name, lambda *_: None)


class Payload:
    """What a pickle from elsewhere would run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_what_stands_in_a_datasets_options_is_never_made(tmp_path):
    marker = tmp_path / "ran"
    torch.save(Payload(marker), tmp_path / "x.pt")
    execute(config("cell=scratch"), tmp_path / "run")
    recorded = OmegaConf.load(tmp_path / "run" / "config.yaml")
    recorded.target.domain = {"_target_": "torch.load", "f": str(tmp_path / "x.pt"), "weights_only": False}
    (tmp_path / "run" / "config.yaml").write_text(OmegaConf.to_yaml(recorded))
    given = config("cell=finetune", f"backbone.weights={tmp_path / 'run'}")
    data = build_data(given)
    data.setup()
    compare(given, data)
    assert not marker.exists()


def test_a_dataset_that_is_no_datamodule_is_not_called(tmp_path):
    given = config("cell=scratch")
    given["target"] = {**given["target"], "_target_": "subprocess.Popen", "args": ["touch", str(tmp_path / "ran")]}
    with pytest.raises(ValueError, match=r"target\._target_=subprocess.Popen: must be a LightningDataModule"):
        build_data(given)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "more",
    [
        {"target": {"_target_": "my.Data"}},
        {"cell": {"_target_": "my.Cell", "name": "mine"}},
        {"callbacks": {"a": {"_target_": "my.Callback"}}},
        {"logger": [{"_target_": "my.Logger"}]},
        {"objective": {"name": "my.Objective"}},
    ],
    ids=lambda more: next(iter(more)),
)
def test_a_resumed_folder_that_names_other_code_is_trusted_first(more, tmp_path):
    given = {**config("cell=scratch"), "resume": str(tmp_path)}
    check({key: value for key, value in given.items() if key != "by_rule"})
    for key, value in more.items():
        given[key] = {**given[key], **value} if isinstance(given[key], dict) else value
    with pytest.raises(ConfigError, match=r"uses my\.\w+, which is code that is not ours; trust=true imports it"):
        check(given)
    check({**given, "trust": True})
    with pytest.raises(ConfigError, match="trust=true: has no effect without resume="):
        check({**config("cell=scratch"), "trust": True})


@pytest.mark.slow
def test_a_run_with_a_config_dir_is_resumed_with_it_and_with_trust(tmp_path):
    mine = tmp_path / "it's mine"
    shutil.copytree(CONF.parent / "examples" / "extending", mine, ignore=shutil.ignore_patterns("__pycache__"))
    call = [sys.executable, "-m", "tl_run.train", "--config-dir", "conf"]
    first = [*call, "cell=head_start", "steps=6", "hydra.run.dir=run", "datamodule.batch_size=16"]
    done = subprocess.run(first, cwd=mine, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    again = subprocess.run([*call, "resume=run"], cwd=mine, capture_output=True, text=True)
    assert again.returncode == 2 and "trust=true imports it" in again.stderr
    trusted = subprocess.run([*call, "resume=run", "trust=true"], cwd=mine, capture_output=True, text=True)
    assert trusted.returncode == 0, trusted.stderr


def test_a_folder_of_configuration_files_is_on_the_search_path(tmp_path):
    (tmp_path / "conf").mkdir()
    given = ["--config-dir", str(tmp_path / "conf")]
    assert folders(given) == [CONF, tmp_path / "conf"]
    quoted = tmp_path / "it's"
    quoted.mkdir()
    assert searched(["--config-dir", str(quoted)]) == [f"hydra.searchpath=['file://{tmp_path}/it\\'s']"]


def test_constructors_with_further_arguments_are_open():
    logger = {"_target_": "lightning.pytorch.loggers.TensorBoardLogger", "save_dir": "x", "flush_secs": 3}
    assert list(_check_made("logger", logger)) == []
    assert MORE in arguments("lightning.pytorch.loggers.TensorBoardLogger")
    model = own_model(f"{__name__}.Further", Dataset)
    assert model.model_config["extra"] == "allow"
    assert arguments(f"{__name__}.Sized")["size"][0] is list


class Further:
    def __init__(self, extra: int = 3, **kwargs):
        pass


class Sized:
    def __init__(self, size: tuple[int, int] = (1, 2)):
        pass


def test_a_stage_says_what_ended_it(tmp_path):
    import json

    more = ("callbacks=early_stopping", "callbacks.early_stopping.patience=1", "cell.lr=1e-12", "steps=40")
    execute(config("cell=scratch", *more, "trainer.validations=10"), tmp_path)
    (stage,) = json.loads((tmp_path / "results.json").read_text())["stages"]
    assert stage["ended"] == "stopped by EarlyStopping" and stage["steps"] < 40
    with pytest.raises(ConfigError, match="limit_val_batches=0: a stage is chosen by its validations"):
        config("cell=scratch", "+trainer.limit_val_batches=0")
