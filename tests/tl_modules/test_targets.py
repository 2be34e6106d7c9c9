"""Regression learns in units of its training targets, and answers in theirs."""

from __future__ import annotations

import warnings

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch.utils.data import DataLoader, Dataset, IterableDataset

from tests.conftest import SEQUENTIAL, digest, fit, module_for, pair_for, trainer_for
from tl_modules import Task, TransferModule, WeightSharing
from tl_modules.stages import Stage
from tl_modules.targets import target_values

TASK = Task("t", "regression")


class Pairs(Dataset):
    """Pictures whose brightness is the value; a random number is drawn for each."""

    def __init__(self, factor=1.0, count=24):
        noise = torch.Generator().manual_seed(0)
        self.values = torch.rand(count, generator=noise)
        self.images = torch.rand(count, 3, 16, 16, generator=noise) * self.values[:, None, None, None]
        self.factor = factor

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        torch.rand(1)
        return self.images[index], self.values[index] * self.factor


class Stream(IterableDataset):
    def __iter__(self):
        return iter(Pairs())


class CountedStream(Stream):
    def __len__(self):
        return len(Pairs())


class OwnData(LightningDataModule):
    """One's own, which means another thing by `split`."""

    split: object = "train"

    def train_dataloader(self):
        return loader(Pairs(5.0))


class OwnMethod(OwnData):
    def split(self, fraction):
        return fraction


def loader(dataset, size=8):
    return DataLoader(dataset, batch_size=size)


def trained(factor, steps=6, precision="32-true"):
    module = TransferModule(TASK, seed=1)
    losses = []
    real = module.training_step

    def step(batch, batch_idx):
        losses.append(real(batch, batch_idx))
        return losses[-1]

    module.training_step = step
    trainer_for(steps, precision=precision).fit(module, loader(Pairs(factor)))
    weights = torch.cat([p.detach().flatten() for p in module.parameters()])
    module.eval()
    with torch.no_grad():
        predicted = module.head("target").predict(module(Pairs().images))
    return weights, torch.stack(losses).detach(), predicted, module


@pytest.mark.parametrize("factor", [1000.0, 1024.0, 1e-3])
def test_the_unit_of_the_targets_does_not_matter(factor):
    """To the bit for a power of two, to rounding else."""
    weights, losses, predicted, _module = trained(1.0)
    others = trained(factor)
    if factor == 1024:
        assert torch.equal(weights, others[0]) and torch.equal(losses, others[1])
    assert torch.allclose(losses, others[1], rtol=1e-3)
    assert torch.allclose(predicted * factor, others[2], rtol=1e-2, atol=1e-2 * factor)
    head, values = others[3].head("target"), Pairs().values.double() * factor
    assert float(head.mean) == pytest.approx(float(values.mean()))
    assert float(head.std) == pytest.approx(float(values.std(correction=0)))


def test_the_statistics_are_of_the_training_set_and_metrics_in_its_units():
    module = TransferModule(TASK, seed=1)
    trainer = trainer_for(60, limit_val_batches=1.0, max_epochs=20)
    trainer.fit(module, loader(Pairs(1000.0)), loader(Pairs(1000.0)))
    assert float(module.head("target").mean) == pytest.approx(1000 * float(Pairs().values.mean()))
    mean_predictor = (Pairs().values - Pairs().values.mean()).abs().mean() * 1000
    assert float(trainer.callback_metrics["val/target/mae"]) < 0.6 * mean_predictor
    assert float(trainer.callback_metrics["val/target/loss"]) < 1


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["scratch", "parallel_training", "weight_sharing", "dataset_merging", *SEQUENTIAL])
def test_every_cell_takes_them_from_the_roles_that_learn(cell):
    data = pair_for(cell, "count")
    module = module_for(cell, data)
    data.setup()
    fit(module, data, steps=2)
    for name, head in module.parts.head.items():
        roles = [role for role, wires in module.parts.wires.items() if wires[2] == name]
        first = next(s for s in module.plan if set(s.learn) & set(roles))
        if head.kind == "regression":
            learn = [role for role in roles if role in first.learn]
            values = torch.cat([target_values(data.split(role, "train"), module.tasks[role]) for role in learn])
            assert float(head.mean) == pytest.approx(float(values.mean()))
            assert int(head.count) == len(values)


def test_a_kept_head_keeps_its_units_in_a_second_stage_and_in_another_run(tmp_path):
    module = trained(5.0)[3]
    before = module.head("target").state_dict()
    trainer = trainer_for(2)
    trainer.fit(module, loader(Pairs(1000.0)))
    for name in ("mean", "std", "count"):
        assert torch.equal(module.head("target").get_buffer(name), before[name])
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    other = TransferModule(TASK, seed=2)
    report = other.plant(torch.load(tmp_path / "x.ckpt", weights_only=True))
    assert {"head.mean", "head.std", "head.count"} <= set(report.loaded)
    again = TransferModule.load_from_checkpoint(tmp_path / "x.ckpt", weights_only=True)
    assert digest(again) == digest(module)
    images = Pairs().images
    module.eval()
    with torch.no_grad():
        wanted = module.head("target").predict(module(images))
        assert torch.equal(module.export()(images), wanted)
        assert torch.allclose(other.eval().export()(images), wanted)


def test_roles_that_are_only_seen_have_no_say():
    labels = {"source": TASK.to_dict(), "target": {**TASK.to_dict(), "domain": "e"}}
    module = WeightSharing(**labels)
    module.stage = Stage("adapt", learn=("source",), see=("target",))
    module.entered = True
    loaders = {"source": loader(Pairs(1.0)), "target": loader(Pairs(50.0))}
    Trainer(**quiet(), max_steps=1).fit(module, loaders)
    assert float(module.head("source").mean) == pytest.approx(float(Pairs().values.mean()))


def quiet():
    return {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
    }


@pytest.mark.parametrize("data", [OwnData, OwnMethod])
def test_a_data_module_of_ones_own_may_mean_anything_by_split(data):
    module = TransferModule(TASK)
    trainer_for(1).fit(module, datamodule=data())
    assert float(module.head("target").mean) == pytest.approx(5 * float(Pairs().values.mean()))


@pytest.mark.parametrize("stream", [Stream, CountedStream])
def test_reading_them_draws_nothing_and_a_stream_is_told(stream):
    state = torch.get_rng_state()
    assert torch.equal(target_values(Pairs(), TASK).float(), Pairs().values)
    assert torch.equal(torch.get_rng_state(), state)
    assert target_values(stream(), TASK) is None
    module = TransferModule(TASK)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer_for(1).fit(module, loader(stream()))
    assert any("call module.head('target').fit_targets(values) before fit" in str(one.message) for one in caught)
    assert module.head("target").wants_targets()


def test_constant_and_missing_values():
    head = TransferModule(TASK).head("target")
    head.fit_targets(torch.tensor([float("nan")]))
    assert head.wants_targets()
    head.fit_targets(torch.tensor([3.0, float("nan"), 3.0]))
    assert (float(head.mean), float(head.std), int(head.count)) == (3.0, 1.0, 2)
    old = {key: value for key, value in head.state_dict().items() if key.startswith("linear")}
    other = TransferModule(TASK).head("target")
    other.load_state_dict(old)
    assert (float(other.mean), float(other.std)) == (0.0, 1.0) and not other.wants_targets()


def test_an_older_head_that_is_planted_keeps_the_units_it_learned_in(tmp_path):
    module = TransferModule(TASK, seed=1)
    trainer = trainer_for(2)
    trainer.fit(module, loader(Pairs(5.0)))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    old = torch.load(tmp_path / "x.ckpt", weights_only=True)
    for name in ("mean", "std", "count"):
        del old["state_dict"][f"parts.head.target.{name}"]
    other = TransferModule(TASK, seed=2)
    report = other.plant(old)
    head = other.head("target")
    assert not report.reinitialised and not report.unused
    assert (float(head.mean), float(head.std), int(head.count)) == (0.0, 1.0, 1) and not head.wants_targets()
    assert torch.equal(head.linear.weight, module.head("target").linear.weight)
    names = TransferModule(Task("t", "classification", labels=("a", "b")))
    assert not any("mean" in name for name in names.plant(old).unused if name.startswith("head."))


class Triples(Pairs):
    def __getitem__(self, index):
        image, value = super().__getitem__(index)
        return image, value, f"sample {index}"


def joined(samples):
    images, values, _ = zip(*samples, strict=True)
    return {"image": torch.stack(images), "value": torch.stack([torch.as_tensor(value) for value in values])}


@pytest.mark.parametrize("key", [None, "target"])
def test_samples_that_a_collate_function_makes_something_of_are_read_through_it(key):
    module = TransferModule(TASK)
    batches = DataLoader(Triples(1000.0), batch_size=4, collate_fn=joined)
    trainer_for(1).fit(module, batches if key is None else {key: batches})
    assert float(module.head("target").mean) == pytest.approx(1000 * float(Pairs().values.mean()), rel=1e-4)
    assert target_values(Triples(), TASK) is None


def test_targets_that_float32_cannot_tell_apart_are_refused():
    head = TransferModule(TASK).head("target")
    with pytest.raises(
        ValueError, match=r"value: its training targets have a standard deviation of 9\.23 around 1\.7e\+09"
    ):
        head.fit_targets(1.7e9 + torch.arange(32).double())
    head.fit_targets(torch.full((4,), 1.7e9).double())
    assert float(head.std) == 1.0
