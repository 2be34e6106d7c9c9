"""What is foretold of arms: from frozen features of labelled training data, and never from the test set."""

from __future__ import annotations

import io

import pytest
import torch

from datamodules.pair import PairedData
from tests.tl_run.test_baselines import config
from tl_run.build import build_data, build_module
from tl_run.compare import advisor
from tl_run.compare.advisor import GIVEN, RANDOM, Found, advise, expected, expected_order, fixed_order, foretold
from tl_run.compare.arms import Arm, Needs, read_arms
from tl_run.compare.plan import Plan
from tl_run.paths import folders
from tl_run.report.advice import read_advice
from tl_run.store import METRICS, WEIGHTS, Store, address

TINY = ["steps=8", *(f"{role}.{size}" for role in ("source", "target") for size in ("train_size=40", "val_size=20"))]
ARMS = {
    "scratch": ["cell=scratch"],
    "domain_adaptation": ["cell=domain_adaptation"],
    "multitask": ["cell=multitask"],  # its source has masks
    "parallel_training": ["cell=parallel_training"],
}


def plan_of(arms, *more):
    made = [
        (Arm(name=n, says="x", needs=Needs(), overrides=o), config(*o, *TINY, *more), None) for n, o in arms.items()
    ]
    return Plan(made)


@pytest.fixture(scope="module")
def plan():
    return plan_of(ARMS)


def test_what_is_defined_is_told_and_what_is_not_without_a_look_at_the_test_set(plan, monkeypatch):
    asked, split = set(), PairedData.split
    monkeypatch.setattr(PairedData, "split", lambda self, role, name: asked.add(name) or split(self, role, name))
    state = torch.get_rng_state()
    found = foretold(plan, [])
    assert torch.equal(torch.get_rng_state(), state)
    assert asked == {"train", "val"}
    assert set(found["order"]) == set(found["fixed"]) == {"scratch", "domain_adaptation", "multitask"}
    assert set(found["scores"][RANDOM]) == {"k-NN", "ridge", "LogME"}
    plain, masks = (name for name in found["scores"] if name != RANDOM)
    assert plain == f"the source scenes/plain_classify (a stand-in on features of {RANDOM})"
    assert set(found["scores"][plain]) == {"ridge", "ridge without the source", "LEEP"}
    assert found["scores"][masks] == {}
    said = "\n".join(found["lines"])
    for line in (
        "not defined: H-score (60 samples are too few for features of 192 numbers)",
        "not defined: ridge (a sample of segmentation has no one target)",
        "not defined: LEEP (it is for classes of both roles)",
        "plain_classify: labels of the target that the source has: 10 of 10",
        "samples of the target's test or validation that the source holds: none (overlap=refuse)",
        "tells its samples from the target's with accuracy",
    ):
        assert line in said
    order = found["order"]
    assert order.index("multitask") < order.index("scratch")  # nothing is known that tells them apart


def test_the_network_that_learned_the_source_is_taken_where_the_store_has_it(plan):
    _, cfg, _ = plan.arms[1]
    data = build_data(cfg)
    data.setup()
    module = build_module(cfg, data)
    module.enter("source")
    steps = int(8 * module.plan[0].share)
    key = address({**cfg, "cell": {**cfg["cell"], "lr": 0.01}}, data, module, module.stage, steps)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.1)
    content, carried = io.BytesIO(), {"state_dict": module.state_dict(), "global_step": steps}
    module.on_save_checkpoint(carried)
    torch.save(carried, content)
    store = Store(1.0)
    assert store.take(key) is None
    store.put({WEIGHTS: content.getvalue(), METRICS: b""}, {})
    scores = foretold(Plan(plan.arms[1:2]), [0.1, 0.01])["scores"]
    name = "the source scenes/plain_classify (its network, which the store has)"
    assert set(scores[name]) == {"k-NN", "ridge", "LogME", "LEEP"}
    seen = advisor.look(module.eval(), data, "target", ("train", "val"), through="source", outputs=True)
    labels = seen.targets.argmax(1)
    assert scores[name]["LEEP"] == pytest.approx(advisor.leep(seen.outputs, labels), abs=1e-5)
    assert advisor._trained(advisor.Ready(cfg, data, module), [0.1]) is None  # at no other rate


def test_weights_that_are_given_are_probed(tmp_path):
    cfg = config("cell=scratch", *TINY)
    module = build_module(cfg, build_data(cfg))
    parts = (("stem.", module.parts.stem["target"]), ("trunk.", module.parts.trunk["target"]))
    torch.save({k + n: v for k, part in parts for n, v in part.state_dict().items()}, tmp_path / "weights.pth")
    given = f"backbone.weights={tmp_path / 'weights.pth'}"
    made = plan_of({"scratch": ["cell=scratch"]}).arms + plan_of({"finetune": ["cell=finetune", given]}).arms
    scores = foretold(Plan(made), [])["scores"]
    assert list(scores) == [RANDOM, GIVEN]
    assert scores[GIVEN] == pytest.approx(scores[RANDOM])  # they are the same


def test_a_source_that_cannot_be_looked_at_leaves_the_order_to_the_fixed_list(plan, monkeypatch):
    def broken(*_):
        raise RuntimeError("no\nsuch thing")

    monkeypatch.setattr(advisor, "_of_source", broken)
    found = foretold(Plan(plan.arms[:2]), [])
    assert found["order"] == found["fixed"] == ["domain_adaptation", "scratch"]
    assert "  not defined: all (RuntimeError: no such thing)" in found["lines"]
    assert "no order can be foretold, and the fixed list stands for it" in found["lines"]


def test_what_was_said_once_stays(plan, tmp_path, monkeypatch):
    folder = tmp_path / "comparisons" / "a"
    told = {"order": ["b", "scratch"], "fixed": ["scratch", "b"], "scores": {}, "facts": [], "lines": ["one"]}
    monkeypatch.setattr(advisor, "foretold", lambda *_: told)
    said = advise(plan, folder, [], False)
    assert said == ["one", "no track record: no comparison that is over keeps what was said before it"]
    monkeypatch.setattr(advisor, "foretold", lambda *_: {**told, "lines": ["two"]})
    assert advise(plan, folder, [], True)[0] == "one"
    assert read_advice(folder)["afterwards"] is False


def test_a_stand_in_tells_what_the_source_adds_to_the_features_without_it():
    base = Found(RANDOM, {"ridge": 0.5})
    some = Found("the source a", {"ridge": 0.75, "ridge without the source": 0.625}, before=RANDOM)
    made = {RANDOM: base, "a": some, "b": Found("the source b", before=RANDOM), "c": Found("c", {"ridge": 0.9})}
    assert [expected(made, name) for name in made] == [0.5, 0.625, 0.5, 0.9]
    assert expected({"a": some}, "a") == 0.75


def test_the_order_is_by_score_and_among_equals_the_fixed_lists():
    arms = ["scratch", "mine", "probe", "task_finetuning", "finetune"]
    assert {*advisor.FIXED} <= {*read_arms(folders())}
    assert fixed_order(arms) == ["finetune", "task_finetuning", "probe", "mine", "scratch"]
    scores = {"scratch": 0.501, "mine": 0.5, "probe": 0.7, "finetune": 0.7, "task_finetuning": 0.9}
    assert expected_order(scores) == ["task_finetuning", "finetune", "probe", "mine", "scratch"]
    assert expected_order({**scores, "mine": None}) == fixed_order(arms)
