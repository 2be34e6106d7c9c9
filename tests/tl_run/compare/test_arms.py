from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose

from tl_run.cli import checked
from tl_run.compare.arms import BASELINE, Arm, Needs, chosen_arms, read_arms, reads_no_label, unmet
from tl_run.paths import CONF, CONFIG_NAME, composing
from tl_run.schema import ConfigError

DATA = {"_target_": "x.Data", "name": "a", "kind": "classification", "task": "t", "domain": "d"}
WEIGHTS = {**DATA, "_target_": "datamodules.readers.pretrained.Pretrained", "name": "pretrained"}


def config(source=DATA, weights=None, **target):
    return {"source": source, "target": {**DATA, **target}, "backbone": {"name": "small", "weights": weights}}


@pytest.mark.parametrize(
    ("needs", "cfg", "lacks"),
    [
        ({}, config(), None),
        ({"task": "same"}, config(), None),
        (
            {"task": "same"},
            config(task="u"),
            "needs tasks that are the same, and those of source and target are different",
        ),
        (
            {"task": "different"},
            config(),
            "needs tasks that are different, and those of source and target are the same",
        ),
        ({"task": "different"}, config(kind="detection"), None),
        ({"kind": "same"}, config(task="u"), None),
        ({"kind": "same"}, config(kind="detection"), "needs kinds of task that are the same"),
        ({"source": "data"}, config(WEIGHTS), "needs a source that is data, and pretrained is weights"),
        ({"source": ["data", "weights"]}, config(WEIGHTS), None),
        ({"weights": True}, config(), "needs pretrained weights"),
        ({"weights": True}, config(weights="DEFAULT"), None),
    ],
)
def test_what_an_arm_needs_is_looked_up_in_the_pair(needs, cfg, lacks):
    found = unmet(Needs(**needs), cfg)
    assert found is None if lacks is None else found is not None and found.startswith(lacks)


def test_arms_that_read_no_label_of_the_target_are_told_by_their_options():
    blind = {name for name, arm in read_arms([CONF]).items() if reads_no_label(arm)}
    assert blind == {"adabn", "coral", "dann", "information_maximisation", "mcc", "source_only"}
    both = Arm(name="both", says="x", needs=Needs(), overrides=["cell=multitask", "objective=coral"])
    assert not reads_no_label(both)


def test_an_arm_is_found_by_its_file_alone(tmp_path: Path):
    (tmp_path / "arm").mkdir()
    (tmp_path / "arm" / "slow_start.yaml").write_text("says: x\nneeds: {}\noverrides: [cell=scratch]\n")
    (tmp_path / "arm" / "multitask.yaml").write_text("says: mine\nneeds: {}\noverrides: [cell=multitask]\n")
    arms = read_arms([CONF, tmp_path])
    assert next(iter(arms)) == BASELINE
    assert arms["slow_start"].overrides == ["cell=scratch"]
    assert arms["multitask"].says == "mine"
    assert [arm.name for arm in chosen_arms(arms, ["slow_start"])] == [BASELINE, "slow_start"]


def test_an_arm_that_has_to_be_asked_for_is_not_among_all():
    arms = read_arms([CONF])
    assert arms["random"].asked and not arms["multitask"].asked
    assert "random" not in [arm.name for arm in chosen_arms(arms, None)]
    assert "random" in [arm.name for arm in chosen_arms(arms, ["random"])]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("says: x\nneeds: {}\n", "overrides: Field required"),
        ("says: x\nneeds: {task: alike}\noverrides: [a=b]\n", "needs.task: "),
        ("says: x\nneeds: {}\noverrides: [a=b]\nmore: 1\n", "more: "),
        ("- 1\n", "must be a mapping"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_file_that_is_no_arm_is_named(text, says, tmp_path: Path):
    (tmp_path / "arm").mkdir()
    (tmp_path / "arm" / "odd.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"odd\.yaml: ") as error:
        read_arms([tmp_path])
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_arm_is_named_with_what_is_allowed():
    with pytest.raises(ConfigError, match=r"compare\.arms=multitsk: did you mean multitask\? allowed: scratch, "):
        chosen_arms(read_arms([CONF]), ["multitsk"])


@pytest.mark.parametrize("arm", read_arms([CONF]).values(), ids=lambda arm: arm.name)
def test_every_arm_of_ours_is_a_run_of_train(arm: Arm):
    weights = ["backbone=resnet18", "backbone.weights=DEFAULT"] if arm.needs.weights else []
    with composing([]) as more:
        cfg = compose(CONFIG_NAME, [*weights, *arm.overrides, *more])
        if arm.needs.task == "different":
            assert unmet(arm.needs, checked(cfg)) is None
        assert f"cell={checked(cfg)['cell']['name']}" == arm.overrides[0]
