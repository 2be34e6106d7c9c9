"""The staged runner: whatever the data come as, the stages are trained in order and leave their best weights."""

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

from datamodules.pair import CombinedData, SequentialData
from datamodules.synthetic.scenes import Scenes
from tl_modules import MultiTask, ParallelTraining, TaskFineTuning, TransferModule, fit

QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
BARE = {**QUIET, "enable_checkpointing": False}
TASK = {"name": "t", "kind": "classification", "labels": ("a", "b")}
OTHER = {"name": "u", "kind": "classification", "labels": ("x", "y", "z")}


def pairs(classes=2, count=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, 16, 16, generator=generator)
    return TensorDataset(images, torch.randint(classes, (count,), generator=generator))


class Plain(LightningDataModule):
    """Loaders and no datasets to be read otherwise."""

    def __init__(self, classes=2, seed=0):
        super().__init__()
        self.classes, self.seed = classes, seed

    def setup(self, stage=None):
        self.ready = True

    def train_dataloader(self):
        assert self.ready
        return DataLoader(pairs(self.classes, seed=self.seed), 4)

    def val_dataloader(self):
        return DataLoader(pairs(self.classes, 8, self.seed + 9), 4)


def scenes():
    options = {"train_size": 16, "val_size": 8, "image_size": 32}
    return Scenes("textured", "classify", "source", **options), Scenes("textured", "classify", **options)


FORMS = {
    "loaders": lambda: {role: DataLoader(pairs(seed=i), 4) for i, role in enumerate(("source", "target"))},
    "splits": lambda: {
        role: {"train": DataLoader(pairs(seed=i), 4), "val": DataLoader(pairs(seed=i + 5), 4)}
        for i, role in enumerate(("source", "target"))
    },
    "modules": lambda: {"source": Plain(), "target": Plain(seed=1)},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cell", [TaskFineTuning, ParallelTraining])
def test_loaders_and_datamodules_by_role_train_every_stage(form, cell):
    source = TASK if cell is TaskFineTuning else OTHER
    data = FORMS[form]()
    if cell is ParallelTraining and form == "modules":
        data["source"] = Plain(classes=3)
    module = cell(target=TASK, source=source)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    records = fit(module, data, BARE, steps=6)
    assert [one.stage.name for one in records] == [stage.name for stage in module.plan]
    assert sum(one.trainer.global_step for one in records) == 6
    after = module.parts.named_parameters()
    learned = [name for name, value in after if not torch.equal(value, before[f"parts.{name}"])]
    assert {name.split(".")[0] for name in learned} == {"stem", "trunk", "head"}


def test_one_dataset_is_the_targets_and_our_pairs_are_entered():
    records = fit(TransferModule(target=TASK), Plain(), {**BARE, "max_steps": 3})
    assert [(one.stage.name, one.steps) for one in records] == [("target", 3)]
    source, target = scenes()
    data = SequentialData(target, source, batch_size=8)
    fit(TaskFineTuning(target=target.task, source=source.task), data, {**BARE, "max_epochs": 1})
    assert data.stage.name == "target"


def test_each_stage_leaves_its_best_checkpoint_behind(tmp_path):
    source, target = scenes()
    data = SequentialData(target, source, batch_size=8)
    module = TaskFineTuning(target=target.task, source=source.task)
    options = {**QUIET, "default_root_dir": tmp_path, "val_check_interval": 1, "check_val_every_n_epoch": None}
    records = fit(module, data, options, steps=8)
    assert [one.checkpoint.parent.name for one in records] == ["source", "target"]
    best = torch.load(records[-1].checkpoint, weights_only=True)["state_dict"]
    assert all(torch.equal(module.state_dict()[name], value) for name, value in best.items())
    assert records[-1].monitor == "val/target/accuracy"


def test_it_goes_on_from_a_checkpoint_in_the_checkpoints_stage(tmp_path):
    source, target = scenes()

    def run(resume=None, **more):
        data = SequentialData(target, source, batch_size=8)
        module = TaskFineTuning(target=target.task, source=source.task, schedule="constant")
        keep = ModelCheckpoint(tmp_path / "all", "{step}", every_n_train_steps=1, save_top_k=-1)

        def make(stage, steps):
            callbacks = [keep] if stage.name == "target" and resume is None else []
            checkpoints = {"enable_checkpointing": bool(callbacks), "callbacks": callbacks}
            return Trainer(max_steps=steps, use_distributed_sampler=False, **{**QUIET, **checkpoints})

        records = fit(module, data, make, steps=10, resume=resume)
        return [one.stage.name for one in records], module.state_dict()

    names, whole = run()
    again, resumed = run(tmp_path / "all" / "step=1.ckpt")
    assert (names, again) == (["source", "target"], ["target"])
    assert all(torch.equal(whole[name], value) for name, value in resumed.items() if name.startswith("parts."))


@pytest.mark.parametrize(
    ("cell", "data", "said"),
    [
        (MultiTask, {"target": [1]}, "source is not there; MultiTask needs source and target"),
        (MultiTask, {"source": [1], "target": [1], "other": [1]}, "other is unknown"),
        (MultiTask, Plain(), "Plain is one dataset's, and MultiTask learns source and target"),
        (MultiTask, [1, 2], "must be a DataModule or a mapping by role, not list"),
    ],
)
def test_data_that_lack_a_role_are_named(cell, data, said):
    with pytest.raises(ValueError, match=said):
        fit(cell(target=TASK, source=OTHER), data, BARE, steps=2)


def test_a_stage_that_is_skipped_is_said(recwarn):
    source, target = scenes()
    module = TaskFineTuning(target=target.task, source=source.task)
    data = SequentialData(target, source, batch_size=8)
    data.enter(module.plan[-1])
    module.enter("target")
    Trainer(max_steps=1, **BARE).fit(module, data)
    assert any("source before it was not" in str(one.message) for one in recwarn)


def test_fewer_steps_than_stages_and_a_strange_checkpoint_are_refused(tmp_path):
    source, target = scenes()
    module = TaskFineTuning(target=target.task, source=source.task)
    data = CombinedData(target, source, batch_size=8)
    with pytest.raises(ValueError, match="steps=1 is less than one for each"):
        fit(module, data, BARE, steps=1)
    torch.save({"state_dict": {}}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="is of stage None; TaskFineTuning has source, target"):
        fit(module, data, BARE, steps=4, resume=tmp_path / "x.ckpt")


class Counting(Callback):
    def __init__(self):
        self.seen = []

    def on_train_start(self, trainer, pl_module):
        self.seen.append(pl_module.stage.name)
        assert len(self.seen) == 1, "what one stage left behind"


@pytest.mark.parametrize("callbacks", [[Counting()], lambda stage, monitor, mode: [Counting()]])
def test_each_stage_has_callbacks_of_its_own(callbacks):
    module = TaskFineTuning(target=TASK, source=TASK)
    records = fit(module, FORMS["loaders"](), {**BARE, "callbacks": callbacks}, steps=4)
    assert len(records) == 2


def test_labels_in_another_order_than_a_datamodules_are_refused():
    source, target = scenes()
    turned = {**target.task.to_dict(), "labels": list(target.task.labels)[::-1]}
    with pytest.raises(ValueError, match=r"target: the module's labels .* differ in another order"):
        module = TaskFineTuning(target=turned, source=source.task)
        fit(module, {"source": source, "target": target}, BARE, steps=2)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"train": [1], "valid": [1]}, "it has the key 'valid'"),
        ({"train": DataLoader(pairs(), 4), "val": [1, 2]}, "it has a list"),
        ((1, 2), "it has a list"),
    ],
)
def test_loaders_under_other_names_or_in_lists_are_refused(given, said):
    with pytest.raises(ValueError, match=said):
        fit(TransferModule(target=TASK), {"target": given}, BARE, steps=2)


class Unvalidated(Plain):
    val_dataloader = LightningDataModule.val_dataloader


def test_a_datamodule_without_validation_trains():
    (record,) = fit(TransferModule(target=TASK), {"target": Unvalidated()}, BARE, steps=2)
    assert record.trainer.global_step == 2
