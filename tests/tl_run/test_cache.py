"""Frozen features that are computed once a stage."""

from __future__ import annotations

import pytest
import torch

from datamodules.cached import WithFeatures
from datamodules.pair import SequentialData
from datamodules.readers.boxes import LazySamples
from datamodules.synthetic.scenes import Scenes
from tests.conftest import digest, trainer_for
from tl_modules import TaskAdaptation
from tl_modules.features import Features
from tl_run.callbacks.cache import CachedFeatures


def probe(pair, cached, steps=4, **options):
    """Train a linear probe; return the module and how often its trunk was passed in training."""
    module = TaskAdaptation(
        **{role: task.to_dict() for role, task in pair.tasks.items()}, finetuning="linear_probe", **options
    )
    for stage in module.plan:
        pair.enter(stage)
        module.enter(stage.name)
    passes = []
    module.parts.trunk["shared"].register_forward_hook(lambda *_: passes.append(1))
    callbacks = [cached] if cached else []
    trainer = trainer_for(steps, limit_val_batches=1.0, val_check_interval=1, callbacks=callbacks, max_epochs=9)
    trainer.fit(module, datamodule=pair)
    return module, len(passes)


def scenes(target="segment", **options):
    source = Scenes("plain", "classify", "source", image_size=32, train_size=8, val_size=4)
    own = Scenes("plain", target, "target", image_size=32, train_size=24, val_size=8, **options)
    pair = SequentialData(own, source, batch_size=8)
    pair.setup()
    return pair


@pytest.mark.slow
@pytest.mark.parametrize("target", ["segment", "count", "detect"])
def test_cached_features_train_the_same_head_with_fewer_passes(target):
    pair = scenes(target)
    plain, many = probe(pair, None)
    cached, few = probe(pair, CachedFeatures(4))
    assert few == 2 < many  # one for each split
    for one, other in zip(plain.parameters(), cached.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_nothing_is_kept_where_pictures_are_augmented_or_it_would_cost_more():
    pair = scenes()
    moved = {"target": {"flip": True}}
    assert set(dict(kept_of(pair, CachedFeatures(4), augment=moved))) == {("target", "val")}
    assert set(kept_of(pair, CachedFeatures(2))) == {("target", "val")}  # 16 samples of 24 are read
    assert set(kept_of(pair, CachedFeatures(4, most=1000))) == set()
    assert set(kept_of(pair, CachedFeatures(4))) == {("target", "train"), ("target", "val")}
    pair.split("target", "train").fixed = False
    assert set(kept_of(pair, CachedFeatures(4))) == {("target", "val")}
    pair.enter(pair.stage)
    assert pair.kept == {}


def kept_of(pair, callback, **options):
    probe(pair, callback, steps=callback.steps, **options)
    return dict(pair.kept)


def test_samples_that_are_read_one_by_one_are_kept_too():
    pair = scenes("detect")
    memory = pair.split("target", "train")
    pair.data["target"].train_dataset = LazySamples(memory.__getitem__, len(memory))
    plain, _ = probe(pair, None)
    cached, few = probe(pair, CachedFeatures(4))
    assert few == 2
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(plain.parameters(), cached.parameters(), strict=True))


def test_a_learning_backbone_is_passed_each_step():
    pair = scenes()
    module = TaskAdaptation(**{role: task.to_dict() for role, task in pair.tasks.items()})
    pair.enter(module.plan[-1])
    module.enter("target")
    before = digest(module.parts.trunk["shared"])
    trainer_for(2, callbacks=[CachedFeatures(2)]).fit(module, datamodule=pair)
    assert pair.kept == {} and digest(module.parts.trunk["shared"]) != before


def test_features_must_be_as_many_as_samples():
    pair = scenes()
    with pytest.raises(ValueError, match="24 samples, but features of 3"):
        WithFeatures(pair.split("target", "train"), pair.tasks["target"], Features(torch.zeros(3, 2)))
