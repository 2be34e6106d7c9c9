from __future__ import annotations

import torch
from hydra import compose, initialize_config_dir

from tl_modules.backbones import build_backbone
from tl_run.cli import checked
from tl_run.compare.arms import Arm, Needs
from tl_run.compare.plan import OVERHEAD, duration, fitting, pairs, planned, show
from tl_run.compare.probing import Probe, StageCost, probe
from tl_run.paths import CONF
from tl_run.schema import ConfigError

DATA = {"_target_": "x.Data", "name": "a", "kind": "classification", "task": "t", "domain": "d", "root": "here"}
SOURCE = StageCost("source", 70, 7.0, "key")
TARGET = StageCost("target", 30, 3.0, None)


def arm(name, cell=None, **needs):
    return Arm(name=name, says="x", needs=Needs(**needs), overrides=[f"cell={cell or name}"])


def made(one):
    node = {"name": "small", "weights": None}
    pair = {"source": DATA, "target": DATA}
    return {"cell": {"name": one.overrides[0][5:]}, **pair, "backbone": node, "objective": {"name": "sum"}}


def probed(cfg):
    name = cfg["cell"]["name"]
    if name == "multitask":
        raise ValueError("the data are\nnot there")
    if name in ("task_finetuning", "domain_adaptation"):
        return Probe([SOURCE, TARGET], 1.0, 10.0, "alike")
    return Probe([TARGET], 1.0, 10.0, name)


ARMS = [
    arm("scratch"),
    arm("domain_adaptation", task="same"),
    arm("task_finetuning", task="same"),
    arm("task_adaptation", task="different"),
    arm("multitask"),
    arm("probe", weights=True),
]


def test_what_cannot_run_is_left_out_with_its_reason_and_of_two_alike_the_declared_name_stays():
    plan = planned(*fitting(ARMS, made, lambda cfg: cfg), probed)
    assert [one.name for one, _, _ in plan.arms] == ["scratch", "task_finetuning"]
    assert plan.left_out == {
        "domain_adaptation": "does here what task_finetuning does",
        "task_adaptation": "needs tasks that are different, and those of source and target are the same",
        "multitask": "the data are not there",
        "probe": "needs pretrained weights: backbone.weights=",
    }
    assert pairs(plan) == ["from a (here) to a (here)"]


def test_a_configuration_that_is_refused_leaves_its_arm_out():
    def check(cfg):
        if cfg["cell"]["name"] == "task_finetuning":
            raise ConfigError("one\ntwo")
        return cfg

    assert planned(*fitting(ARMS[:3], made, check), probed).left_out == {"task_finetuning": "one"}


def test_a_source_stage_that_arms_share_is_paid_once():
    def probe(cfg):
        return Probe([SOURCE, TARGET], 1.0, 10.0, cfg["cell"]["name"])

    plan = planned(*fitting(ARMS[:3], made, lambda cfg: cfg), probe)
    assert plan.seconds() == {
        "scratch": OVERHEAD + 11,
        "domain_adaptation": OVERHEAD + 4,
        "task_finetuning": OVERHEAD + 4,
    }
    assert plan.shared() == [["scratch", "domain_adaptation", "task_finetuning"]]
    assert plan.steps() == dict.fromkeys(plan.seconds(), 100)


def test_what_is_found_in_the_data_is_told_once_and_of_a_long_one_what_would_be_shorter(capsys):
    def probe(cfg):
        return Probe([TARGET], 1.0, 10.0, cfg["cell"]["name"], ("target: 1 of 9 pictures unreadable, left out: b.png",))

    plan = planned(*fitting(ARMS[:3], made, lambda cfg: cfg), probe)
    show(plan, dict.fromkeys(plan.seconds(), 1), 0, "val/target/accuracy", "max")
    said = capsys.readouterr().out
    assert said.count("target: 1 of 9 pictures unreadable, left out: b.png") == 1
    assert "shorter: " not in said
    show(plan, dict.fromkeys(plan.seconds(), 1000), 0, "val/target/accuracy", "max")
    assert "shorter: compare.quick=true (about " in capsys.readouterr().out


def test_a_duration_reads_well():
    assert [duration(seconds) for seconds in (8, 600, 7200)] == ["8 s", "10 min", "2.0 h"]


def test_arms_that_differ_only_in_what_they_would_share_with_a_source_are_alike_where_weights_stand_for_it(tmp_path):
    torch.save(build_backbone("small").state_dict(), tmp_path / "x.pth")
    weights = ["dataset@source=pretrained", f"source.weights={tmp_path}/x.pth", "source.domain=other"]
    tiny = ["steps=2", "target.train_size=24", "target.val_size=16", "target.image_size=32", "datamodule.batch_size=8"]
    found = {}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for name, given in {
            "domain_adaptation": weights,
            "modality_transfer": [*weights, "source.task=other"],
            "task_adaptation": [*weights, "source.task=other"],
            "scratch": [],
        }.items():
            found[name] = probe(checked(compose("train", [f"cell={name}", *given, *tiny]))).wiring
    assert found["domain_adaptation"] == found["modality_transfer"]
    assert len(set(found.values())) == 3
