"""Finetunings: their stages and rates, what stays frozen, what is pulled, chosen and merged, and exact resume."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, StochasticWeightAveraging
from torch import nn

from tests.conftest import digest, module_for, pair_for
from tests.tl_modules.plain import DIGITS, loader
from tl_modules import Task, TransferModule, staged
from tl_modules.backbones import build_backbone
from tl_modules.finetunings import FINETUNINGS, Finetuning, build_finetuning
from tl_modules.finetunings.blocks import blocks_of
from tl_modules.finetunings.wise_ft import WiseFt
from tl_modules.heads.classification import Classification
from tl_modules.module import TransferModule as Module
from tl_modules.normalisation import statistics_of
from tl_modules.objectives.sum import Sum
from tl_modules.stages import PART_KINDS, Stage, split_steps

QUIET = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
OPTIONS: dict[str, Any] = {**QUIET, "accelerator": "cpu", "num_sanity_val_steps": 0}
NEW = "task_adaptation"  # its target has a new head
KEPT = "domain_adaptation"  # its target has the source's
TASK = Task("t", "classification", ("a", "b"))
with_peft = pytest.mark.skipif(find_spec("peft") is None, reason="needs peft")


def trained(finetuning: Any, cell: str = KEPT, steps: int = 8, **options: Any) -> tuple[Module, list[staged.Trained]]:
    data = pair_for(cell)
    module = module_for(cell, data, finetuning=finetuning)
    return module, staged.fit(module, data, {**OPTIONS, **options}, steps=steps)


@pytest.mark.parametrize("cell", [KEPT, NEW, "scratch"])
@pytest.mark.parametrize("name", FINETUNINGS)
def test_all_stages_together_take_the_steps_and_the_last_is_the_targets(name: str, cell: str) -> None:
    module = module_for(cell, pair_for(cell), finetuning=name)
    own = [stage for stage in module.plan if stage.tuned]
    assert own[-1].name == "target" and all(stage.learn == ("target",) for stage in own)
    assert [stage.name for stage in module.plan if not stage.tuned] == ([] if cell == "scratch" else ["source"])
    for steps in (4, 17, 600):
        counts = split_steps(steps, module.plan)
        assert sum(counts) == steps and min(counts) >= 1
        planted = split_steps(steps, own)  # another run stands for the source
        assert (sum(planted) == steps and max(planted) - min(planted) <= 2) or len(own) == 1


def test_averaging_that_takes_statistics_anew_leaves_those_of_frozen_parts() -> None:
    module = Module(DIGITS, finetuning="linear_probe")
    for layer in module.parts.with_statistics("target"):
        statistics_of(layer)["running_mean"].fill_(0.5)  # as if they had been learned
    before = digest(module.parts.trunk)
    averaged = StochasticWeightAveraging(swa_lrs=1e-3, swa_epoch_start=0.5)
    Trainer(max_epochs=3, callbacks=[averaged], **OPTIONS).fit(module, loader())
    assert averaged.n_averaged is not None and digest(module.parts.trunk) == before


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8, affine=False)
        self.scaled = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3)
        self.first.requires_grad_(False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.scaled(self.second(self.norm(self.first(images)))).mean((2, 3))
        return found


def test_what_is_frozen_in_a_module_of_ones_own_stays_so() -> None:
    module = Module(DIGITS, backbone=Own())
    net: Any = module.parts.of("target", "trunk").net
    first, second = net.first.weight.clone(), net.second.weight.clone()
    Trainer(max_steps=2, **OPTIONS).fit(module, loader())
    assert torch.equal(net.first.weight, first) and not torch.equal(net.second.weight, second)
    assert float(net.norm.num_batches_tracked) == 2


@pytest.mark.parametrize("finetuning", ["linear_probe", pytest.param("lora", marks=with_peft)])
def test_statistics_of_layers_without_weights_are_frozen_with_their_part(finetuning: str) -> None:
    module = Module(DIGITS, backbone=Own(), finetuning=finetuning)
    Trainer(max_steps=2, **OPTIONS).fit(module, loader())
    net: Any = module.parts.of("target", "trunk").net
    assert float(net.norm.num_batches_tracked) == float(net.scaled.num_batches_tracked) == 0


@with_peft
def test_weights_that_are_added_after_a_callback_copied_the_module_are_refused() -> None:
    averaged = StochasticWeightAveraging(swa_lrs=1e-3)
    with pytest.raises(ValueError, match=r"copied the module .* call module.enter\('target'\) before fit"):
        Trainer(max_epochs=1, callbacks=[averaged], **OPTIONS).fit(Module(DIGITS, finetuning="lora"), loader())
    module = Module(DIGITS, finetuning="lora")
    module.enter("target")
    averaged = StochasticWeightAveraging(swa_lrs=1e-3)
    Trainer(max_epochs=2, callbacks=[averaged], **OPTIONS).fit(module, loader())


def test_classes_are_given_by_themselves_and_objects_are_refused(tmp_path: Any) -> None:
    module = Module({**DIGITS, "kind": Mine}, finetuning={"name": Own2, "lr": {"head": 2.0}}, objective=Total)
    trainer = Trainer(max_steps=1, **OPTIONS)
    trainer.fit(module, loader("mine"))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = Module.load_from_checkpoint(tmp_path / "x.ckpt", weights_only=True)
    assert digest(again) == digest(module) and isinstance(again.head("target"), Mine)
    assert isinstance(again.finetuning, Own2) and isinstance(again.objective, Total)
    for options in ({"finetuning": Own2()}, {"objective": nn.Identity()}, {"augment": {"target": nn.Identity()}}):
        option = next(iter(options))
        with pytest.raises(ValueError, match=rf"^{option}[.a-z]*: an object .* cannot be kept in a checkpoint"):
            Module(DIGITS, **options)
    with pytest.raises(ValueError, match="no import path leads to Local, defined in local"):
        Module(DIGITS, objective=local())


class Own2(Finetuning):
    pass


class Mine(Classification):
    kind = "mine"
    field = "mine"


class Total(Sum):
    pass


def local() -> type:
    class Local(Sum):
        pass

    return Local


def test_a_head_of_the_sources_is_not_learned_alone_before_wise_ft() -> None:
    assert [s.name for s in module_for(KEPT, pair_for(KEPT), finetuning="wise_ft").plan] == ["source", "target"]
    names = [s.name for s in module_for(NEW, pair_for(NEW), finetuning="wise_ft").plan]
    assert names == ["source", "target_probe", "target"]


@pytest.mark.parametrize(
    ("backbone", "count"),
    [("small", 3), ("resnet18", 8), ("mobilenet_v2", 18), ("timm/vit_tiny_patch16_224", 12), ("swin_t", 15)],
)
def test_blocks_are_found_in_order_in_networks_of_all_libraries(backbone: str, count: int) -> None:
    trunk = build_backbone(backbone).trunk
    found = blocks_of(trunk)
    assert len(found) == count
    names = {module: name for name, module in trunk.named_modules()}
    order = [names[block[0]] for block in found]
    assert order == [name for name in names.values() if name in order], "in the order in which they stand"
    inside = sum(p.numel() for block in found for module in block for p in module.parameters())
    assert inside > 0.9 * sum(p.numel() for p in trunk.parameters())


def test_blocks_of_an_encoder_of_texts() -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 3, nn.LayerNorm(8), False)
    found = blocks_of(nn.ModuleDict({"net": encoder}))
    assert [len(block) for block in found] == [1, 1, 2], "the norm at the end belongs to the last layer"


def test_rates_fall_from_block_to_block() -> None:
    module, records = trained({"name": "layerwise_decay", "decay": 0.5, "lr": {"head": 2.0}}, NEW, 4)
    groups = {one["name"]: one for one in records[-1].trainer.optimizers[0].param_groups}  # type: ignore[union-attr]
    rates = {name: one["initial_lr"] / module.lr for name, one in groups.items()}
    assert rates["head.target.weights"] == 2.0
    blocks = [rates[f"trunk.shared.block0{number}.weights"] for number in (3, 2, 1)]
    assert [*blocks, rates["trunk.shared.block00.norms"]] == [0.5, 0.25, 0.125, 0.0625]
    assert rates["stem.shared.weights"] == 0.0625
    assert sum(len(one["params"]) for one in groups.values()) == len(
        [p for _, _, part in module.parts.named() for p in part.parameters() if p.requires_grad]
    )


def test_the_first_blocks_are_frozen_while_the_last_learn() -> None:
    data = pair_for(NEW)
    module = module_for(NEW, data, finetuning={"name": "gradual_unfreezing", "last": 0.3})
    seen: dict[str, Any] = {}

    def look(stage: Stage, trainer: Any) -> None:
        trunk = module.parts.of("target", "trunk")
        state = {name: value.clone() for name, value in trunk.state_dict().items()}
        moved = {name for name, value in state.items() if not torch.equal(value, seen.get("before", state)[name])}
        seen[stage.name], seen["before"] = moved, state
        if stage.name == "target_last":
            module.train()
            learning = [block[0].training for block in blocks_of(trunk)]
            assert learning == [False, False, True]
            assert not any(p.requires_grad for p in module.parts.of("target", "stem").parameters())

    staged.fit(module, data, OPTIONS, steps=16, chosen=look)
    assert seen["target_probe"] == set()
    assert seen["target_last"] and {name.split(".")[1] for name in seen["target_last"]} == {"2"}
    assert {name.split(".")[1] for name in seen["target"] if name.startswith("blocks")} == {"0", "1", "2"}


@pytest.mark.parametrize(("cell", "pulled"), [(KEPT, True), (NEW, False)])
def test_l2_sp_is_equation_2_and_leaves_a_new_head_its_decay(cell: str, pulled: bool) -> None:
    data = pair_for(cell)
    module = module_for(cell, data, finetuning={"name": "l2_sp", "alpha": 3.0})
    module.enter("source")
    module.enter("target")
    pull = module.finetuning.penalty(module.parts)
    assert pull is not None and float(pull.detach()) == 0
    with torch.no_grad():
        for _, _, part in module.parts.named():
            for parameter in part.parameters():
                parameter.add_(0.5)
    kinds = ("stem", "trunk", "head") if pulled else ("stem", "trunk")
    weights = [p for kind in kinds for p in module.parts.of("target", kind).parameters() if p.ndim > 1]
    found = module.finetuning.penalty(module.parts)
    assert found is not None and float(found.detach()) == pytest.approx(
        1.5 * 0.25 * sum(p.numel() for p in weights), rel=1e-4
    )
    decays = {kind: [one.decays for one in module.finetuning.groups(kind, nn.Linear(1, 1))] for kind in PART_KINDS}
    assert decays == {"stem": [False], "trunk": [False], "head": [not pulled]}


def test_a_strong_pull_keeps_the_weights_where_they_started() -> None:
    def moved(alpha: float) -> float:
        module, _ = trained({"name": "l2_sp", "alpha": alpha}, NEW, 24)
        start = module.finetuning.start  # type: ignore[attr-defined]
        names = [name for name in start if name.startswith("trunk") and start[name].ndim > 1]
        now = module.parts.state_dict()
        return sum(float((now[name] - start[name]).square().sum()) for name in names)

    assert 0 < moved(1000.0) < 0.5 * moved(0.0)


def test_wise_ft_takes_the_best_point_of_the_line_and_both_ends_to_the_bit() -> None:
    parts = module_for("scratch", pair_for("scratch")).parts
    tuning = WiseFt(points=5)
    tuning.begin(parts, Stage("target", ("target",)), 0)
    start = digest(parts)
    with torch.no_grad():
        for tensor in parts.parameters():
            tensor.add_(1)
    end, seen = digest(parts), []
    names = {"target": "val/target/accuracy", "source": "val/source/map", "direction": "max"}

    def curve(target: list[float], losses: list[float], direction: str = "max") -> Any:
        scores: Iterator[tuple[float, float]] = iter(zip(target, losses, strict=True))

        def validate() -> dict[str, float]:
            seen.append(digest(parts))
            score, loss = next(scores)
            return {"val/target/accuracy": score, "val/target/loss": loss, "val/source/map": 1 - score}

        state = {name: value.clone() for name, value in parts.state_dict().items()}
        found = tuning.settle(parts, validate, {**names, "direction": direction})
        chosen = digest(parts)
        parts.load_state_dict(state)
        return found, chosen

    found, chosen = curve([0.1, 0.5, 0.9, 0.9, 0.2], [1.0] * 5)
    assert (found["chosen"], found["coefficients"]) == (0.5, [0.0, 0.25, 0.5, 0.75, 1.0])
    assert found["source"] == pytest.approx([0.9, 0.5, 0.1, 0.1, 0.8])
    assert (seen[0], seen[-1], seen[2]) == (start, end, chosen), "of equal ones the nearer to the start"
    assert curve([0.1, 0.5, 0.9, 0.9, 0.2], [1.0, 1.0, 1.0, 0.5, 1.0])[0]["chosen"] == 0.75, "the lower loss"
    assert curve([0.1, 0.5, 0.9, 0.9, 0.2], [1.0] * 5, "min")[1] == start
    found, chosen = curve([float("nan")] * 5, [1.0] * 5)
    assert found["target"] == [None] * 5 and chosen == end, "without a score what was learned stays"


def test_wise_ft_validates_both_roles_and_needs_a_validation_set() -> None:
    module, _ = trained({"name": "wise_ft", "points": 3}, NEW)
    found = module.settled
    assert len(found["target"]) == len(found["source"]) == 3 and found["chosen"] in (0.0, 0.5, 1.0)
    assert all(0 <= value <= 1 for value in [*found["target"], *found["source"]])
    weights, _ = trained({"name": "wise_ft", "points": 2}, "scratch", 2)  # whose source has no data
    assert len(weights.settled["target"]) == 2 and weights.settled["source"] is None
    data = pair_for("scratch")
    data.setup()
    alone = module_for("scratch", data, finetuning="wise_ft")
    before = digest(alone)
    with pytest.raises(ValueError, match="finetuning=wise_ft chooses by validation, and the target has no validation"):
        staged.fit(alone, {"target": data.train_dataloader()}, OPTIONS, steps=4)
    assert digest(alone) == before


@with_peft
@pytest.mark.parametrize("backbone", ["small", "timm/vit_tiny_patch16_224"])
def test_lora_starts_as_what_was_there_and_is_merged_into_plain_weights(backbone: str) -> None:
    spec = {"name": backbone, "image_size": 32} if "/" in backbone else backbone
    module = TransferModule(TASK, backbone=spec, finetuning="lora").eval()
    images = torch.rand(2, 3, 32, 32)
    names = list(module.state_dict())
    with torch.no_grad():
        before = module(images)
        module.enter("target")
        assert torch.allclose(module(images), before, atol=1e-5)
        learning = {
            name.partition(".lora")[0].split(".")[1] for name, p in module.named_parameters() if p.requires_grad
        }
        assert learning == {"trunk", "head"}
        trunk = module.parts.of("target", "trunk")
        assert all("lora_" in name for name, p in trunk.named_parameters() if p.requires_grad)
        module.train()
        assert not any(layer.training for layer in trunk.modules() if statistics_of(layer)), "statistics stay"
        for name, parameter in trunk.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.05)
        module.eval()
        adapted = module(images)
        assert not torch.allclose(adapted, before, atol=1e-4)
        exported = {key: value for key, value in module.backbone_state_dict().items() if "lora" not in key}
        assert len(exported) == len(module.backbone_state_dict())
        checkpoint: dict[str, Any] = {"state_dict": module.state_dict()}
        module.on_save_checkpoint(checkpoint)
        assert list(checkpoint["state_dict"]) == names
        module.leave()
        assert list(module.state_dict()) == names
        assert torch.allclose(module(images), adapted, atol=1e-4)
        assert all(torch.equal(checkpoint["state_dict"][name], value) for name, value in module.state_dict().items())


@with_peft
def test_lora_says_in_a_line_where_it_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(3))
    with pytest.raises(ValueError, match="trunk of this backbone has no linear or convolution layer"):
        TransferModule(TASK, backbone=bare, finetuning="lora").enter("target")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match=r'^finetuning=lora: peft is not installed; pip install "tl-modules\[lora\]"$'):
        TransferModule(TASK, finetuning="lora").enter("target")


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("gradual_unfreezing", KEPT),
        ("l2_sp", KEPT),
        ("wise_ft", KEPT),
        pytest.param("lora", NEW, marks=with_peft),
    ],
)
def test_a_stage_goes_on_exactly_and_its_checkpoint_loads_by_itself(name: str, cell: str, tmp_path: Any) -> None:
    def run(path: Any = None) -> Module:
        def callbacks(stage: Stage, monitor: str, mode: str) -> list[Any]:
            keep = {"save_top_k": -1, "every_n_train_steps": 1, "enable_version_counter": False}
            return [ModelCheckpoint(tmp_path / stage.name, "{step}", **keep)]

        data = pair_for(cell)
        module = module_for(cell, data, finetuning=name, lr=1e-2)
        kept = {"enable_checkpointing": True, "callbacks": callbacks}
        staged.fit(module, data, {**OPTIONS, **kept}, steps=12, resume=path)
        return module

    whole = run()
    again = run(tmp_path / "target" / "step=1.ckpt")
    assert digest(whole) == digest(again) and whole.settled == again.settled
    last = sorted((tmp_path / "target").glob("*.ckpt"))[-1]
    loaded = type(whole).load_from_checkpoint(last, weights_only=True)
    assert list(loaded.state_dict()) == list(whole.state_dict())
    if name != "wise_ft":
        assert digest(loaded) == digest(whole)


class Halved(Finetuning):
    """All at half the rate."""

    def __init__(self, factor: float = 0.5) -> None:
        super().__init__(lr=dict.fromkeys(("stem", "trunk", "head"), factor))


def test_one_of_ones_own_is_found_by_its_import_path() -> None:
    module = TransferModule(TASK, finetuning={"name": f"{__name__}.Halved", "factor": 0.25})
    assert module.plan[-1].lr["trunk"] == 0.25


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("lp_tf", "finetuning='lp_tf' is unknown; allowed: full, linear_probe, gradual_unfreezing, l2_sp"),
        ("nowhere.Mine", "the module nowhere is not imported"),
        ("tl_modules.stages.Stage", "must be a subclass of tl_modules.finetunings.Finetuning"),
        ({"name": "l2_sp", "beta": 1}, "finetuning.beta is no option of l2_sp; allowed: alpha, lr"),
        ({"freeze": ["trnk"]}, "finetuning.freeze: 'trnk' is unknown; allowed: stem, trunk, head"),
        ({"name": "l2_sp", "lr": {"trunk": 0}}, "finetuning.lr.trunk=0: must be greater than 0"),
        ({"name": "l2_sp", "alpha": -1}, "finetuning.alpha=-1: must be at least 0"),
        ({"name": "lp_ft", "probe_share": 1}, "finetuning.probe_share=1: must be between 0 and 1"),
        ({"name": "gradual_unfreezing", "last": 0}, "finetuning.last=0: must be between 0 and 1"),
        ({"name": "gradual_unfreezing", "probe_lr": 0}, "finetuning.probe_lr=0: must be greater than 0"),
        ({"name": "layerwise_decay", "decay": 0}, "finetuning.decay=0: must be above 0 and at most 1"),
        ({"name": "wise_ft", "points": 1}, "finetuning.points=1: must be at least 2"),
        ({"name": "lora", "rank": 0}, "finetuning.rank=0: must be at least 1"),
        ({"name": "lora", "lr": {"stem": 1}}, "finetuning.lr.stem=1: has no effect"),
    ],
)
def test_wrong_ones_are_named(spec: Any, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        build_finetuning(spec)


def test_stages_that_learn_labels_are_refused_where_none_is_read() -> None:
    for name in ("lp_ft", "gradual_unfreezing", "wise_ft"):
        with pytest.raises(ValueError, match=f"finetuning={name}: learns from labels of the target"):
            module_for(KEPT, pair_for(KEPT), finetuning=name, objective="coral")
    module = module_for(KEPT, pair_for(KEPT), finetuning="layerwise_decay", objective="coral")
    assert [(stage.name, stage.tuned) for stage in module.plan] == [("source", False), ("adapt", True)]
