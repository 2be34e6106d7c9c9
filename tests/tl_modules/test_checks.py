"""Wrong use from Python is an error that says what was expected and what was found, never a silent other training."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.tuner import Tuner
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, IterableDataset
from torchvision.models import resnet18, vit_b_16

from datamodules.collate import as_sample
from datamodules.pair import SequentialData, fetch
from tests.conftest import digest, pair_for
from tests.conftest import trainer_for as quiet_trainer
from tests.tl_modules.plain import DIGITS, LETTERS, loader, rows, trainer_for
from tl_modules import DatasetMerging, MultiTask, Task, TaskFineTuning, TransferModule
from tl_modules.backbones.own import OwnTrunk
from tl_modules.health import Diverged


def module(cell: type[TransferModule], **given: Any) -> TransferModule:
    return cell(**{"target": DIGITS, "schedule": "constant", **given})


def refuses(text: str) -> Any:
    return pytest.raises(ValueError, match=re.escape(text))


def test_a_fit_without_enter_does_not_leave_out_the_source() -> None:
    cell = module(TaskFineTuning, source=DIGITS)
    with refuses("TaskFineTuning trains in the stages source, target, and none was entered"):
        trainer_for(2).fit(cell, {"source": loader(), "target": loader()})


@pytest.fixture
def at_source(tmp_path: Path) -> Iterator[tuple[TransferModule, Path]]:
    cell = module(TaskFineTuning, source=DIGITS)
    cell.enter("source")
    trainer = trainer_for(2)
    trainer.fit(cell, {"source": loader()})
    trainer.save_checkpoint(tmp_path / "source.ckpt")
    yield cell, tmp_path / "source.ckpt"


def test_a_checkpoint_of_the_source_goes_on_with_the_source(at_source: tuple[TransferModule, Path]) -> None:
    resumed = module(TaskFineTuning, source=DIGITS)
    trainer_for(4).fit(resumed, {"source": loader()}, ckpt_path=at_source[1])
    assert resumed.stage.name == "source"
    entered = module(TaskFineTuning, source=DIGITS)
    entered.enter("source")
    trainer_for(4).fit(entered, {"source": loader()}, ckpt_path=at_source[1])
    assert digest(resumed.parts) == digest(entered.parts) != digest(at_source[0].parts)


def test_a_checkpoint_of_another_stage_than_the_entered_one_is_refused(at_source: tuple[TransferModule, Path]) -> None:
    other = module(TaskFineTuning, source=DIGITS)
    other.enter("target")
    with refuses("this checkpoint is of stage 'source', but 'target' was entered"):
        trainer_for(4).fit(other, {"target": loader()}, ckpt_path=at_source[1])


def test_a_loaded_module_hands_its_source_on(at_source: tuple[TransferModule, Path]) -> None:
    different = {**DIGITS, "labels": ["odd", "even", "none"]}
    cell = module(TaskFineTuning, source=DIGITS, target=different)
    cell.enter("source")
    trainer = trainer_for(2)
    trainer.fit(cell, {"source": loader()})
    path = at_source[1].with_name("rows.ckpt")
    trainer.save_checkpoint(path)
    report, loaded = cell.enter("target"), TaskFineTuning.load_from_checkpoint(path)
    assert report.by_name and loaded.enter("target") == report
    assert digest(loaded.head("target")) == digest(cell.head("target"))


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_target_under_another_name_is_an_error(split: str) -> None:
    cell, wrong, trainer = module(TransferModule), loader("labels"), trainer_for(2)
    with refuses(
        f"{split}: no batch of the target has the field 'label', which task 'digits' (classification) learns from; "
        "it has image, labels; rename"
    ):
        if split == "test":
            trainer.test(cell, wrong)
        else:
            trainer.fit(cell, wrong if split == "train" else loader(), wrong if split == "val" else None)


def test_samples_without_a_target_are_in_order_while_others_have_one() -> None:
    some = [{k: v for k, v in row.items() if k != "label" or i >= 4} for i, row in enumerate(rows())]
    cell = module(TransferModule)
    before = digest(cell.parts)
    trainer_for(2).fit(cell, DataLoader(some, batch_size=4))  # type: ignore[arg-type]
    assert digest(cell.parts) != before


def test_a_list_of_samples_is_no_batch() -> None:
    with refuses("a batch must be a dict, images or a pair (images, targets), not list"):
        module(TransferModule).eval().predict_step(rows(2), 0)


def test_loaders_in_a_list_are_nobodys() -> None:
    cell, loaders = module(MultiTask, source=LETTERS), {"source": loader(), "target": loader()}
    with refuses("val_dataloaders: stage joint of MultiTask learns source and target, and a list does not say whose"):
        trainer_for(2).fit(cell, loaders, [loader(), loader()])
    with refuses('test_dataloaders: a list does not say whose they are; name them: {"source": ..., "target": ...}'):
        trainer_for(2).test(cell, [loader(), loader()])


def test_a_plain_loader_cannot_serve_a_role_that_it_is_not_for() -> None:
    with refuses("train_dataloaders: stage joint of MultiTask learns source and target, and a plain loader"):
        trainer_for(2).fit(module(MultiTask, source=LETTERS), loader())
    cell = module(TaskFineTuning, source=DIGITS)
    cell.enter("source")
    with refuses("train_dataloaders: stage source of TaskFineTuning learns source, and a plain loader"):
        trainer_for(2).fit(cell, loader())
    with refuses("val_dataloaders: stage source of TaskFineTuning learns source, and a plain loader"):
        trainer_for(2).fit(cell, {"source": loader()}, loader())


def test_cells_check_the_relation_of_their_tasks() -> None:
    with refuses("have different tasks letters (classification) and digits (classification); the class that fits is "):
        module(DatasetMerging, source=LETTERS)
    twice = module(MultiTask, source=DIGITS)  # a head each
    assert twice.parts.wires["source"][2] != twice.parts.wires["target"][2]
    module(MultiTask, source={**LETTERS, "domain": "chat"})  # a judgement, and both can share a stem


def test_a_prediction_is_by_the_head_of_its_own_role() -> None:
    cell = module(MultiTask, source=LETTERS).eval()
    images = torch.rand(2, 3, 32, 32)
    names = {row["label"] for row in cell.predict_step({"source": {"image": images}}, 0)}
    assert names <= {"a", "b"}
    assert {row["label"] for row in cell.predict_step({"target": {"image": images}}, 0)} <= {"even", "odd"}
    with refuses("a batch to predict must be of one role, not of source, target"):
        cell.predict_step({"source": {"image": images}, "target": {"image": images}}, 0)
    found = trainer_for(1).predict(cell, {"source": loader(), "target": loader()})
    assert found is not None
    assert {row["label"] for batch in found[0] for row in batch} <= {"a", "b"}
    assert {row["label"] for batch in found[1] for row in batch} <= {"even", "odd"}


@pytest.mark.parametrize("build", [resnet18, vit_b_16], ids=lambda build: build.__name__)
def test_a_classifier_is_no_backbone(build: Any) -> None:
    net = build(image_size=64) if build is vit_b_16 else build()
    with refuses("gives the scores of 1000 classes, not features"):
        OwnTrunk(net)


def test_a_network_without_its_classifier_is_one() -> None:
    net = resnet18()
    net.fc = torch.nn.Identity()
    assert OwnTrunk(net).dim == 512
    assert OwnTrunk(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64 * 64, 7))).dim == 7


RACCOONS = {"name": "animals", "kind": "detection", "labels": ["raccoon", "fox"]}


def pairs(first: int) -> list[Any]:
    boxes = torch.tensor([[4.0, 4.0, 20.0, 20.0], [8.0, 10.0, 30.0, 28.0]])
    return [(row["image"], {"boxes": boxes, "labels": torch.tensor([first, first + 1])}) for row in rows()]


def test_detection_pairs_of_torchvision_train_as_they_are() -> None:
    loader = DataLoader(pairs(0), batch_size=4, collate_fn=lambda batch: tuple(zip(*batch, strict=True)))  # type: ignore
    cell, trainer = module(TransferModule, target=RACCOONS), trainer_for(2)
    before = digest(cell.parts)
    trainer.fit(cell, loader, loader)
    assert digest(cell.parts) != before
    assert "test/target/map50" in trainer.test(cell, loader, verbose=False)[0]


def test_box_labels_that_count_from_one_are_an_error() -> None:
    loader = DataLoader(pairs(1), batch_size=4, collate_fn=lambda batch: tuple(zip(*batch, strict=True)))  # type: ignore
    with refuses("sample 0: box labels 1 to 2 must be 0 to 1; they count from 1"):
        trainer_for(2).fit(module(TransferModule, target=RACCOONS), loader)
    with refuses("photo: box labels 1 to 2 must be 0 to 1"):
        as_sample(pairs(1)[0], Task.of(RACCOONS), "photo")


def test_images_alone_are_predicted() -> None:
    cell, images = module(TransferModule).eval(), torch.rand(4, 3, 32, 32)
    expected = cell.predict_step({"image": images}, 0)
    assert cell.predict_step(images, 0) == cell.predict_step([images], 0) == expected
    assert trainer_for(1).predict(cell, DataLoader(images, batch_size=4)) == [expected]  # type: ignore[arg-type]


class Rows:
    """Rows with PIL images, and a `batch` of another library's meaning."""

    def __init__(self) -> None:
        self.rows = [{"image": Image.new("RGB", (32, 32), (30 * i, 0, 0)), "label": i % 2} for i in range(8)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]

    def batch(self, batch_size: int) -> Any:
        raise AssertionError("this is not asked for indices")


def test_rows_with_pil_images_of_another_library_are_read() -> None:
    found = fetch(Rows(), [0, 3], Task.of(DIGITS))
    assert found["image"].shape == (2, 3, 32, 32)
    assert found["image"].dtype == torch.uint8
    assert found["label"].tolist() == [0, 1]


def test_data_whose_labels_stand_in_another_order_are_refused() -> None:
    data = pair_for("multitask")
    swapped = {"target": data.tasks["source"], "source": data.tasks["target"]}
    with refuses("the module's kind"):
        trainer_for(1).fit(MultiTask(**swapped), datamodule=data)
    data = pair_for("scratch", "classify")
    turned = {**data.tasks["target"].to_dict(), "labels": data.tasks["target"].labels[::-1]}
    with refuses("differ in another order; build the module with the data's task"):
        trainer_for(1).test(module(TransferModule, target=turned), datamodule=data)


def test_a_trainers_clipping_is_refused_and_the_modules_named() -> None:
    with refuses("Trainer(gradient_clip_val=0.5) has no effect"):
        quiet_trainer(1, gradient_clip_val=0.5).fit(module(TransferModule), loader())
    with refuses("Trainer(gradient_clip_algorithm='value') has no effect"):
        quiet_trainer(1, gradient_clip_algorithm="value").fit(module(TransferModule), loader())
    assert trainer_for(1).test(module(TransferModule), loader(), verbose=False)


@pytest.mark.slow
def test_a_compiled_module_is_fitted_validated_and_tested_as_the_plain_one() -> None:
    tested = []
    for wrap in (lambda cell: cell, lambda cell: torch.compile(cell, backend="eager")):
        trainer, cell = trainer_for(2), wrap(module(MultiTask, source=LETTERS))
        loaders = {"source": loader(), "target": loader()}
        trainer.fit(cell, loaders, loaders)
        tested.append(trainer.test(cell, loaders, verbose=False)[0])
    assert tested[1] == pytest.approx(tested[0], abs=1e-4)


@pytest.mark.parametrize("end", [{"max_epochs": -1}, {"max_time": {"seconds": 1}}], ids=["epochs", "time"])
def test_a_schedule_needs_an_end_and_a_constant_one_does_not(end: dict[str, Any]) -> None:
    with refuses("schedule='one_cycle' needs the number of steps"):
        quiet_trainer(-1, **end).fit(module(TransferModule, schedule="one_cycle"), loader())
    stop = {"max_time": {"seconds": 1}, "max_epochs": -1}
    trainer = quiet_trainer(-1, **stop)
    trainer.fit(module(TransferModule), loader())
    assert trainer.global_step > 0


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"accumulate_grad_batches": 4}, 4),
        ({"limit_train_batches": 1}, 2),
        ({"limit_train_batches": 1.0}, 16),
        ({"limit_train_batches": 0.5}, 8),
        ({"callbacks": [GradientAccumulationScheduler({0: 2, 1: 4})]}, 6),
    ],
)
def test_a_schedule_ends_with_the_fit_whatever_is_accumulated_or_left_out(options: dict[str, Any], steps: int) -> None:
    target = pair_for("scratch").data["target"]
    target.train_size = 64
    data = SequentialData(target, None, batch_size=8)
    cell = TransferModule(target.task)
    trainer = quiet_trainer(-1, max_epochs=2, **options)
    trainer.fit(cell, datamodule=data)
    assert (trainer.global_step, cell.planned) == (steps, steps)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-6)


def test_a_loader_without_a_length_has_no_planned_end() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return iter(rows())

    with refuses("schedule='one_cycle' needs the number of steps"):
        given = DataLoader(Stream(), batch_size=4)
        quiet_trainer(-1, max_epochs=2).fit(module(TransferModule, schedule="one_cycle"), given)


def test_a_module_that_diverged_can_be_fitted_again() -> None:
    cell = module(TransferModule)
    wrong = {name: torch.full_like(value, torch.inf) for name, value in cell.head("target").state_dict().items()}
    right = {name: value.clone() for name, value in cell.head("target").state_dict().items()}
    cell.head("target").load_state_dict(wrong)
    for _ in range(2):
        with pytest.raises(Diverged):
            trainer_for(1).fit(cell, loader())
    cell.head("target").load_state_dict(right)
    trainer = trainer_for(2)
    trainer.fit(cell, loader())
    assert trainer.global_step == 2


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
@pytest.mark.parametrize("backbone", ["small", "own"])
def test_weights_may_be_of_another_precision(precision: Any, backbone: str) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()) if backbone == "own" else "small"
    cell, trainer = module(TransferModule, backbone=network), quiet_trainer(2, precision=precision)
    trainer.fit(cell, loader())
    assert trainer.test(cell, loader(), verbose=False)[0]["test/target/loss"] > 0


def test_the_rate_that_lr_find_sets_is_the_one_trained_with() -> None:
    cell, trainer = module(TransferModule), quiet_trainer(3)
    found = Tuner(trainer).lr_find(cell, loader(count=16), num_training=5, update_attr=False)
    assert found is not None
    cell.lr = 0.0123
    trainer.fit(cell, loader())
    assert {group["initial_lr"] for group in trainer.optimizers[0].param_groups} == {0.0123}
    Tuner(trainer := quiet_trainer(3)).lr_find(other := module(TransferModule), loader(count=16), num_training=30)
    assert other.lr != 3e-3
    trainer.fit(other, loader())
    assert {group["initial_lr"] for group in trainer.optimizers[0].param_groups} == {other.lr}


def test_a_checkpoint_of_another_cell_is_refused(at_source: tuple[TransferModule, Path]) -> None:
    with refuses("this checkpoint is of TaskFineTuning, not of MultiTask: TaskFineTuning.load_from_checkpoint"):
        MultiTask.load_from_checkpoint(at_source[1], source=LETTERS)
    with refuses("source: TransferModule has no parts for it and learns the target alone"):
        TransferModule.load_from_checkpoint(at_source[1])

    class Mine(TaskFineTuning):
        """A cell derived from it."""

    assert digest(Mine.load_from_checkpoint(at_source[1]).parts) == digest(at_source[0].parts)


def test_roles_cannot_be_swapped_by_their_order() -> None:
    with pytest.raises(TypeError, match="positional"):
        MultiTask(LETTERS, DIGITS)  # type: ignore[misc]


def test_hyperparameters_are_the_arguments_and_nothing_else() -> None:
    taken = set(inspect.signature(TransferModule).parameters)
    assert set(TransferModule(target=DIGITS).hparams) == taken - {"source"}
