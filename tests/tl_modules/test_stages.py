"""Whose the steps are, whose the samples of a batch, and what each role's loss weighs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from datamodules.pair import MergedData
from datamodules.sampler import ShareSampler, StepSampler
from tests.conftest import CELLS, SEQUENTIAL, digest, fit, module_for, pair_for, trainer_for
from tl_modules import staged
from tl_modules.module import TransferModule

SIZES = {"source": 50, "target": 7}


def sampler(share: float = 0.3, **options: Any) -> ShareSampler:
    given = {"batch_size": 8, "epoch_steps": 40, "seed": 3, **options}
    return ShareSampler({"source+target": 57}, parts=SIZES, share=share, **given)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.9])
def test_a_merged_batch_has_the_share_that_was_asked_for(share: float) -> None:
    found = list(sampler(share))
    assert all(len(batch) == 8 for batch in found)
    counts = [sum(index < 50 for _, index, _ in batch) for batch in found]
    assert all(abs(count - 8 * share) < 1 for count in counts)
    assert abs(sum(counts) - 40 * 8 * share) < 1
    for first, size in ((0, 50), (50, 7)):  # each part is read pass by pass: after n samples nobody is ahead by two
        mine = [index for batch in found for _, index, _ in batch if first <= index < first + size]
        read = [mine.count(i) for i in range(first, first + size)]
        assert max(read) - min(read) <= 1
    addresses = [address for batch in found for address in batch]
    assert len(set(addresses)) == len(addresses)  # so every reading has random transforms of its own


def test_it_is_a_function_of_its_address_and_of_nothing_before() -> None:
    whole = list(sampler())
    assert whole == list(sampler())
    assert list(sampler(progress=lambda: (0, 13))) == whole[13:]
    shards = [list(sampler(batch_size=4, rank=rank, world_size=2)) for rank in (0, 1)]
    for batch, first, second in zip(whole, *shards, strict=True):
        assert sorted(batch) == sorted(first + second) and len(first) == len(second)
    with pytest.raises(ValueError, match="the training set of source is empty"):
        ShareSampler({"source+target": 7}, 8, parts={"source": 0, "target": 7}, share=0.5)


def test_merging_trains_with_the_share_and_by_size_without_one() -> None:
    plain = pair_for("dataset_merging")
    plain.setup()
    assert type(plain.train_dataloader().batch_sampler) is StepSampler
    data = MergedData(plain.data["target"], plain.data["source"], source_share=0.25, batch_size=8)
    fit(module_for("dataset_merging", data), data, 2)
    batches = [batch["source+target"]["role"].tolist() for batch in data.train_dataloader()]
    assert batches and all(batch.count(0) == 2 and len(batch) == 8 for batch in batches)
    with pytest.raises(ValueError, match="source_share=1 must be between 0 and 1, or None"):
        MergedData(plain.data["target"], plain.data["source"], source_share=1)


@pytest.mark.parametrize("cell", [*CELLS, "scratch"])
def test_the_sources_share_of_the_steps_is_an_option_of_sequential_cells(cell: str) -> None:
    data = pair_for(cell)
    if cell in SEQUENTIAL:
        module = module_for(cell, data, source_share=0.25)
        assert [(stage.name, stage.share) for stage in module.plan] == [("source", 0.25), ("target", 0.75)]
        assert module.hparams["source_share"] == 0.25
        assert [stage.share for stage in module_for(cell, data).plan] == pytest.approx([0.7, 0.3])
    else:
        with pytest.raises(ValueError, match=r"source_share=0.25: has no effect in \w+, which has no such stage"):
            module_for(cell, data, source_share=0.25)
    with pytest.raises(ValueError, match=r"source_share=1\.5 must be between 0 and 1"):
        module_for(cell, data, source_share=1.5)


@pytest.mark.parametrize("cell", [*CELLS, "scratch"])
def test_the_source_is_replayed_in_the_targets_stage_of_sequential_cells(cell: str) -> None:
    data = pair_for(cell)
    if cell not in SEQUENTIAL:
        with pytest.raises(ValueError, match=r"replay=0.25: has no effect in \w+, which has no stage of the target"):
            module_for(cell, data, replay=0.25)
        return
    module = module_for(cell, data, replay=0.25, finetuning="full")
    first, last = module.plan
    assert (first.learn, last.learn, last.replay, last.share) == (("source",), ("source", "target"), 0.25, 1 - 0.7)
    for wrong in (1.0, -0.1):
        with pytest.raises(ValueError, match=f"replay={wrong} must be at least 0 and below 1"):
            module_for(cell, data, replay=wrong)
    with pytest.raises(ValueError, match="replay needs a paired DataModule"):
        staged.fit(module, {"source": [], "target": []}, steps=4)


def test_replay_needs_something_that_both_roles_learn() -> None:
    with pytest.raises(ValueError, match="has no effect in TaskAdaptation where all that both roles go through is fro"):
        module_for("task_adaptation", pair_for("task_adaptation"), replay=0.5, finetuning="linear_probe")


def test_a_replayed_stage_takes_over_what_the_source_learned_and_moves_both_heads() -> None:
    data = pair_for("modality_transfer")
    module = module_for("modality_transfer", data, replay=0.5, schedule="constant")
    source, target = module.plan
    module.enter(source.name)
    with torch.no_grad():
        for parameter in module.parts.stem["source"].parameters():
            parameter.add_(1)
    assert module.enter(target.name).loaded
    own, others = (list(module.parts.stem[role].parameters()) for role in ("target", "source"))
    assert all(torch.equal(one, other) for one, other in zip(own, others, strict=True))
    before = {role: digest(module.parts.head[role]) for role in ("source", "target")}
    data.enter(target)
    trainer_for(6).fit(module, datamodule=data)
    assert all(digest(module.parts.head[role]) != before[role] for role in before)


def test_the_loss_is_the_weighted_sum_and_what_is_logged_is_not_weighted() -> None:
    def losses(**weights: float) -> tuple[float, dict[str, float]]:
        data, seen = pair_for("multitask"), []
        module = module_for("multitask", data, weights=weights or None)
        step = TransferModule.training_step
        module.training_step = lambda batch, batch_idx: seen.append(step(module, batch, batch_idx)) or seen[-1]
        trainer = trainer_for(1, max_epochs=1)
        trainer.fit(module, datamodule=data)
        return float(seen[0].detach()), {
            role: float(trainer.callback_metrics[f"train/{role}/loss"]) for role in data.tasks
        }

    total, each = losses()
    assert total == pytest.approx(each["source"] + each["target"])
    weighted, same = losses(source=0.25, target=2.0)
    assert same == each
    assert weighted == pytest.approx(0.25 * each["source"] + 2 * each["target"])


def test_the_null_control_holds_whatever_the_source_weighs() -> None:
    alone = module_for("scratch", pair_for("scratch"))
    fit(alone, pair_for("scratch"), 3)
    for weights in ({"source": 1.0, "target": 1.0}, {"source": 0.1}):
        both = module_for("parallel_training", pair_for("parallel_training"), weights=weights)
        fit(both, pair_for("parallel_training"), 3)
        for kind in ("stem", "trunk", "head"):
            assert digest(both.parts.of("target", kind)) == digest(alone.parts.of("target", kind))
    assert all(torch.isfinite(p).all() for p in both.parameters())


@pytest.mark.parametrize(
    ("cell", "weights", "says"),
    [
        ("multitask", {"source": 0.0}, "source's must be a number above 0"),
        ("multitask", {"sorce": 2.0}, "'sorce' is unknown; allowed: source, target"),
        ("domain_adaptation", {"source": 2.0}, "source's has no effect in DomainAdaptation, which learns one role"),
        ("scratch", {"target": 2.0}, "target's has no effect in TransferModule, which learns one role at a time"),
        (
            "dataset_merging",
            {"target": 2.0},
            "target's has no effect in DatasetMerging, which learns both roles by one",
        ),
    ],
)
def test_weights_without_an_effect_are_refused(cell: str, weights: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=f"^weights=.*{says}"):
        module_for(cell, pair_for(cell), weights=weights)
