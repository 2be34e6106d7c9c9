"""A head whose labels overlap another's takes those rows by name."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torchvision.models import get_model

from tests.conftest import digest, trainer_for
from tl_modules import DomainAdaptation, TaskAdaptation, TaskFineTuning, TransferModule
from tl_modules.heads.rows import rows_by_name

KINDS = ("classification", "multilabel", "segmentation", "detection")
SHARED = Path(__file__).parents[3] / "shared" / "data"


def task(labels, kind="classification", name="animals"):
    return {"name": name, "kind": kind, "labels": labels, "domain": "d"}


def test_names_are_equal_or_not():
    assert rows_by_name(["c", "x", "a"], ["a", "b", "c"]) == {0: 2, 2: 0}
    assert rows_by_name(["Sea_Lion", "ants", "crane"], ["sea lion", "ant", "crane", "Crane"], folded=True) == {0: 0}
    assert rows_by_name(["sea_lion", "Sea lion"], ["sea lion"], folded=True) == {}
    assert rows_by_name(["Sea_Lion"], ["sea lion"]) == {}


def rows(head):
    """Return the tensors with a row per label, stacked, and the others."""
    state = head.state_dict()
    return [state[name] for name in head.rows], {n: v for n, v in state.items() if n not in head.rows}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", [TaskFineTuning, DomainAdaptation])
def test_between_stages_rows_move_by_name_and_the_rest_is_as_initialised(cell, kind):
    labels = {"source": ["cat", "dog", "emu", "fox"], "target": ["emu", "gnu", "cat"]}
    module = cell(task(labels["target"], kind), source=task(labels["source"], kind), seed=3)
    module.enter("source")
    new = [value.clone() for value in rows(module.head("target"))[0]]
    with torch.no_grad():
        for parameter in module.head("source").parameters():
            parameter.add_(torch.randn_like(parameter))
    report = module.enter("target")
    (taken, rest), (given, other) = rows(module.head("target")), rows(module.head("source"))
    for own, initial, source in zip(taken, new, given, strict=True):
        assert torch.equal(own[0], source[2]) and torch.equal(own[2], source[0])
        assert torch.equal(own[1], initial[1])
    assert all(torch.equal(value, other[name]) for name, value in rest.items())
    assert "2 rows by name (emu, cat), 1 new" in str(report)
    with torch.no_grad():  # the same picture, the same name, the same logit
        module.eval()
        images = torch.rand(2, 3, 32, 32)
        one, two = module(images, "source"), module(images, "target")
        one, two = (x.logits.movedim(2, 1) if kind == "detection" else x for x in (one, two))
        assert torch.allclose(two[:, [0, 2]], one[:, [2, 0]], atol=1e-4)


@pytest.mark.parametrize(
    ("cell", "source"),
    [
        (TaskFineTuning, task(["a", "b"])),
        (TaskAdaptation, task(["emu", "cat"], name="other")),
        (TaskAdaptation, task(["emu", "cat"], "multilabel")),
    ],
)
def test_without_a_name_in_common_or_of_another_task_a_head_is_new(cell, source):
    module = cell(task(["emu", "gnu"]), source=source, seed=3)
    module.enter("source")
    before = digest(module.head("target"))
    report = module.enter("target")
    assert digest(module.head("target")) == before and not report.by_name


@pytest.fixture
def checkpoint(tmp_path):
    module = TransferModule(task(["cat", "dog", "emu"]), seed=5)
    trainer = trainer_for(1)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    return module.head("target").linear.weight.detach(), tmp_path / "x.ckpt"


def test_a_planted_run_and_a_runs_weights_bring_their_rows(checkpoint):
    weight, path = checkpoint
    planted = TransferModule(task(["gnu", "emu"]), seed=6)
    new = planted.head("target").linear.weight[0].detach().clone()
    report = planted.plant(torch.load(path, weights_only=True))
    assert "1 rows by name (emu), 1 new" in str(report) and not report.reinitialised
    loaded = TransferModule(task(["gnu", "emu"]), backbone={"name": "small", "weights": str(path)}, seed=6)
    assert "1 rows by name (emu), 1 new" in str(loaded.parts.report)
    for module in (planted, loaded):
        assert torch.equal(module.head("target").linear.weight[1], weight[2])
        assert torch.equal(module.head("target").linear.weight[0], new)
    nothing = TransferModule(task(["gnu", "yak"]), seed=6)
    before = digest(nothing.head("target"))
    assert "head.linear.weight" in nothing.plant(torch.load(path, weights_only=True)).reinitialised
    assert digest(nothing.head("target")) == before


@pytest.mark.parametrize("source", ["weights", "file"])
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "timm/resnet10t"])
def test_published_classifiers_give_the_rows_of_their_categories(name, source, monkeypatch, tmp_path):
    if name.startswith("timm"):
        timm = pytest.importorskip("timm")
        net, create = timm.create_model(name.removeprefix("timm/")), "timm.create_model"
        last = net.get_classifier()
    else:
        net, create = get_model(name, weights=None), "torchvision.models.get_model"
        last = net.classifier[3]
    weight, bias = last.weight.detach().clone(), last.bias.detach().clone()
    path = tmp_path / "net.pth"
    torch.save(net.state_dict(), path)
    if source == "weights":
        monkeypatch.setattr(create, lambda *_, **__: copy.deepcopy(net))
    spec = {"name": name, "image_size": 64, "weights": "DEFAULT" if source == "weights" else str(path)}
    labels = ["gnu", "Great_White_Shark", "goldfishes", "cardigan", "goldfish"]
    module = TransferModule(task(labels), backbone=spec, seed=2)
    monkeypatch.undo()
    fresh = TransferModule(task(labels), backbone={"name": name, "image_size": 64}, seed=2)
    own, new = (one.head("target").linear for one in (module, fresh))
    assert torch.equal(own.weight[[1, 4]], weight[[2, 1]]) and torch.equal(own.bias[[1, 4]], bias[[2, 1]])
    assert torch.equal(own.weight[[0, 2, 3]], new.weight[[0, 2, 3]])  # a category that stands twice is none
    assert "2 rows by name (Great_White_Shark, goldfish), 3 new" in str(module.parts.report)
    assert not module.parts.report.unused, "the classifier's rows were of use"
    other = TransferModule(task(["gnu", "yak"]), backbone=spec, seed=2).parts.report if source == "file" else None
    assert other is None or len(other.unused) == 2


def test_imagenets_daisy_is_known(tmp_path):
    path = SHARED / "weights/mobilenet_v2_tf2ptq-bd4cb33c.pth"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    spec = {"name": "mobilenet_v2", "image_size": 64, "weights": str(path)}
    module = TransferModule(task(["daisy", "tulip", "rose"]), backbone=spec)
    weight = torch.load(path, weights_only=True)["classifier.1.weight"]
    assert torch.equal(module.head("target").linear.weight[0], weight[985])
    assert "1 rows by name (daisy), 2 new" in str(module.parts.report)
