"""Whose running statistics a shared part normalises by, in training, evaluation and on every way out."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import CELLS, digest, fit, module_for, pair_for, trainer_for
from tl_modules import DatasetMerging, DomainAdaptation, MultiTask, ParallelTraining, Stage, TransferModule
from tl_modules.backbones import Backbone, build_backbone
from tl_modules.backbones.base import Stemmed, Trunk
from tl_modules.features import Features
from tl_modules.heads import build_head
from tl_modules.normalisation import STATISTICS, layers_of
from tl_modules.weights.files import load_weights
from tl_run.callbacks.cache import CachedFeatures

TASK = {"name": "t", "kind": "classification", "labels": ["a", "b"], "domain": "x"}
OTHER = {**TASK, "name": "o"}
ROLES = ("source", "target")


def held(module: TransferModule, role: str) -> dict[str, Tensor]:
    """Return a copy of a role's running statistics of its parts."""
    with module.parts.as_role(role):
        parts = [module.parts.of(role, kind).state_dict(prefix=f"{kind}.") for kind in ("stem", "trunk", "head")]
    found = {key: value.clone() for part in parts for key, value in part.items() if key.endswith(STATISTICS)}
    assert found
    return found


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def images(role: str, size: int = 32, count: int = 8, seed: int = 0) -> dict[str, Any]:
    """Return a batch; the two roles' domains are dark and bright."""
    noise = torch.Generator().manual_seed(seed + 10 * ROLES.index(role))
    image = torch.rand(count, 3, size, size, generator=noise) * 0.4 + 0.6 * ROLES.index(role)
    return {"image": image, "label": torch.arange(count) % 2}


def pair(**options: Any) -> MultiTask:
    module = MultiTask(TASK, source=OTHER, lr=1e-2, **options)
    module.enter("joint")
    return module


def train(module: TransferModule, batches: list[dict[str, Any]]) -> None:
    """Make a training step of each batch, as Lightning does."""
    loader: Any = torch.utils.data.DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    trainer_for(len(batches)).fit(module, loader)


class Normed(nn.Module):
    """A network that begins with the layer in question, so that its statistics depend on the inputs alone."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).mean((2, 3))


NORMS = {
    "batch": lambda: nn.BatchNorm2d(3),
    "cumulative": lambda: nn.BatchNorm2d(3, momentum=None),
    "instance": lambda: nn.InstanceNorm2d(3, track_running_stats=True),
}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shapes", ["one role a step", "different shapes"])
def test_a_role_has_the_statistics_of_its_own_batches(norm: str, shapes: str) -> None:
    module = pair(backbone=Normed(NORMS[norm]()))
    alone = {role: NORMS[norm]() for role in ROLES}
    sizes = {"source": 32, "target": 48}
    batches = [{role: images(role, sizes[role], seed=i) for role in ROLES} for i in range(3)]
    for batch in batches:
        for role in ROLES:
            alone[role](batch[role]["image"])
    if shapes == "one role a step":
        batches = [{role: batch[role]} for batch in batches for role in ("target", "source")]
    train(module, batches)
    for role in ROLES:
        expected = {f"trunk.net.layer.{key}": value for key, value in alone[role].state_dict().items()}
        found = held(module, role)
        assert equal(found, {key: expected[key] for key in found}), role


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_passes_together_count_for_both_and_passes_alone_for_one(norm: str) -> None:
    """Where the pictures' sizes vary, some steps are one pass and some are two."""
    module = pair(backbone=Normed(NORMS[norm]()))
    alone = {role: NORMS[norm]() for role in ROLES}
    batches = []
    for i, sizes in enumerate([(32, 32), (32, 48), (48, 48), (48, 32)]):
        batch = {role: images(role, size, seed=i) for role, size in zip(ROLES, sizes, strict=True)}
        batches.append(batch)
        for role in ROLES:
            seen = [role] if sizes[0] != sizes[1] else ROLES
            alone[role](torch.cat([batch[one]["image"] for one in seen]))
    train(module, batches)
    for role in ROLES:
        found = held(module, role)
        for key, value in found.items():
            assert torch.allclose(value, alone[role].state_dict()[key.rsplit(".", 1)[-1]], atol=1e-6), (role, key)


@pytest.mark.parametrize("mode", ["cycle", "aligned"])
def test_one_pass_of_both_is_what_shared_statistics_are(mode: str) -> None:
    modules = {}
    for option in ("auto", "shared"):
        data = pair_for("multitask", mode=mode)
        modules[option] = module_for("multitask", data, normalisation=option)
        fit(modules[option], data, steps=3)
    assert digest(modules["auto"].parts.trunk) == digest(modules["shared"].parts.trunk)
    assert equal(held(modules["auto"], "source"), held(modules["auto"], "target"))
    assert equal(held(modules["auto"], "source"), held(modules["shared"], "source"))


def test_merged_batches_count_for_both() -> None:
    data = pair_for("dataset_merging")
    module = module_for("dataset_merging", data)
    first = held(module, "target")
    fit(module, data, steps=2)
    assert not equal(held(module, "target"), first)
    assert equal(held(module, "source"), held(module, "target"))


@pytest.mark.parametrize("mode", ["cycle", "aligned"])
def test_per_role_passes_apart_though_shapes_are_equal(mode: str) -> None:
    data = pair_for("multitask", mode=mode)
    module = module_for("multitask", data, normalisation="per_role")
    passes = []
    module.parts.of("target", "trunk").register_forward_hook(lambda _, args, __: passes.append(len(args[0].values)))
    fit(module, data, steps=2)
    assert passes == [8, 8, 8, 8]
    assert equal(held(module, "source"), held(module, "target")) == (mode == "aligned")  # there they see the same


def test_roles_normalised_apart_train_as_if_each_were_alone() -> None:
    """What one role's batches are normalised by does not depend on the other's, though weights are shared."""
    module, bright = pair(normalisation="per_role"), pair(normalisation="per_role")
    seen: dict[int, list[Tensor]] = {}
    for number, one in enumerate((module, bright)):
        keep = seen.setdefault(number, [])
        one.parts.of("target", "trunk").register_forward_hook(lambda _, __, out, keep=keep: keep.append(out.pooled))
        shifted = images("source", seed=5)
        shifted["image"] = shifted["image"] * (0.1 if number else 1.0)
        train(one, [{"source": shifted, "target": images("target")}])
    assert not torch.equal(seen[0][0], seen[1][0])  # the source's
    assert torch.equal(seen[0][1], seen[1][1])


def test_networks_without_statistics_pass_at_once_under_each_option() -> None:
    passes = []
    for option in ("auto", "per_role"):
        module = pair(
            normalisation=option, backbone=nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        )
        module.parts.of("target", "trunk").register_forward_hook(lambda *_: passes.append(1))
        train(module, [{role: images(role) for role in ROLES}])
        assert not list(module.parts.normalisation.buffers())
    assert len(passes) == 2


def apart(**options: Any) -> MultiTask:
    """Return a trained module whose roles' statistics differ."""
    module = pair(**options)
    train(module, [{role: images(role, seed=i)} for i in range(3) for role in ROLES])
    assert not equal(held(module, "source"), held(module, "target"))
    return module.eval()  # type: ignore[return-value]


def by_hand(module: TransferModule, role: str) -> nn.Module:
    """Return a copy of the backbone whose layers' statistics were set to a role's by hand."""
    backbone = copy.deepcopy(nn.ModuleDict({kind: module.parts.of(role, kind) for kind in ("stem", "trunk")}))
    state = backbone.state_dict()
    kept = dict(module.parts.normalisation.named_buffers())
    for key in state:
        name = f"{role}/" + key.replace("trunk.", "trunk.shared.", 1).replace(".", "/")
        if name in kept:
            state[key].copy_(kept[name])
    return backbone


def test_a_role_is_evaluated_with_its_own_statistics() -> None:
    module = apart()
    for role in ROLES:
        backbone = by_hand(module, role)
        batch = images(role, seed=9)
        with torch.no_grad():
            wanted = backbone["trunk"](backbone["stem"](batch)).pooled  # type: ignore[index]
            assert torch.equal(module.features(batch, role).pooled, wanted)
            assert torch.equal(module(batch["image"], role), module.head(role)(Features(wanted)))
            plain = module.export(role)
            assert torch.equal(plain(batch["image"]), module(batch["image"], role).softmax(1))
            other = module(batch["image"], ROLES[role == "source"])
            assert not torch.allclose(other, module(batch["image"], role))


def test_features_that_are_kept_are_the_roles_own() -> None:
    data = pair_for("multitask")
    data.setup()
    tasks = {role: task.to_dict() for role, task in data.tasks.items()}
    module = MultiTask(**tasks)
    train(module, [{role: data.split(role, "train").batch(list(range(8)))} for role in ROLES])
    module.eval()
    for role in ROLES:
        trainer = trainer_for(1)
        trainer.strategy.connect(module)
        kept = CachedFeatures(1).compute(trainer, module, data, role, "val")
        backbone = by_hand(module, role)
        with torch.no_grad():
            batch = data.split(role, "val").batch(list(range(12)))
            wanted = backbone["trunk"](backbone["stem"](batch)).pooled  # type: ignore[index]
        assert kept is not None and torch.equal(kept.pooled, wanted)


@pytest.mark.parametrize("together", [False, True])
def test_validation_and_test_honour_the_role(together: bool) -> None:
    """Also where one batch carries both roles' targets, which statistics that differ do not allow in one pass."""
    module = apart()
    samples = images("source", seed=7)
    batches: Any = {"source+target": samples} if together else {role: samples for role in ROLES}
    loaders = {key: torch.utils.data.DataLoader([batch], batch_size=None) for key, batch in batches.items()}  # type: ignore[list-item,arg-type]
    tested = trainer_for(1).test(module, loaders, verbose=False)
    validated = trainer_for(1, limit_val_batches=1).validate(module, loaders, verbose=False)
    for role in ROLES:
        with torch.no_grad():
            wanted = nn.functional.cross_entropy(module(samples["image"], role), samples["label"])
        for split, found in (("test", tested), ("val", validated)):
            value = next(part[f"{split}/{role}/loss"] for part in found if f"{split}/{role}/loss" in part)
            assert value == pytest.approx(float(wanted), rel=1e-5)
    predicted = module.predict_step(images("target"), 0)
    with torch.no_grad():
        outputs = module(images("target")["image"], "target")
    assert [one["label"] for one in predicted] == [TASK["labels"][i] for i in outputs.argmax(1)]


def test_a_stage_of_one_role_leaves_one_network() -> None:
    data = pair_for("domain_adaptation")
    modules = [module_for("domain_adaptation", data, normalisation=option) for option in ("auto", "shared")]
    for module in modules:
        for stage in module.plan:
            data.enter(stage)
            module.enter(stage.name)
            trainer_for(2).fit(module, datamodule=data)
            assert equal(held(module, "source"), held(module, "target"))
    assert digest(modules[0].parts.trunk) == digest(modules[1].parts.trunk)


@pytest.mark.parametrize("finetuning", ["full", "linear_probe"])
def test_the_source_keeps_its_own_where_it_is_asked_for(finetuning: str) -> None:
    data = pair_for("domain_adaptation")
    module = module_for("domain_adaptation", data, normalisation="per_role", finetuning=finetuning)
    first = held(module, "target")
    data.enter(module.plan[0])
    module.enter("source")
    trainer_for(2).fit(module, datamodule=data)
    source = held(module, "source")
    assert equal(held(module, "target"), first) and not equal(source, first)
    data.enter(module.plan[1])
    module.enter("target")
    assert equal(held(module, "target"), source)
    trainer_for(2).fit(module, datamodule=data)
    assert equal(held(module, "source"), source)
    assert equal(held(module, "target"), source) == (finetuning == "linear_probe")


class Rehearsal(MultiTask):
    """The source, then both, of which the target is the source's later companion."""

    def stages(self) -> list[Stage]:
        return [
            Stage("source", ("source",)),
            Stage("adapt", ("source",), see=("target",)),
            Stage("target", ("target",)),
        ]


def test_each_stage_follows_the_rule_by_its_roles() -> None:
    module = Rehearsal(TASK, source=OTHER)
    module.enter("source")
    train(module, [{"source": images("source")}])
    both = [held(module, role) for role in ROLES]
    assert equal(*both)
    module.enter("adapt")
    assert equal(held(module, "target"), both[0])
    unlabelled = {"image": images("target")["image"]}
    train(module, [{"source": images("source")}, {"target": unlabelled}])
    assert not equal(held(module, "source"), held(module, "target"))
    apart = held(module, "target")
    module.enter("target")
    assert equal(held(module, "target"), apart)  # it has statistics already
    batch, backbone = images("source"), by_hand(module, "source").eval()
    module.eval()
    with torch.no_grad():
        wanted = backbone["trunk"](backbone["stem"](batch)).pooled  # type: ignore[index]
        assert torch.equal(module.features(batch, "source").pooled, wanted)


def test_checkpoints_reload_and_older_ones_start_as_the_layers(tmp_path: Path) -> None:
    module = apart(normalisation="auto")
    trainer = trainer_for(1)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = MultiTask.load_from_checkpoint(tmp_path / "x.ckpt", weights_only=True)
    assert again.hparams["normalisation"] == "auto"
    assert all(equal(held(again, role), held(module, role)) for role in ROLES)
    older = torch.load(tmp_path / "x.ckpt", weights_only=True)
    older["state_dict"] = {k: v for k, v in older["state_dict"].items() if not k.startswith("parts.normalisation")}
    del older["hyper_parameters"]["normalisation"]
    torch.save(older, tmp_path / "older.ckpt")
    again = MultiTask.load_from_checkpoint(tmp_path / "older.ckpt", weights_only=True)
    assert all(equal(held(again, role), held(module, "target")) for role in ROLES)


def checkpoint_of(module: TransferModule, path: Path) -> dict[str, Any]:
    trainer = trainer_for(1)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path)
    return dict(torch.load(path, weights_only=True))


@pytest.mark.parametrize("order", [("source", "target"), ("target", "source")])
def test_a_planted_role_brings_its_own(order: tuple[str, str], tmp_path: Path) -> None:
    module = apart()
    checkpoint = checkpoint_of(module, tmp_path / "x.ckpt")
    later = DomainAdaptation(TASK, source={**TASK, "domain": "y"})
    later.plant(checkpoint, of="source", into="source")  # what the target's stage starts from, entered or not
    assert all(equal(held(later, role), held(module, "source")) for role in ROLES)
    same = pair(seed=3)
    for role in order:
        same.plant(checkpoint, of=role, into=role)
    assert all(equal(held(same, role), held(module, role)) for role in ROLES)
    assert digest(same.parts.trunk) == digest(module.parts.trunk)


def test_a_backbone_from_a_run_has_the_targets(tmp_path: Path) -> None:
    module = apart()
    checkpoint_of(module, tmp_path / "x.ckpt")
    backbone = build_backbone("small")
    load_weights(backbone, tmp_path / "x.ckpt")
    assert equal({k: v for k, v in backbone.state_dict().items() if k.endswith(STATISTICS)}, held(module, "target"))


class Normal(nn.Module):
    """A stem with normalisation of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3)

    def forward(self, batch: dict[str, Any]) -> Stemmed:
        return Stemmed(self.conv(self.norm(batch["image"])), tuple(batch["image"].shape[-2:]))  # type: ignore[arg-type]


class Pool(Trunk):
    dim, channels, strides = 8, [], []

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(8)

    def forward(self, stemmed: Stemmed) -> Features:
        return Features(self.norm(stemmed.values).mean((2, 3)), {}, stemmed.size)


class NormedHead(DomainAdaptation):
    """A cell with normalisation in a head that both roles go through."""

    def stages(self) -> list[Stage]:
        return [Stage("joint", ("source", "target"))]

    def new_head(self, task: Any, dim: int, *args: Any) -> Any:
        head: Any = build_head(task, dim, *args)
        head.linear = nn.Sequential(nn.BatchNorm1d(dim), nn.Linear(dim, len(task.labels)))
        head.forward = lambda features: head.linear(features.pooled)
        return head


class MergedNormedHead(DatasetMerging):
    """The same where one batch holds both."""

    new_head = NormedHead.new_head


def test_stems_and_heads_that_roles_pass_one_by_one_have_statistics_by_role() -> None:
    module = NormedHead(TASK, source={**TASK, "domain": "y"}, backbone=Backbone(Normal(), Pool()))
    assert module.parts.wires["source"] == module.parts.wires["target"]
    module.enter("joint")
    pooled: list[Tensor] = []
    norm: Any = module.parts.head["shared"].linear[0]  # type: ignore[union-attr,index]
    norm.register_forward_hook(lambda _, args, __: pooled.append(args[0].detach()))
    train(module, [{role: images(role) for role in ROLES}])
    source, target = (held(module, role) for role in ROLES)
    differ = {key for key, value in source.items() if value.is_floating_point() and not torch.equal(value, target[key])}
    assert {key.split(".")[0] for key in differ} == {"stem", "head"}  # the trunk's pass was one
    alone = nn.BatchNorm2d(3)
    alone(images("source")["image"])
    assert torch.equal(source["stem.norm.running_mean"], alone.running_mean)  # type: ignore[arg-type]
    assert len(pooled) == 2
    for values, found in zip(pooled, (source, target), strict=True):
        assert torch.allclose(found["head.linear.0.running_mean"], 0.1 * values.mean(0), atol=1e-6)


def test_a_head_that_a_merged_batch_goes_through_has_one_set() -> None:
    module = MergedNormedHead(TASK, source=TASK)
    module.enter("joint")
    batch = {**images("target"), "role": torch.arange(8) % 2}
    train(module, [{"source+target": batch}])
    assert equal(held(module, "source"), held(module, "target"))
    assert int(held(module, "source")["head.linear.0.num_batches_tracked"]) == 1


def test_converted_layers_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Trainer(sync_batchnorm=True)` replaces the layers after they were built."""
    module, plain = pair(), pair()
    module.parts = nn.SyncBatchNorm.convert_sync_batchnorm(module.parts)
    module.enter("joint")
    assert all(
        isinstance(layer, nn.SyncBatchNorm) for layer in layers_of("trunk", module.parts.trunk["shared"]).values()
    )
    monkeypatch.setattr(nn.SyncBatchNorm, "forward", nn.BatchNorm2d.forward)  # one process, and no GPU
    batches = [{role: images(role, seed=i)} for i in range(2) for role in ROLES]
    for one in (module, plain):
        train(one, batches)
    assert all(equal(held(module, role), held(plain, role)) for role in ROLES)
    assert not equal(held(module, "source"), held(module, "target"))


def test_parts_of_one_role_keep_nothing_more() -> None:
    for cell in ("scratch", "parallel_training"):
        assert not list(module_for(cell, pair_for(cell)).parts.normalisation.buffers())
    for option in ("auto", "per_role"):
        assert list(pair(normalisation=option).parts.normalisation.buffers())
    assert not list(pair(normalisation="shared").parts.normalisation.buffers())


@pytest.mark.slow
@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != "parallel_training"])
def test_each_cell_that_shares_trains_and_tests_with_each_option(cell: str) -> None:
    for option in ("shared", "per_role"):
        data = pair_for(cell)
        if cell == "dataset_merging" and option == "per_role":
            continue
        module = module_for(cell, data, normalisation=option)
        fit(module, data, steps=1, limit_val_batches=1)
        tested = trainer_for(1, limit_test_batches=1).test(module, data.whole("test", ["target"]), verbose=False)
        assert "test/target/accuracy" in tested[0] and module.hparams["normalisation"] == option


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(ValueError, match="normalisation='role' is unknown; allowed: auto, shared, per_role"):
        TransferModule(TASK, normalisation="role")
    with pytest.raises(ValueError, match="normalisation='per_role': in DatasetMerging one batch holds both roles"):
        DatasetMerging(TASK, source=TASK, normalisation="per_role")
    module = pair(normalisation="per_role")
    merged = {**images("source"), "role": torch.zeros(8, dtype=torch.long)}
    with pytest.raises(ValueError, match="a merged batch holds both roles; allowed with it: auto, shared"):
        train(module, [{"source+target": merged}])


@pytest.mark.parametrize("option", ["shared", "per_role"])
def test_an_option_for_shared_parts_is_refused_where_there_are_none(option: str) -> None:
    said = f"^normalisation='{option}': has no effect in "
    with pytest.raises(ValueError, match=f"{said}ParallelTraining, where no part is shared$"):
        ParallelTraining(TASK, source=OTHER, normalisation=option)
    with pytest.raises(ValueError, match=f"{said}TransferModule without a source, where no part is shared$"):
        TransferModule(TASK, normalisation=option)
    with pytest.raises(ValueError, match=f"{said}DomainAdaptation without a source, where no part is shared$"):
        DomainAdaptation(TASK, normalisation=option)
    assert DomainAdaptation(TASK).parts and ParallelTraining(TASK, source=OTHER).parts
