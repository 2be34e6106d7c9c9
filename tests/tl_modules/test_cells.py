"""What must hold for every cell: what moves, what is frozen, what reloads, what is equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn

from datamodules.base import InMemory
from datamodules.pair import MergedData, PairedData
from tests.conftest import CELLS, SAME_TASK, SEQUENTIAL, digest, fit, module_for, pair_for, trainer_for
from tl_modules import MultiTask, Task, TransferModule, WeightSharing
from tl_modules.backbones import Backbone, build_backbone
from tl_modules.stages import Stage, split_steps

KINDS = ("classify", "count", "segment", "detect")


def state(module: TransferModule) -> dict[tuple[str, str], str]:
    return {(kind, name): digest(part) for kind, name, part in module.parts.named()}


def step(module: TransferModule, data: PairedData, role: str) -> None:
    """Make one training step in which only `role` learns."""
    data.stage = module.stage = Stage("joint", learn=(role,))
    module.entered = True
    used = module.parts.through([role])
    for kind, name, part in module.parts.named():
        part.requires_grad_((kind, name) in used)
        part.train((kind, name) in used)
    trainer_for(1).fit(module, datamodule=data)


# The design's table: which parts a source-only and a target-only step move.
MOVES = {
    "task_finetuning": ({"stem.shared", "trunk.shared", "head.shared"}, {"stem.shared", "trunk.shared", "head.shared"}),
    "domain_adaptation": (
        {"stem.shared", "trunk.shared", "head.shared"},
        {"stem.shared", "trunk.shared", "head.shared"},
    ),
    "task_adaptation": ({"stem.shared", "trunk.shared", "head.source"}, {"stem.shared", "trunk.shared", "head.target"}),
    "modality_transfer": (
        {"stem.source", "trunk.shared", "head.source"},
        {"stem.target", "trunk.shared", "head.target"},
    ),
    "weight_sharing": ({"stem.source", "trunk.shared", "head.shared"}, {"stem.target", "trunk.shared", "head.shared"}),
    "multitask": ({"stem.shared", "trunk.shared", "head.source"}, {"stem.shared", "trunk.shared", "head.target"}),
    "parallel_training": (
        {"stem.source", "trunk.source", "head.source"},
        {"stem.target", "trunk.target", "head.target"},
    ),
}


@pytest.mark.parametrize("cell", MOVES)
def test_exactly_the_parts_of_the_table_move(cell: str) -> None:
    for role, expected in zip(("source", "target"), MOVES[cell], strict=True):
        data = pair_for(cell)
        module = module_for(cell, data)
        before = state(module)
        step(module, data, role)
        moved = {f"{kind}.{name}" for (kind, name), value in state(module).items() if before[kind, name] != value}
        assert moved == expected, role


def test_merging_moves_its_only_parts_with_either_dataset() -> None:
    data = pair_for("dataset_merging")
    module = module_for("dataset_merging", data)
    before = state(module)
    data.enter(module.plan[0])
    module.enter("joint")
    trainer_for(1).fit(module, datamodule=data)
    assert len(before) == 3
    assert all(before[part] != value for part, value in state(module).items())


@pytest.mark.parametrize("cell", SEQUENTIAL)
def test_what_survives_a_change_of_stage_survives_bit_for_bit(cell: str) -> None:
    data = pair_for(cell)
    module = module_for(cell, data)
    data.enter(module.plan[0])
    module.enter("source")
    trainer_for(2).fit(module, datamodule=data)
    before = state(module)
    report = module.enter("target")
    after = state(module)
    if cell == "modality_transfer":
        assert after["stem", "target"] == before["stem", "source"]
        assert report.loaded and not report.reinitialised
        before.pop(("stem", "target"))
    assert {part: after[part] for part in before} == before


@pytest.mark.parametrize("cell", SEQUENTIAL)
def test_frozen_is_frozen_through_a_stage(cell: str) -> None:
    data = pair_for(cell)
    data.setup()
    module = module_for(cell, data, finetuning="linear_probe")
    module.enter("source")
    module.enter("target")
    data.enter(module.plan[1])
    batch = data.split("target", "test").batch(list(range(8)))
    frozen = {part: value for part, value in state(module).items() if part[0] != "head"}

    def features(training: bool) -> torch.Tensor:
        module.train(training)
        with torch.no_grad():
            return module.features(batch).pooled

    first = features(False)
    assert torch.equal(first, features(True))
    trainer_for(4).fit(module, datamodule=data)
    assert torch.equal(first, features(True))
    assert {part: value for part, value in state(module).items() if part in frozen} == frozen
    assert all(
        not p.requires_grad for kind, _, part in module.parts.named() if kind != "head" for p in part.parameters()
    )


class Broken(Callback):
    """Make the source's targets NaN in every step."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        batch["source"]["value"] = batch["source"]["value"] * float("nan")


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{}, {"precision": "bf16-mixed"}, {"accumulate_grad_batches": 2}, {"nan": True}, {"num_workers": 1}],
    ids=["plain", "bf16", "accumulate", "source_is_nan", "worker"],
)
def test_parallel_training_equals_scratch(options: dict[str, Any]) -> None:
    """The null control: dropout, BatchNorm, augmentation and clipping included."""
    options = dict(options)
    nan, workers = options.pop("nan", False), options.pop("num_workers", 0)
    accumulate = options.get("accumulate_grad_batches", 1)
    backbone = build_backbone("small")
    backbone.trunk.norm = nn.Sequential(backbone.trunk.norm, nn.Dropout(0.3))
    augment = {role: {"shift": 0.1, "scale": 0.1, "brightness": 0.2} for role in ("source", "target")}
    results = []
    for cell in ("scratch", "parallel_training"):
        data = pair_for(cell, "count" if nan else "classify", accumulate=accumulate, num_workers=workers)
        if nan and cell != "scratch":
            target, source = data.data["target"], pair_for("dataset_merging", "count").data["source"]
            data = type(data)(target, source, batch_size=8, accumulate=accumulate)  # type: ignore[arg-type]
            data.tasks["source"] = Task.of({**data.tasks["source"].to_dict(), "name": "other-count"})
        own = augment if cell != "scratch" else {"target": augment["target"]}
        module = module_for(cell, data, backbone=backbone, augment=own, clip=0.1)
        callbacks = [Broken()] if nan and cell != "scratch" else []
        fit(
            module,
            data,
            steps=5,
            limit_val_batches=1.0,
            val_check_interval=2,
            check_val_every_n_epoch=None,
            callbacks=callbacks,
            **options,
        )
        scores = module.trainer.callback_metrics
        weights = "".join(value for (_, name), value in state(module).items() if name == "target")
        results.append((weights, {key: float(v) for key, v in scores.items() if key.startswith("val/target")}))
    assert results[0][1]
    assert results[0] == results[1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", ["scratch", *CELLS])
def test_every_cell_trains_tests_and_reloads_with_every_kind(cell: str, kind: str, tmp_path: Path) -> None:
    half: Any = {"precision": "bf16-mixed"}  # where what is computed without autocast fails first
    data = pair_for(cell, kind)
    module = module_for(cell, data)
    for stage in module.plan:
        data.enter(stage)
        module.enter(stage.name)
        trainer = trainer_for(1, limit_val_batches=1, val_check_interval=1, check_val_every_n_epoch=None, **half)
        trainer.fit(module, datamodule=data)
        assert module.monitor[0] in trainer.callback_metrics
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = type(module).load_from_checkpoint(tmp_path / "x.ckpt", weights_only=True)
    assert digest(again) == digest(module)
    assert again.hparams == module.hparams
    tested = trainer_for(1, limit_test_batches=1, **half).test(module, data.whole("test", ["target"]), verbose=False)
    assert f"test/target/{module.head('target').monitor}" in tested[0]
    named = module.predict_step(data.split("target", "test").batch([0, 1]), 0)
    assert len(named) == 2


@pytest.mark.parametrize("cell", SAME_TASK)
def test_labels_are_matched_by_name(cell: str) -> None:
    """Permuting one dataset's label order changes what its indices mean, not what is learned."""
    labels = ["a", "b", "c"]
    images = torch.randint(0, 255, (12, 3, 32, 32), dtype=torch.uint8)
    target = torch.arange(12) % 3
    order = [2, 0, 1]  # label i of the permuted set is labels[order[i]]
    inverse = torch.tensor([order.index(i) for i in range(3)])
    given = Task("t", "classification", tuple(labels), "x")
    permuted = Task("t", "classification", tuple(labels[i] for i in order), "x" if cell != "weight_sharing" else "y")
    module = CELLS[cell](source=given.to_dict(), target=permuted.to_dict()).eval()
    assert set(module.head("source").labels) == set(labels)
    if module.parts.wires["source"][2] == module.parts.wires["target"][2]:
        with torch.no_grad():
            features = module.features({"image": images}, "source")
            assert torch.equal(module.outputs(features, "source")[:, order], module.outputs(features, "target"))
            first = module.head("source").loss(module.outputs(features, "source"), {"label": target})
            second = module.head("target").loss(module.outputs(features, "target"), {"label": inverse[target]})
        assert torch.allclose(first, second)
    else:
        pytest.fail("the same names must keep one head")


class Fixed:
    """A user's own data: a plain object with a task and three datasets."""

    def __init__(self, task: Task, dataset: InMemory) -> None:
        self.task, self.train_dataset, self.val_dataset, self.test_dataset = task, dataset, dataset, dataset

    def prepare_data(self) -> None: ...

    def setup(self, stage: str | None = None) -> None: ...


def squares(names: tuple[str, ...], shown: dict[str, tuple[int, int, int]], domain: str, seed: int) -> Fixed:
    """Return pictures with a red and a blue square each, in which only some names are annotated."""
    rng = torch.Generator().manual_seed(seed)
    count, size = 64, 32
    image = torch.zeros(count, 3, size, size, dtype=torch.uint8)
    boxes: list[Any] = []
    labels: list[Any] = []
    for i in range(count):
        own, own_labels = [], []
        for half, (name, colour) in enumerate(shown.items()):
            x = int(torch.randint(1, 4, (1,), generator=rng)) + 16 * half
            y = int(torch.randint(2, 18, (1,), generator=rng))
            image[i, :, y : y + 12, x : x + 12] = torch.tensor(colour, dtype=torch.uint8)[:, None, None]
            if name in names:
                own.append([x, y, x + 12, y + 12])
                own_labels.append(names.index(name))
        boxes.append(torch.tensor(own, dtype=torch.float32).view(-1, 4))
        labels.append(torch.tensor(own_labels, dtype=torch.long))
    fields = {"id": [f"{domain}{i}" for i in range(count)], "image": image, "boxes": boxes, "box_labels": labels}
    return Fixed(Task("squares", "detection", names, "paper"), InMemory(fields))


@pytest.mark.slow
def test_merged_datasets_with_disjoint_names_find_both_kinds_in_one_picture() -> None:
    shown = {"red": (255, 0, 0), "blue": (0, 0, 255)}
    source, target = squares(("red",), shown, "s", 0), squares(("blue",), shown, "t", 1)
    data = MergedData(target, source, batch_size=16, overlap="allow")  # type: ignore[arg-type]
    module = module_for("dataset_merging", data, lr=5e-3)
    fit(module, data, steps=60)
    module.eval()
    batch = squares(("red", "blue"), shown, "test", 2).test_dataset.batch(list(range(16)))
    head = module.head("target")
    with torch.no_grad():
        found = head.predict(module.outputs(module.features(batch), labels=["red", "blue"]))
    metrics = head.metrics(["red", "blue"])
    metrics.update(found, head.targets(batch))
    assert metrics.compute()["map50"] > 0.8


def test_aligned_is_one_backbone_pass_a_step() -> None:
    data = pair_for("multitask", mode="aligned")
    module = module_for("multitask", data)
    passes = []
    module.parts.of("target", "trunk").register_forward_hook(lambda *_: passes.append(1))
    fit(module, data, steps=5)
    assert len(passes) == 5


def test_roles_that_share_a_trunk_take_one_pass() -> None:
    data = pair_for("weight_sharing")
    module = module_for("weight_sharing", data)
    passes = []
    module.parts.of("target", "trunk").register_forward_hook(lambda _, args, __: passes.append(len(args[0].values)))
    fit(module, data, steps=2)
    assert passes == [16, 16]


def test_partial_labels_change_nothing_else() -> None:
    """The loss over samples of which some have no target is the loss over those that have one."""
    data = pair_for("multitask", mode="aligned")
    data.setup()
    module = module_for("multitask", data).eval()
    datasets, _, _ = data.training()
    dataset = datasets["source+target"]
    rows = [0, 5, 30, 39]  # the first 24 carry the target's label, all 40 the source's mask
    partial = dataset.batch(rows)
    assert partial["label_rows"].tolist() == [0, 1]
    assert "mask_rows" not in partial

    def losses(batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        features = module.features(batch)
        return {role: module.loss(role, features, batch) for role in ("source", "target")}

    mixed, alone = losses(partial), losses(dataset.batch(rows[:2]))
    assert torch.allclose(mixed["target"], alone["target"])
    without = losses({key: value for key, value in partial.items() if not key.startswith("label")})
    assert torch.equal(without["source"], mixed["source"])
    assert without["target"] is None


def test_own_backbones() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    data = pair_for("multitask", "count")
    module = module_for("parallel_training", pair_for("parallel_training", "count"), backbone=net)
    mine, other = (module.parts.of(role, "trunk") for role in ("target", "source"))
    assert mine is not other and digest(mine) == digest(other)
    fit(TransferModule(data.tasks["target"], backbone=net), pair_for("scratch", "count"), steps=1)
    with pytest.raises(ValueError, match="stem per domain"):
        module_for("weight_sharing", pair_for("weight_sharing"), backbone=net)
    with pytest.raises(ValueError, match="needs a backbone with feature maps"):
        module_for("multitask", pair_for("multitask"), backbone=net)
    split = build_backbone("small")
    shared = module_for("weight_sharing", pair_for("weight_sharing"), backbone=Backbone(split.stem, split.trunk))
    assert isinstance(shared, WeightSharing)


def test_own_backbone_is_asked_for_when_a_checkpoint_loads(tmp_path: Path) -> None:
    data = pair_for("scratch", "count")
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    module = module_for("scratch", data, backbone=net)
    trainer = trainer_for(1)
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="pass it again"):
        TransferModule.load_from_checkpoint(tmp_path / "x.ckpt", weights_only=True)
    again = TransferModule.load_from_checkpoint(tmp_path / "x.ckpt", backbone=net, weights_only=True)
    assert digest(again) == digest(module)


def text_task(domain: str, name: str = "topic") -> Fixed:
    words = {"good": 1, "bad": 0, "fine": 1, "poor": 0}
    texts = [f"{word} {domain} item {i}" for i in range(8) for word in words]
    fields = {"id": texts, "text": texts, "label": torch.tensor([words[text.split()[0]] for text in texts])}
    return Fixed(Task(name, "classification", ("no", "yes"), domain, positive="yes"), InMemory(fields))


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_text_runs_through_the_same_code(cell: str) -> None:
    target, source = text_task("mail"), text_task("mail" if cell in ("multitask",) else "chat", "tone")
    made: Any = {"dataset_merging": MergedData}.get(cell, PairedData)
    pair = made(target, source, batch_size=8, overlap="allow")  # it is tested on what it learns
    if cell == "dataset_merging" or cell in SAME_TASK:
        pair.tasks["source"] = Task.of({**pair.tasks["source"].to_dict(), "name": "topic"})
    module = module_for(cell, pair, backbone="bag", lr=1e-2)
    fit(module, pair, steps=30)
    tested = trainer_for(1).test(module, pair.whole("test", ["target"]), verbose=False)[0]
    assert tested["test/target/accuracy"] > 0.9
    assert tested["test/target/f1"] > 0.9


def test_two_kinds_of_input_and_one_missing() -> None:
    rng = torch.Generator().manual_seed(0)
    label = torch.arange(32) % 2
    image = (
        torch.randint(0, 60, (32, 3, 16, 16), generator=rng, dtype=torch.uint8) + (label * 150).view(-1, 1, 1, 1).byte()
    )
    texts = [("good" if y else "bad") + f" {i}" for i, y in enumerate(label.tolist())]
    both = InMemory(
        {"id": texts, "image": image, "text": texts, "label": label}, {"image": [i < 20 for i in range(32)]}
    )
    task = Task("pages", "classification", ("no", "yes"), "paper")
    pair = PairedData(Fixed(task, both), batch_size=8, overlap="allow")  # type: ignore[arg-type]
    module = module_for("scratch", pair, backbone={"name": "document"}, lr=1e-2)
    fit(module, pair, steps=30)
    assert trainer_for(1).test(module, pair.whole("test", ["target"]), verbose=False)[0]["test/target/accuracy"] > 0.9


def test_planting_a_run_into_another_cell(tmp_path: Path) -> None:
    data = pair_for("scratch")
    module = module_for("scratch", data)
    trainer = trainer_for(1)
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    checkpoint = torch.load(tmp_path / "x.ckpt", weights_only=True)
    other = module_for("multitask", pair_for("multitask"))
    report = other.plant(checkpoint, into="source")
    assert digest(other.parts.of("source", "trunk")) == digest(module.parts.of("target", "trunk"))
    assert any(name.startswith("head.") for name in report.reinitialised)
    assert not other.plant(checkpoint, into="target").reinitialised
    with pytest.raises(ValueError, match="not one of a TransferModule"):
        other.plant({"state_dict": {}})
    with pytest.raises(ValueError, match="does not fit this backbone"):
        MultiTask(**{r: t.to_dict() for r, t in other.tasks.items()}, backbone="resnet18").plant(checkpoint)


@pytest.mark.parametrize(("colours", "channels"), [(3, 1), (1, 3), (3, 2), (3, 4), (1, 4), (4, 3), (4, 1)])
def test_channels_of_a_new_domain_are_adapted(colours: int, channels: int) -> None:
    """A grey picture gives what it gave as a picture of the source; a further channel has no say at its mean."""
    digits = Task("digits", "classification", ("0", "1"), "colour", channels=colours)
    grey = Task("shades", "regression", (), "grey", channels=channels)
    module = CELLS["modality_transfer"](source=digits.to_dict(), target=grey.to_dict()).eval()
    module.enter("source")
    statistics = module.parts.of("source", "stem").state_dict()
    for name in ("mean", "std"):
        statistics[name] += torch.rand(statistics[name].shape) / 3
    report = module.enter("target")
    assert report.adapted == (["stem.mean", "stem.std", "stem.conv.weight"] if max(channels, colours) > 3 else [])
    assert not report.reinitialised
    image = torch.rand(2, 1, 32, 32)
    module.eval()
    assert module(image.expand(-1, channels, -1, -1)).shape == (2, 1)
    as_source = image.expand(-1, colours, -1, -1).clone()
    if colours > 3:
        as_source[:, 3] = module.parts.of("source", "stem").get_buffer("mean")[0, 3]
    wanted = module.features({"image": as_source if colours > 1 else image}, "source").pooled
    assert torch.allclose(module.features({"image": image}).pooled, wanted, atol=1e-5)
    picture = torch.rand(2, channels, 32, 32)
    if 3 <= colours < channels:
        wanted = module.features({"image": picture[:, :colours]}, "source").pooled
        assert torch.allclose(module.features({"image": picture}).pooled, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"lr": -1}, "lr=-1 must be above 0"),
        ({"clip": 0}, "clip=0 must be above 0"),
        ({"weight_decay": -1}, "weight_decay=-1 must be at least 0"),
        ({"schedule": "cosin"}, "schedule='cosin' is unknown; allowed: one_cycle, cosine, constant"),
        ({"backbone": "resnet19"}, "backbone='resnet19' is unknown"),
        ({"backbone": {"name": "small", "depth": 3}}, "backbone.depth is no option of small"),
        ({"augment": {"target": {"shift": 2}}}, "augment.shift=2 must be in"),
        ({"source_backbone": "small"}, "both roles go through one trunk"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], line: str) -> None:
    task = {"name": "t", "kind": "classification", "labels": ["a", "b"]}
    with pytest.raises(ValueError, match=line.split("(")[0]):
        TransferModule(task, **options)


def test_wrong_tasks_are_named() -> None:
    with pytest.raises(ValueError, match="kind='classify' of task 't' is unknown"):
        Task("t", "classify", ("a",))
    with pytest.raises(ValueError, match="needs a source task"):
        MultiTask({"name": "t", "kind": "regression"})
    with pytest.raises(ValueError, match="unknown lables"):
        Task.of({"name": "t", "kind": "classification", "lables": ["a"]})
    with pytest.raises(ValueError, match="name a more than once"):
        Task("t", "classification", ("a", "a"))
    with pytest.raises(ValueError, match="finetuning='lara' is unknown; allowed: full, linear_probe"):
        module_for("task_adaptation", pair_for("task_adaptation"), finetuning="lara")


def test_steps_are_divided_exactly() -> None:
    stages = module_for("task_adaptation", pair_for("task_adaptation")).plan
    for steps in (2, 3, 10, 999, 1000):
        parts = split_steps(steps, stages)
        assert sum(parts) == steps and min(parts) >= 1
    with pytest.raises(ValueError, match="steps=1 is less than one"):
        split_steps(1, stages)


def test_bare_loaders_and_pairs_of_tensors() -> None:
    images, labels = torch.rand(16, 3, 32, 32), torch.arange(16) % 2
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, labels), batch_size=8)
    task = {"name": "t", "kind": "classification", "labels": ["a", "b"]}
    trainer = trainer_for(2, limit_val_batches=1.0)
    trainer.fit(TransferModule(task), loader, loader)
    assert "val/target/accuracy" in trainer.callback_metrics
    both = {"source": loader, "target": loader}
    pair = MultiTask(task, source={**task, "name": "other"})
    trainer = trainer_for(2, limit_val_batches=1.0)
    trainer.fit(pair, both, both)
    assert {"val/source/accuracy", "val/target/accuracy"} <= set(trainer.callback_metrics)


@pytest.mark.parametrize(("of", "into"), [(3, 1), (1, 3), (3, 4)])
def test_a_run_on_other_channels_is_planted_exactly(of: int, into: int, tmp_path: Path) -> None:
    labels = ("a", "b")
    modules = [
        TransferModule(Task("t", "classification", labels, channels=channels), seed=seed).eval()
        for seed, channels in enumerate((of, into))
    ]
    trainer = trainer_for(1)
    trainer.strategy.connect(modules[0])
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    report = modules[1].plant(torch.load(tmp_path / "x.ckpt", weights_only=True))
    assert not report.reinitialised and len(report.adapted) == (3 if into > 3 else 0)
    grey = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        one, other = (module(grey.expand(-1, n, -1, -1)) for module, n in zip(modules, (of, into), strict=True))
    assert torch.allclose(one, other, atol=1e-5)
