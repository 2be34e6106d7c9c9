"""Loaders of one's own under a bare Trainer: whose they are, what they may hold, and what a step leaves alone."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from datamodules.merge import union_labels
from datamodules.pair import CombinedData
from tests.conftest import digest
from tests.conftest import trainer_for as quiet_trainer
from tests.tl_modules.plain import DIGITS, LETTERS, loader, rows, trainer_for
from tl_modules import DatasetMerging, DomainAdaptation, MultiTask, Task, TaskFineTuning, TransferModule, fit


def of_pairs(targets: torch.Tensor, count: int = 8, **options: Any) -> Any:
    images = torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(images, targets), **{"batch_size": 4, **options})


ROAD = {"name": "road", "kind": "segmentation", "labels": ["background", "road"], "domain": "mail"}


def test_pairs_of_each_role_are_named_by_its_own_task() -> None:
    masks = torch.randint(0, 2, (8, 32, 32), generator=torch.Generator().manual_seed(1))
    masks[0, 0] = 255
    module = MultiTask(DIGITS, source=ROAD)
    given = {"source": of_pairs(masks.to(torch.uint8)), "target": of_pairs(torch.arange(8) % 2)}
    trainer = trainer_for(2)
    trainer.fit(module, given, given)
    assert {"val/source/miou", "val/target/accuracy"} <= set(trainer.callback_metrics)


@pytest.mark.parametrize(
    ("stage", "roles", "said"),
    [
        ("joint", ("target",), 'source has no loader; MultiTask needs {"source": ..., "target": ...} in stage joint'),
        ("source", ("target",), 'target is not in stage source; TaskFineTuning needs {"source": ...} in stage source'),
        ("target", ("source",), "source is not in stage target"),
        ("target", ("source", "target"), "source is not in stage target"),
        ("target", ("train",), "train is not in stage target"),
    ],
)
def test_each_role_of_a_stage_and_no_other_has_a_loader(stage: str, roles: tuple[str, ...], said: str) -> None:
    module = (MultiTask if stage == "joint" else TaskFineTuning)(
        DIGITS, source={**LETTERS, "labels": ["even", "odd"], "name": "digits"}
    )
    before = digest(module.enter(stage) and module)
    with pytest.raises(ValueError, match=re.escape(said)):
        trainer_for(2).fit(module, {role: loader() for role in roles})
    assert digest(module) == before


def test_empty_loaders_and_validation_loaders_of_no_role_are_named() -> None:
    module = MultiTask(DIGITS, source=LETTERS)
    with pytest.raises(ValueError, match="train_dataloaders: the loader of source has no batch"):
        trainer_for(2).fit(module, {"source": of_pairs(torch.zeros(2).long(), 2, drop_last=True), "target": loader()})
    both = {"source": loader(), "target": loader()}
    with pytest.raises(ValueError, match="val_dataloaders: 'easy' is no role of MultiTask; allowed: source, target"):
        trainer_for(2).fit(module, both, {"easy": loader(), "hard": loader()})
    trainer = trainer_for(2)
    trainer.fit(module, both, {"target": [loader(), loader()], "source": {"easy": loader()}})
    assert {"val/source/loss", "val/target/loss"} <= set(trainer.callback_metrics)


def test_a_datasets_classes_in_another_order_are_refused() -> None:
    given: Any = DataLoader(Subset(Named(), range(4)), batch_size=2)
    with pytest.raises(ValueError, match=r"target: the module's labels even, odd and the data's odd, even differ"):
        trainer_for(1).fit(TransferModule(DIGITS), given)
    with pytest.raises(ValueError, match="differ in their order"):
        trainer_for(1).test(TransferModule(DIGITS), DataLoader(Named(), batch_size=2), verbose=False)
    other = LightningDataModule()
    other.task = {**DIGITS, "labels": ["odd", "even"]}
    other.train_dataloader = loader
    with pytest.raises(ValueError, match="differ in another order"):
        trainer_for(1).fit(TransferModule(DIGITS), datamodule=other)


class Named(Dataset[Any]):
    classes = ("odd", "even")

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        return torch.zeros(3, 32, 32), index % 2


@pytest.mark.parametrize(
    ("task", "targets", "said"),
    [
        (DIGITS, torch.full((8,), -100), "label=-100 in sample 0: must be 0 to 1"),
        (DIGITS, torch.full((8,), 2), "label=2 in sample 0: must be 0 to 1"),
        (DIGITS, torch.zeros(8), "label must be a label's index per sample, integers (B,), not float32 (4,)"),
        (DIGITS, torch.zeros(8, 1).long(), "label must be a label's index per sample, integers (B,), not int64 (4, 1)"),
        ({**DIGITS, "kind": "multilabel"}, torch.full((8, 2), -1), "labels=-1 in sample 0: must be 0 or 1"),
        ({**DIGITS, "kind": "multilabel"}, torch.zeros(8, 3), "labels must be (B, 2), a zero or one per name"),
        ({"name": "age", "kind": "regression"}, torch.zeros(8, 2), "value must be one number per sample"),
        (ROAD, torch.full((8, 32, 32), 7), "mask=7 in sample 0: must be 0 to 1"),
        (ROAD, torch.full((8, 32, 32), -1), "mask=-1 in sample 0: must be 0 to 1"),
        (
            ROAD,
            torch.full((8, 32, 32), 1 / 255),
            "mask=0.003922 in sample 0: labels are whole numbers; ToTensor divides",
        ),
        (ROAD, torch.zeros(8, 1, 32, 32), "mask must be a label per pixel, (B, H, W), not (4, 1, 32, 32)"),
    ],
)
@pytest.mark.parametrize("way", ["fit", "validate", "test"])
def test_targets_that_mean_nothing_are_refused(way: str, task: Any, targets: torch.Tensor, said: str) -> None:
    module = TransferModule(task)
    module.enter("target")
    split = {"fit": "train", "validate": "val"}.get(way, way)
    with pytest.raises(ValueError, match=re.escape(f"{split}, target: {said}")):
        getattr(trainer_for(1), way)(module, of_pairs(targets))


def test_boxes_that_mean_nothing_are_refused() -> None:
    task = {"name": "boxes", "kind": "detection", "labels": ["cat", "dog"]}
    image = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    good = {"boxes": [torch.tensor([[2.0, 2.0, 20.0, 20.0]])], "box_labels": [torch.tensor([1])], "image": image}
    trainer_for(1).fit(TransferModule(task), DataLoader([good], batch_size=None))
    for wrong, said in (
        ({"box_labels": [torch.tensor([-1])]}, "box_labels in sample 0: -1 to -1 must be 0 to 1"),
        ({"boxes": [torch.full((1, 4), torch.nan)]}, "boxes in sample 0: must be (N, 4) finite numbers"),
        ({"box_labels": [torch.tensor([1, 1])]}, "box_labels in sample 0: has 2 labels of 1 boxes"),
        ({"boxes": [torch.tensor([[0.1, 0.1, 0.5, 0.6]])]}, "boxes: must be in pixels, but no box reaches beyond 0.6"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            trainer_for(1).fit(TransferModule(task), DataLoader([{**good, **wrong}], batch_size=None))
    with pytest.raises(ValueError, match="box_labels is missing: the batch has boxes"):
        bare = {key: value for key, value in good.items() if key != "box_labels"}
        trainer_for(1).fit(TransferModule(task), DataLoader([bare], batch_size=None))


@pytest.mark.parametrize("way", ["validate", "test", "predict"])
def test_pictures_that_are_no_numbers_are_not_judged(way: str) -> None:
    given = rows()
    given[5]["image"] = given[5]["image"] * torch.nan
    with pytest.raises(ValueError, match="image of sample 5: has values that are NaN"):
        getattr(trainer_for(1), way)(TransferModule(DIGITS), DataLoader(given, batch_size=4))  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.uint16, torch.int32, torch.bool])
def test_pictures_of_other_integers_are_refused(dtype: torch.dtype) -> None:
    said = f"images must be uint8, or floats in 0..1; these are {str(dtype).removeprefix('torch.')}"
    with pytest.raises(ValueError, match=re.escape(said)):
        TransferModule(DIGITS)(torch.zeros(1, 3, 32, 32).to(dtype))


def test_arguments_of_no_role_or_below_zero_are_refused() -> None:
    with pytest.raises(ValueError, match=r"augment\.source: is no role of this module; allowed: target"):
        TransferModule(DIGITS, augment={"source": {"flip": True}})
    with pytest.raises(ValueError, match="skip_nonfinite=-1 must be at least 0"):
        TransferModule(DIGITS, skip_nonfinite=-1)


def test_a_schedule_ends_with_whichever_of_steps_and_epochs_is_first() -> None:
    module = TransferModule(DIGITS)
    seen: list[float] = []
    trainer = quiet_trainer(1000, max_epochs=2, callbacks=[Watching(seen)])
    trainer.fit(module, loader())
    assert trainer.global_step == len(seen) == 4
    assert max(seen) == pytest.approx(3e-3, rel=0.3) and seen[-1] < 0.3 * max(seen)


def test_an_objective_sees_its_progress_under_an_optimiser_of_ones_own() -> None:
    class Plain(MultiTask):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module, seen = Plain(DIGITS, source=LETTERS), []

    class Progress(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            seen.append(module.objective.progress)

    trainer = quiet_trainer(4, callbacks=[Progress()])
    trainer.fit(module, {"source": loader(), "target": loader()})
    assert seen == [0, 0.25, 0.5, 0.75]


class Watching(Callback):
    """Note the learning rate of each step."""

    def __init__(self, seen: list[float]) -> None:
        self.seen = seen

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.seen.append(optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize("absent", ["unknown", "negative"])
def test_loaders_by_role_are_merged_like_one_batch_of_both(absent: str) -> None:
    """A name that the other dataset does not have is ruled out or not as `absent` says, whichever way batches come."""
    tasks = {
        "source": {**DIGITS, "labels": ["odd", "seven"], "absent": absent},
        "target": {**DIGITS, "absent": absent},
    }
    image = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    own = {"source": torch.tensor([0, 1, 1]), "target": torch.tensor([0, 1, 0, 1, 1])}
    union = ["odd", "seven", "even"]
    assert union_labels({role: Task.of(task) for role, task in tasks.items()}) == union
    both = {
        "image": image,
        "label": torch.tensor([0, 1, 1, 2, 0, 2, 0, 0]),
        "role": torch.tensor([0, 0, 0, 1, 1, 1, 1, 1]),
    }
    apart = {
        "source": {"image": image[:3], "label": own["source"]},
        "target": {"image": image[3:], "label": own["target"]},
    }
    weights = []
    for batch in (both, apart):
        module = DatasetMerging(tasks["target"], source=tasks["source"], clip=None)
        parts = {"": batch} if "role" in batch else batch
        loaders: Any = {role: DataLoader([part], batch_size=None) for role, part in parts.items()}  # type: ignore[arg-type]
        given = loaders.get("", loaders)
        trainer = quiet_trainer(1, max_epochs=1)
        trainer.fit(module, given)
        weights.append(torch.cat([p.detach().flatten() for p in module.head("target").parameters()]))
    assert torch.allclose(*weights, atol=1e-6)


def test_training_leaves_the_random_state_to_its_user() -> None:
    """What a loader shuffles by is decided by the seed that its user set, in later epochs too."""
    orders = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        seen: list[str] = []

        class Order(Callback):
            def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
                seen.extend(batch["id"])  # noqa: B023

        given: Any = DataLoader(rows(), batch_size=4, shuffle=True)  # type: ignore[arg-type]
        quiet_trainer(6, callbacks=[Order()]).fit(TransferModule(DIGITS), given)
        orders.append(seen)
    assert orders[0] == orders[2]
    for epoch in range(3):
        assert orders[0][8 * epoch : 8 * epoch + 8] != orders[1][8 * epoch : 8 * epoch + 8]


def test_a_loader_that_ran_out_is_left_out_of_a_step() -> None:
    module = MultiTask(DIGITS, source=LETTERS)
    given = CombinedLoader({"source": loader(count=4), "target": loader(count=12)}, "max_size")
    trainer = quiet_trainer(3)
    trainer.fit(module, given)
    assert trainer.global_step == 3


def test_rows_without_ids_are_scored() -> None:
    batch = {"image": torch.rand(4, 3, 32, 32), "label": torch.tensor([0, 1]), "label_rows": torch.tensor([1, 3])}
    given: Any = DataLoader([batch], batch_size=None)  # type: ignore[arg-type]
    found = trainer_for(1).test(TransferModule(DIGITS), given, verbose=False)
    assert 0 <= found[0]["test/target/accuracy"] <= 1


def test_a_role_that_is_only_validated_may_be_given() -> None:
    same = {**DIGITS, "domain": "other"}
    module = DomainAdaptation(DIGITS, source=same, objective="source_only")
    data = {"source": {"train": loader(), "val": loader()}, "target": {"val": loader()}}
    options = {"logger": False, "accelerator": "cpu", "enable_checkpointing": False, "enable_progress_bar": False}
    records = fit(module, data, options, steps=4)
    assert [record.stage.name for record in records] == ["source", "adapt"]


def test_an_overflow_of_float16_is_the_scalers_matter() -> None:
    """Its first scale is too high by design: such steps are left out, and the run goes on with a lower one."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    trainer = quiet_trainer(24, plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    module = TransferModule(DIGITS)
    before = digest(module)
    trainer.fit(module, loader())
    assert scaler.get_scale() < 2.0**40
    assert digest(module) != before
    assert all(bool(torch.isfinite(p).all()) for p in module.parameters())


class Relabelled(Dataset[Any]):
    """The pictures of another dataset, whose labels it gives the task's indices."""

    def __init__(self) -> None:
        self.dataset = Named()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        image, label = self.dataset[index]
        return image, 1 - label


def test_a_dataset_that_maps_the_labels_of_another_is_taken() -> None:
    trainer = trainer_for(1)
    trainer.fit(TransferModule(DIGITS), DataLoader(Relabelled(), batch_size=2))
    assert trainer.global_step == 1


class Changing(LightningDataModule):
    task = Task.of(DIGITS)

    def train_dataloader(self) -> Any:
        return loader()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return {**batch, "image": batch["image"] / 2}


def test_a_datamodule_by_role_whose_hook_would_not_be_called_is_refused() -> None:
    said = "source: Changing.on_after_batch_transfer is not called where DataModules are given by role"
    module = MultiTask(DIGITS, source={**LETTERS, "labels": ["even", "odd"], "name": "digits"})
    with pytest.raises(ValueError, match=said):
        fit(module, {"source": Changing(), "target": loader()}, {"max_steps": 1})
    with pytest.raises(ValueError, match=said):
        CombinedData(Changing(), Changing())
    quiet_trainer(1).fit(TransferModule(DIGITS), datamodule=Changing())  # alone it is Lightning's to call
