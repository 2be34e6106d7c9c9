"""Images are uint8, or floats in 0..1: what was normalised before is refused, not normalised again."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from datamodules.collate import collate
from datamodules.pair import PairedData
from tests.conftest import module_for, pair_for, trainer_for
from tl_modules import TransferModule
from tl_modules.batch import by_roles, check_range
from tl_modules.task import Task

TASK = Task("classes", "classification", ("a", "b"))
SAID = r"images must be uint8, or floats in 0\.\.1; these are in \[-2\.1, 2\.6\]; remove the normalisation:"


def images(low, high):
    return torch.linspace(low, high, 4 * 3 * 32 * 32).view(4, 3, 32, 32)


def loader(values):
    return DataLoader(TensorDataset(values, torch.tensor([0, 1, 0, 1])), batch_size=4)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("way", ["fit", "validate", "test", "predict"])
def test_normalised_images_are_refused_wherever_they_enter(way, precision):
    module, given = TransferModule(TASK), loader(images(-2.1, 2.6))
    module.enter("target")
    trainer = trainer_for(1, precision=precision, limit_val_batches=1)
    with pytest.raises(ValueError, match=SAID):
        getattr(trainer, way)(module, given)


def test_forward_and_features_refuse_them_too():
    module = TransferModule(TASK)
    for call in (module, lambda x: module.features({"image": x})):
        with pytest.raises(ValueError, match=SAID):
            call(images(-2.1, 2.6))
        call(images(0, 1))
        call((images(0, 1) * 255).to(torch.uint8))


def test_the_range_is_that_of_each_role():
    tasks = {"source": Task.of(TASK), "target": Task.of(TASK)}
    good, bad = {"image": images(0, 1), "label": torch.zeros(4)}, {"image": images(0, 255), "label": torch.zeros(4)}
    by_roles({"source": good, "target": good}, "target", tasks)
    with pytest.raises(ValueError, match=r"these are in \[0, 255\]; divide them by 255"):
        by_roles({"source": good, "target": bad}, "target", tasks)
    check_range({"image": torch.full((1, 1, 2, 2), 1.0005)})
    check_range({"image": torch.full((1, 1, 2, 2), float("nan"))})  # divergence is answered elsewhere
    check_range({"text": ["no picture"]})


def test_pairs_of_floats_train():
    trainer_for(1).fit(TransferModule(TASK), loader(images(0, 1)))
    data = pair_for("scratch")
    assert isinstance(data, PairedData)
    data.setup()
    batch = collate([data.split("target", "train")[i] for i in range(4)])
    module_for("scratch", data)({"image": batch["image"]})
