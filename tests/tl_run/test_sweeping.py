"""What a sweeper is given, and in which direction it looks."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.types import RunMode
from omegaconf import OmegaConf

from tests.integration.test_runs import config
from tests.tl_run.test_config import composed, says
from tl_run.cli import lines
from tl_run.naming import varying
from tl_run.report import pictures
from tl_run.runner import execute
from tl_run.schema import ConfigError
from tl_run.sweeping import check_direction, direction_of, naming_what_varies, with_direction

SWEEP = ["-m", "hydra/sweeper=optuna", "cell.lr=interval(0.001,0.1)"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "direction"),
    [
        (["cell=scratch"], "maximize"),
        (["cell=choice(scratch,multitask)", "seed=range(0,3)"], "maximize"),
        (["cell=scratch", "dataset@target=scenes/plain_count"], "minimize"),
        (["cell=scratch", "dataset@target=scenes/plain_count", "selection.metric=r2"], "maximize"),
        (
            ["cell=multitask", "dataset@source=scenes/textured_count", "optimized_metric=val/target/accuracy"],
            "maximize",
        ),
        (
            [
                "cell=scratch",
                "dataset@target=scenes/plain_count",
                "optimized_metric=test/target/r2",
                "optimize_on_test=true",
            ],
            "maximize",
        ),
    ],
)
def test_optuna_is_told_the_metrics_direction(asked: list[str], direction: str) -> None:
    arguments = [*SWEEP, *asked]
    assert with_direction(arguments) == [*arguments, f"hydra.sweeper.direction={direction}"]
    given = [*arguments, f"hydra.sweeper.direction={direction}"]
    assert with_direction(given) == given
    other = {"maximize": "minimize", "minimize": "maximize"}[direction]
    with pytest.raises(
        ConfigError, match=f"^hydra.sweeper.direction={other}: contradicts .* which is to {direction}; set"
    ):
        with_direction([*arguments, f"hydra.sweeper.direction={other}"])


def test_other_command_lines_stay_as_they_are() -> None:
    for arguments in (["cell=scratch"], ["-m", "cell=scratch,multitask"], ["hydra/sweeper=optuna", "cell=scratch"]):
        assert with_direction(arguments) == arguments


def test_one_sweep_has_one_direction_and_its_options_are_checked() -> None:
    datasets = "dataset@target=choice(scenes/plain_count,scenes/plain_classify)"
    with pytest.raises(
        ConfigError, match="one sweep cannot maximize and minimize; it has val/target/mae, val/target/acc"
    ):
        with_direction([*SWEEP, "cell=scratch", datasets])
    for metrics, has in (
        ("selection.metric=choice(auroc,accuracy)", "val/target/auroc, val/target/accuracy"),
        ("optimized_metric=choice(test/target/f1,test/target/auroc) optimize_on_test=true", "test/target/f1, test"),
    ):
        said = f"^hydra/sweeper=optuna: one sweep cannot compare values of several metrics; it has {has}[^\n]*$"
        with pytest.raises(ConfigError, match=said):
            with_direction([*SWEEP, "cell=scratch", *metrics.split()])
    same = "dataset@target=choice(scenes/plain_classify,scenes/textured_classify)"
    assert with_direction([*SWEEP, "cell=scratch", same])[-1] == "hydra.sweeper.direction=maximize"
    with pytest.raises(ConfigError, match="steps=-1: must be at least 1"):
        with_direction([*SWEEP, "cell=scratch", "steps=-1"])
    with pytest.raises(ConfigError, match="optimized_metric=test/target/accuracy: the test set is not for choosing"):
        with_direction([*SWEEP, "cell=scratch", "optimized_metric=test/target/accuracy"])


@pytest.mark.parametrize(
    ("sweeper", "fails"),
    [
        ({"direction": "minimize"}, True),
        ({"direction": ["minimize"]}, True),
        ({"direction": "maximize"}, False),
        ({"ax_config": {"experiment": {"minimize": True}}}, True),
        ({"ax_config": {"experiment": {"minimize": False}}}, False),
        ({"optim": {"maximize": False}}, True),
        ({"optim": {"maximize": True}}, False),
        ({"max_batch_size": None}, False),
    ],
)
def test_a_sweeper_configured_elsewhere_is_held_to_the_metric(sweeper: dict, fails: bool) -> None:
    cfg = composed("cell=scratch")
    assert direction_of(cfg) == "maximize"
    for mode in (RunMode.MULTIRUN, RunMode.RUN):
        hydra = SimpleNamespace(mode=mode, sweeper=OmegaConf.create(sweeper))
        if fails and mode == RunMode.MULTIRUN:
            with pytest.raises(ConfigError) as error:
                check_direction(hydra, cfg)
            assert len(lines(error.value)) == 1 and "val/target/accuracy, which is to maximize" in str(error.value)
        else:
            check_direction(hydra, cfg)


def test_a_kind_that_is_not_known_here_needs_its_direction_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tl_run.sweeping.selection_metric", lambda cfg: None)
    with pytest.raises(ConfigError, match=r"hydra\.sweeper\.direction= is missing"):
        with_direction([*SWEEP, "cell=scratch"])
    given = [*SWEEP, "cell=scratch", "hydra.sweeper.direction=maximize"]
    assert with_direction(given) == given


def test_the_test_set_is_asked_for_twice() -> None:
    wanted = "optimized_metric=test/target/accuracy"
    assert says("cell=scratch", wanted) == [
        f"{wanted}: the test set is not for choosing; leave it out, or say optimize_on_test=true too"
    ]
    assert says("cell=scratch", wanted, "optimize_on_test=true") == []
    assert says("cell=scratch", "optimize_on_test=true") == [
        "optimize_on_test=true: has no effect with optimized_metric=null, which is not of the test set"
    ]


@pytest.mark.slow
def test_a_run_returns_its_selection_metric_on_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("samples", "predictions", "curves"):
        monkeypatch.setattr(pictures, name, lambda *_: None)
    given = config("cell=domain_adaptation", "selection.metric=macro_f1")
    value = execute(given, tmp_path / "one")
    results = json.loads((tmp_path / "one" / "results.json").read_text())
    assert results["val"] == {"target/macro_f1": value}
    assert results["selection"] == "val/target/macro_f1 max"
    assert [stage["monitor"] for stage in results["stages"]] == ["val/source/macro_f1", "val/target/macro_f1"]
    assert set(results["test"]) >= {"target/macro_f1", "target/accuracy"}
    twice = config("cell=scratch", "optimized_metric=test/target/accuracy", "optimize_on_test=true")
    value = execute(twice, tmp_path / "two")
    assert value == json.loads((tmp_path / "two" / "results.json").read_text())["test"]["target/accuracy"]


def test_the_folders_of_a_sweep_say_what_varied() -> None:
    given = [
        "-m",
        "cell=multitask,scratch",
        "seed=0,1",
        "target.labelled=32,64",
        "steps=20",
        "dataset@source=mnist,usps",
    ]

    noted = naming_what_varies(given)[-1]

    assert noted == "hydra.job.config.override_dirname.exclude_keys=['steps']"
    task = ["cell=multitask", "seed=1", "target.labelled=64", "steps=20", "dataset@source=usps"]
    assert varying(task, ["steps"]) == ["labelled=64", "source=usps"]


def test_names_of_folders_tell_roles_apart_and_hold_nothing_odd() -> None:
    task = ["target.labelled=64", "source.labelled=32", "dataset@source=scenes/plain_count", "~callbacks", "x='a b'"]

    parts = varying(task, [])

    assert parts == ["target-labelled=64", "source-labelled=32", "source=scenes-plain_count", "x=-a-b"]


def test_a_single_run_has_no_note_and_one_that_was_given_stays() -> None:
    own = "hydra.job.config.override_dirname.exclude_keys=[seed]"

    assert naming_what_varies(["cell=scratch"]) == ["cell=scratch"]
    assert naming_what_varies(["-m", "seed=0,1", own]) == ["-m", "seed=0,1", own]
