"""Objectives: the sum, learned weights, and adaptation that reads no label of the target."""

import json
import re
from functools import cache
from typing import get_args, get_type_hints

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from datamodules.pair import CombinedData, SequentialData
from datamodules.synthetic.scenes import Scenes
from tests.integration.test_runs import config
from tl_modules import DomainAdaptation, MultiTask, ParallelTraining, Task, TaskFineTuning, TransferModule, fit
from tl_modules.features import Features
from tl_modules.objectives import OBJECTIVES, Objective, build_objective
from tl_modules.objectives.coral import covariance
from tl_modules.objectives.torchjd import Torchjd
from tl_modules.stages import Stage
from tl_run.report import pictures
from tl_run.runner import execute

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
QUIET |= {"enable_model_summary": False, "num_sanity_val_steps": 0, "use_distributed_sampler": False}
BOTH = Stage("joint", ("source", "target"))


def tasks():
    return {"source": Task("a", "classification", ("x", "y")), "target": Task("b", "regression")}


def scenes(ground, target="classify", **options):
    return Scenes(ground=ground, target=target, train_size=32, val_size=8, image_size=32, **options)


def test_sum_is_the_sum_of_weighted_losses_and_has_no_state():
    module = MultiTask(target=tasks()["target"], source=tasks()["source"], weights={"source": 3.0})
    assert not list(module.objective.state_dict())
    losses = module.weighted({"source": torch.tensor(2.0), "target": torch.tensor(5.0)})
    assert float(module.objective(losses, {}, BOTH)) == 11.0


def test_uncertainty_is_equation_10_and_learns_its_variances():
    made = build_objective("uncertainty", tasks(), {"source": 4, "target": 4})
    with torch.no_grad():
        made.log_variances["source"].fill_(0.5)
    losses = {"source": torch.tensor(2.0), "target": torch.tensor(5.0)}
    total = made(losses, {}, BOTH)
    assert float(total.detach()) == pytest.approx(2 * torch.exp(torch.tensor(-0.5)).item() + 0.25 + 5)
    total.backward()
    assert float(made.log_variances["source"].grad) == pytest.approx(-2 * torch.exp(torch.tensor(-0.5)).item() + 0.5)


def test_the_geometric_mean_is_equation_5_and_takes_no_weights():
    made = build_objective("geometric_mean", tasks(), {})
    losses = {"source": torch.tensor(2.0), "target": torch.tensor(8.0, requires_grad=True)}
    total = made(losses, {}, BOTH)
    assert float(total.detach()) == pytest.approx(4.0)
    total.backward()
    assert float(losses["target"].grad) == pytest.approx(4.0 / 2 / 8)  # the mean, over n, of the loss's logarithm
    assert float(made({"source": torch.tensor(3.0)}, {}, BOTH)) == 3.0
    both = tasks()
    with pytest.raises(ValueError, match="has no effect with objective='geometric_mean', which takes none"):
        MultiTask(**both, objective="geometric_mean", weights={"source": 2.0})


def test_random_weights_are_the_softmax_of_draws_that_the_step_is_the_seed_of():
    made = build_objective("random", tasks(), {})
    losses = {"source": torch.tensor(1.0), "target": torch.tensor(0.0)}

    def weight(seed):
        torch.manual_seed(seed)
        return float(made(losses, {}, BOTH))

    torch.manual_seed(7)
    drawn = float(torch.randn(2).softmax(0)[0])
    assert weight(7) == weight(7) == pytest.approx(drawn)
    assert len({round(weight(seed), 4) for seed in range(9)}) == 9


def gradients(objective, source="count"):
    """Return what a module has learned from after one step, by parameter."""
    own, other = scenes("textured"), scenes("textured", source, role="source")
    module = MultiTask(target=own.task, source=other.task, objective=objective, clip=None)
    found = {}
    module.on_before_optimizer_step = lambda _: found.update(
        {name: one.grad.clone() for name, one in module.named_parameters() if one.grad is not None}
    )
    fit(module, CombinedData(own, other, batch_size=8), {**QUIET, "limit_val_batches": 0}, steps=1)
    return found


def test_an_aggregator_that_adds_is_plain_training_and_others_move_shared_parameters_alone():
    pytest.importorskip("torchjd")
    plain = gradients("sum")
    added = gradients({"name": "torchjd", "aggregator": "Sum"})
    assert plain.keys() == added.keys()
    assert all(torch.allclose(plain[name], added[name], atol=1e-6, rtol=1e-4) for name in plain)
    halved = gradients({"name": "torchjd", "aggregator": "Mean"})
    for name, value in plain.items():
        assert torch.allclose(value / (1 if ".head." in name else 2), halved[name], atol=1e-6, rtol=1e-4), name


def test_upgrad_moves_against_no_role():
    pytest.importorskip("torchjd")
    made = build_objective("torchjd", tasks(), {})
    shared = nn.Linear(1, 2, bias=False)
    module = type("Module", (nn.Module,), {})()
    module.layer = shared
    module.parts = OnePart(shared)
    made.meet(module)
    rows = torch.tensor([[1.0, 0.0], [-2.0, 1.0]])
    losses = {role: (row @ shared.weight).sum() for role, row in zip(("source", "target"), rows, strict=True)}
    made(losses, {}, BOTH).backward()
    assert (rows @ shared.weight.grad >= -1e-3).all()
    assert not (rows @ rows.sum(0) >= 0).all()  # the sum does


class OnePart:
    """Parts of which there is one, which both roles go through."""

    def __init__(self, part):
        self.part = part

    def named(self):
        return [("trunk", "shared", self.part)]

    def users(self, kind, name):
        return ["source", "target"]


@pytest.mark.parametrize("aggregator", get_args(get_type_hints(Torchjd.__init__)["aggregator"]))
def test_every_aggregator_that_is_offered_is_there_and_keeps_nothing(aggregator):
    pytest.importorskip("torchjd")
    made = build_objective({"name": "torchjd", "aggregator": aggregator}, tasks(), {})
    assert not made.state_dict() and not hasattr(made.aggregator, "reset")
    assert made.aggregator(torch.ones(2, 3)).shape == (3,)


def test_what_an_aggregator_needs_is_missed_in_a_line(monkeypatch):
    pytest.importorskip("torchjd")

    def missing():
        raise ImportError("no solver")

    monkeypatch.setattr("torchjd.aggregation.UPGrad", missing)
    said = 'objective.aggregator=UPGrad: what it needs is not installed; pip install "tl-modules[torchjd]"'
    with pytest.raises(ValueError, match=re.escape(said)):
        build_objective("torchjd", tasks(), {})


def test_torchjd_is_missed_in_a_line(monkeypatch):
    monkeypatch.setattr("tl_modules.objectives.torchjd.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="objective=torchjd: torchjd is not installed; pip install"):
        build_objective("torchjd", tasks(), {})


def test_coral_is_equation_1_of_the_paper():
    torch.manual_seed(0)
    one, other = torch.randn(7, 5), torch.randn(9, 5)
    assert torch.allclose(covariance(one), torch.cov(one.T), atol=1e-6)
    made = build_objective({"name": "coral", "weight": 2.0}, tasks(), {"source": 5, "target": 5})
    features = {"source": Features(one), "target": Features(other)}
    distance = (torch.cov(one.T) - torch.cov(other.T)).square().sum() / (4 * 25)
    total = made({"source": torch.tensor(1.0), "target": torch.tensor(0.0)}, features, BOTH)
    assert float(total) == pytest.approx(1 + 2 * float(distance), rel=1e-5)
    assert float(covariance(one[:1]).abs().sum()) == 0


@pytest.mark.parametrize(
    ("cell", "objective", "said"),
    [
        (TransferModule, "uncertainty", "one role per stage"),
        (TaskFineTuning, "uncertainty", "one role per stage"),
        (MultiTask, "corall", "is unknown; allowed: adabn, coral, "),
        (ParallelTraining, "torchjd", "where no part is shared"),
        (MultiTask, {"name": "torchjd", "aggregator": "Upgrad"}, "'Upgrad' is unknown; allowed: AlignedMTL, "),
        (MultiTask, {"name": "coral", "wight": 1}, "wight is no option of coral; allowed: weight"),
        (MultiTask, {"name": "coral", "weight": -1}, "at least 0"),
        (MultiTask, {"name": "mcc", "temperature": 0}, "must be above 0"),
        (MultiTask, {"name": "information_maximisation", "diversity": -1}, "at least 0"),
        (MultiTask, {"name": "dann", "hidden": 0}, "at least 1"),
        (MultiTask, "mcc", "is for classification, not for regression"),
        (TransferModule, "adabn", "reads the target's labels"),
        (MultiTask, "nowhere.Mine", "the module nowhere is not imported"),
        (MultiTask, "tl_modules.stages.Stage", "must be a subclass"),
    ],
)
def test_objectives_without_effect_or_sense_are_refused(cell, objective, said):
    own = tasks()
    if cell is TaskFineTuning:
        own["source"] = own["target"]
    with pytest.raises(ValueError, match=said):
        cell(target=own["target"], source=None if cell is TransferModule else own["source"], objective=objective)


def test_adapting_needs_the_same_labels():
    source, target = Task("a", "classification", ("x", "y")), Task("a", "classification", ("x", "z"), "elsewhere")
    with pytest.raises(ValueError, match="needs the same labels"):
        DomainAdaptation(target=target, source=source, objective="coral")


ADAPTING = ("adabn", "coral", "dann", "information_maximisation", "mcc", "source_only")


@cache
def adapted(noise: bool, objective="coral", last="adapt", **options):
    """Train the adapting cell to a stage; with noise in place of the target's labels where it is asked for."""
    seed_everything(0)
    source, target = scenes("plain", role="source"), scenes("textured")
    data = SequentialData(target, source, batch_size=8)
    data.prepare_data()
    data.setup()
    if noise:
        for dataset in (target.train_dataset, target.val_dataset):
            labels = dataset.fields["label"]
            dataset.fields["label"] = torch.randint(0, 10, labels.shape, generator=torch.Generator().manual_seed(9))
    objective = {"name": objective, **options}
    module = DomainAdaptation(target=target.task, source=source.task, objective=objective, lr=1e-3)
    assert [s.name for s in module.plan] == ["source", "adapt"]
    assert not any("target" in s.learn for s in module.plan)
    if last == "source":
        module.plan = module.plan[:1]
        fit(module, data, QUIET, steps=4)
        return module
    assert [one.steps for one in fit(module, data, QUIET, steps=6)] == [4, 2]
    assert module.monitor == ("val/source/accuracy", "max")
    return module


@pytest.mark.parametrize("objective", ADAPTING)
def test_no_label_of_the_target_is_read_when_it_is_adapted_to(objective):
    plain, noisy = adapted(False, objective).state_dict(), adapted(True, objective).state_dict()
    assert all(torch.equal(plain[name], noisy[name]) for name in plain)


def changed(one, other, what):
    state = dict(other.parts.named_parameters())
    named = [(name, value) for name, value in one.parts.named_parameters() if what in name]
    return [name for name, value in named if not torch.equal(value, state[name])]


@pytest.mark.parametrize("objective", ["coral", "mcc", "dann"])
def test_adapting_moves_what_its_weight_of_zero_does_not(objective):
    assert changed(adapted(False, objective), adapted(False, objective, weight=0.0), "trunk")


def source_stage():
    """Return the module of `adapted` after its stage of the source."""
    module = adapted(False, "source_only", last="source")
    assert module.stage.name == "source"
    return module


def test_information_maximisation_sees_the_target_alone_and_keeps_the_head():
    module, before = adapted(False, "information_maximisation"), source_stage()
    assert (module.stage.learn, module.stage.see, module.stage.freeze) == ((), ("target",), ("head",))
    assert changed(module, before, "trunk") and not changed(module, before, "head")


def test_adabn_takes_the_statistics_of_the_target_and_leaves_all_weights():
    module, before = adapted(False, "adabn"), source_stage()
    assert not changed(module, before, "")
    norm = module.parts.of("target", "trunk").norm
    assert norm.num_batches_tracked == 2 and not torch.equal(
        norm.running_mean, before.parts.of("target", "trunk").norm.running_mean
    )
    source, target = scenes("plain", role="source"), scenes("textured")
    data = SequentialData(target, source, batch_size=8)
    data.setup()
    data.enter(module.stage)
    batches = [batch["target"] for _, batch in zip(range(2), data.train_dataloader(), strict=False)]
    stem = module.parts.of("target", "stem")
    means = torch.stack([stem(batch).values.mean((0, 2, 3)) for batch in batches])
    assert torch.allclose(norm.running_mean, means.mean(0), atol=1e-5)


def test_a_stage_after_adabn_takes_its_statistics_as_before():
    module = adapted(False, "adabn")
    layers = module.parts.with_statistics("target")
    assert {layer.momentum for layer in layers} == {None}
    module.enter("source")
    assert {layer.momentum for layer in layers} == {0.1}


def test_adabn_is_refused_on_a_network_without_running_statistics():
    task = Task("a", "classification", ("x", "y"))
    own = nn.Sequential(nn.Flatten(), nn.LazyLinear(4), nn.ReLU())
    with pytest.raises(ValueError, match="no effect on a network without running statistics"):
        DomainAdaptation(target=task, source=task, objective="adabn", backbone=own)


def test_the_source_alone_never_sees_the_target():
    task = Task("a", "classification", ("x", "y"))
    module = DomainAdaptation(target=task, source=task, objective="source_only")
    assert [stage.roles for stage in module.plan] == [("source",), ("source",)]
    with pytest.raises(ValueError, match="never sees the target"):
        DomainAdaptation(target=task, source=task, objective="source_only", normalisation="per_role")


def seen(objective, logits, **options):
    """Return an objective's loss on a target's logits, without a source."""
    made = build_objective({"name": objective, **options}, tasks(), {"source": 4, "target": 4})
    return float(made({}, {}, Stage("adapt", (), see=("target",)), outputs={"target": logits}))


def test_mcc_is_equations_2_to_7_of_the_paper():
    torch.manual_seed(0)
    logits = torch.randn(6, 3)
    y = (logits / 2.5).softmax(1)
    h = -(y * y.log()).sum(1)
    w = 6 * (1 + torch.exp(-h)) / (1 + torch.exp(-h)).sum()
    c = torch.zeros(3, 3)
    for i, j, k in ((i, j, k) for i in range(6) for j in range(3) for k in range(3)):
        c[j, k] += w[i] * y[i, j] * y[i, k]
    c = c / c.sum(1, keepdim=True)
    wanted = sum(float(c[j, k]) for j in range(3) for k in range(3) if j != k) / 3
    assert seen("mcc", logits) == pytest.approx(wanted, rel=1e-5)
    assert seen("mcc", logits, weight=3.0) == pytest.approx(3 * wanted, rel=1e-5)
    assert seen("mcc", 100 * torch.eye(3)) == pytest.approx(0, abs=1e-6)


def test_information_maximisation_is_equation_2_of_the_paper():
    torch.manual_seed(0)
    logits = torch.randn(6, 3)
    y = logits.softmax(1)
    mean, each = y.mean(0), -(y * y.log()).sum(1).mean()
    diverse = (mean * mean.log()).sum()
    assert seen("information_maximisation", logits) == pytest.approx(float(each + diverse), rel=1e-5)
    only_certain = seen("information_maximisation", logits, diversity=0.0)
    assert only_certain == pytest.approx(float(each), rel=1e-5)
    best = seen("information_maximisation", 100 * torch.eye(3))
    assert best == pytest.approx(-torch.log(torch.tensor(3.0)).item(), rel=1e-4)


def test_dann_reverses_the_gradient_by_the_papers_ramp():
    torch.manual_seed(0)
    made = build_objective({"name": "dann", "weight": 0.5}, tasks(), {"source": 4, "target": 4})
    pooled = {role: torch.randn(5, 4, requires_grad=True) for role in ("source", "target")}
    losses = {"source": torch.tensor(0.0)}

    def gradient(progress):
        made.progress = progress
        made.zero_grad()
        loss = made(losses, {role: Features(one) for role, one in pooled.items()}, BOTH)
        grads = torch.autograd.grad(loss, [pooled["target"], *made.discriminator.parameters()])
        return float(loss.detach()), grads[0], grads[1]

    start, end = gradient(0.0), gradient(1.0)
    assert start[0] == end[0] and torch.equal(start[2], end[2])  # the discriminator learns alike
    assert float(start[1].abs().max()) == 0
    logits = made.discriminator(pooled["target"]).squeeze(1)
    own = torch.autograd.grad(binary_cross_entropy_with_logits(logits, torch.ones(5)) / 2, pooled["target"])
    ramp = 2 / (1 + torch.exp(torch.tensor(-10.0))) - 1
    assert torch.allclose(end[1], -0.5 * ramp * own[0], atol=1e-6)


@pytest.mark.parametrize("objective", ["dann", "information_maximisation"])
def test_the_stage_before_it_adapts_is_the_sums(objective):
    module = adapted(False, objective, last="source")
    assert not changed(module, source_stage(), "")


class Discriminator(Objective):
    """A domain discriminator that is learned beside the parts."""

    def __init__(self, tasks, widths, scale: float = 1.0):
        super().__init__(tasks, widths)
        self.scale, self.layer = scale, nn.Linear(widths["target"], 2)

    def forward(self, losses, features, stage):
        logits = torch.cat([self.layer(one.pooled.float()) for one in features.values()])
        domain = torch.cat([torch.full((len(one.pooled),), i) for i, one in enumerate(features.values())])
        return torch.stack(list(losses.values())).sum() + self.scale * nn.functional.cross_entropy(logits, domain)


OWN = f"{__name__}.Discriminator"


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["uncertainty", {"name": OWN, "scale": 0.5}])
def test_what_an_objective_learns_is_optimised_clipped_saved_and_resumed(objective, tmp_path):
    def run(steps, path=None):
        source, target = scenes("textured", "count", role="source"), scenes("textured")
        data = CombinedData(target, source, batch_size=8)
        module = MultiTask(target=target.task, source=source.task, objective=objective, lr=1e-2, schedule="constant")
        keep = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1, enable_version_counter=False)
        options = {**QUIET, "enable_checkpointing": True, "callbacks": [keep], "max_steps": steps}
        fit(module, data, options, resume=path)
        return module

    fresh = run(0 + 1)
    names = [group["name"] for group in fresh.trainer.optimizers[0].param_groups]
    assert any(name.startswith("objective.objective") for name in names)
    whole = run(4)
    half = run(2)
    resumed = run(4, tmp_path / "step=2.ckpt")
    state, again = whole.state_dict(), resumed.state_dict()
    own = [name for name in state if name.startswith("objective.")]
    assert own and any(not torch.equal(state[name], half.state_dict()[name]) for name in own)
    assert all(torch.equal(state[name], again[name]) for name in state)
    loaded = MultiTask.load_from_checkpoint(tmp_path / "step=4.ckpt", weights_only=True)
    assert all(torch.equal(loaded.state_dict()[name], state[name]) for name in state)


def test_what_a_cell_adds_is_learned_too_and_a_bare_parameter_is_refused():
    class Adds(MultiTask):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.gate = nn.Linear(2, 2)

        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) + self.gate(torch.ones(2)).sum()

    source, target = scenes("textured", "count", role="source"), scenes("textured")
    module = Adds(target=target.task, source=source.task)
    before = module.gate.weight.detach().clone()
    Trainer(max_steps=2, **QUIET).fit(module, datamodule=CombinedData(target, source, batch_size=8))
    assert not torch.equal(before, module.gate.weight)
    module = MultiTask(target=target.task, source=source.task)
    module.scale = nn.Parameter(torch.ones(()))
    with pytest.raises(ValueError, match="scale: a parameter of a cell has to stand in a module"):
        Trainer(max_steps=2, **QUIET).fit(module, datamodule=CombinedData(target, source, batch_size=8))


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_runs_as_it_is_configured(objective, tmp_path, monkeypatch):
    for name in ("samples", "predictions", "curves"):
        monkeypatch.setattr(pictures, name, lambda *_: None)
    cell = "domain_adaptation" if objective in ADAPTING else "multitask"
    execute(config(f"cell={cell}", f"objective={objective}", "steps=6"), tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["objective"] == objective
    if objective in ADAPTING:
        assert results["target"]["labelled"] == {"train": 0, "val": 0}
        assert results["selection"] == "val/source/accuracy max" and "target/accuracy" in results["test"]


def test_a_role_without_targets_keeps_its_variance():
    made = build_objective("uncertainty", tasks(), {"source": 4, "target": 4})
    optimizer = torch.optim.AdamW(made.parameters(), lr=0.1, weight_decay=0.0)
    for step in range(10):
        losses = {"source": torch.tensor(2.0)} | ({"target": torch.tensor(0.1)} if step < 3 else {})
        optimizer.zero_grad()
        made(losses, {}, BOTH).backward()
        optimizer.step()
        if step == 2:
            before = float(made.log_variances["target"].detach())
    assert float(made.log_variances["target"].detach()) == before != 0


def test_adapting_a_frozen_trunk_is_refused():
    task = Task("a", "classification", ("x", "y"))
    with pytest.raises(ValueError, match="has no effect where the trunk is frozen"):
        DomainAdaptation(target=task, source=task, objective="coral", finetuning="linear_probe")
