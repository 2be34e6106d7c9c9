"""What holds whatever the input: sampler, splits, label remapping, boxes under augmentation."""

from __future__ import annotations

import pytest
import torch

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as some  # noqa: E402

from datamodules.base import InMemory  # noqa: E402
from datamodules.merge import MergedDataset, union_labels  # noqa: E402
from datamodules.pair import fetch  # noqa: E402
from datamodules.sampler import StepSampler  # noqa: E402
from datamodules.splits import divided, stratified  # noqa: E402
from tl_modules.augment import Augment  # noqa: E402
from tl_modules.stages import Stage, split_steps  # noqa: E402
from tl_modules.task import Task  # noqa: E402

few = settings(max_examples=40, deadline=None)
names = some.lists(some.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True)


@few
@given(
    sizes=some.tuples(some.integers(1, 30), some.integers(1, 30)),
    batch=some.integers(1, 8),
    mode=some.sampled_from(["cycle", "proportional", "temperature"]),
    seed=some.integers(0, 5),
    world=some.integers(1, 3),
)
def test_the_ranks_of_a_step_share_its_samples_and_each_pass_takes_each_sample_once(sizes, batch, mode, seed, world):
    lengths = dict(zip(("source", "target"), sizes, strict=True))

    def steps(rank):
        options = {"temperature": 2.0, "rank": rank, "world_size": world, "progress": lambda: (0, 0)}
        return list(StepSampler(lengths, batch, mode, 12, seed, **options))

    if min(sizes) < world:
        with pytest.raises(ValueError, match="fewer samples than there are processes"):
            steps(0)
        return
    ranks = [steps(rank) for rank in range(world)]
    assert all(len(one) == 12 for one in ranks)
    passes: dict[tuple[str, int], list[int]] = {}
    counts = {role: set() for role in lengths}
    for together in zip(*ranks, strict=True):
        roles = [{key for key, _, _ in step} for step in together]
        assert roles[0] and all(one == roles[0] for one in roles)
        for key in roles[0]:
            drawn = [(j, index) for step in together for k, index, j in step if k == key]
            (j,) = {j for j, _ in drawn}
            counts[key].add(j)
            assert len(drawn) == min(batch * world, lengths[key])
            per_pass = max(1, lengths[key] // (batch * world))
            passes.setdefault((key, j // per_pass), []).extend(index for _, index in drawn)
    assert all(found == set(range(len(found))) for found in counts.values())  # a role's own count, without gaps
    assert all(len(set(indices)) == len(indices) for indices in passes.values())


@few
@given(
    labels=some.lists(some.integers(0, 4), min_size=2, max_size=60), share=some.floats(0, 1), seed=some.integers(0, 9)
)
def test_a_stratified_choice_is_a_partition_in_proportion(labels, share, seed):
    count = round(share * len(labels))
    chosen, rest = stratified(labels, count, seed)
    assert sorted([*chosen, *rest]) == list(range(len(labels))) and len(chosen) == count
    for label in set(labels):
        exact = count * labels.count(label) / len(labels)
        assert abs(sum(labels[i] == label for i in chosen) - exact) < 1


@few
@given(labelled=some.integers(2, 500), classes=some.integers(0, 60))
def test_a_budget_of_labels_is_divided_whole(labelled, classes):
    train, val = divided(labelled, classes)
    assert train + val == labelled and train >= 1 and val >= 1


@few
@given(shares=some.lists(some.floats(0.01, 1), min_size=1, max_size=5), steps=some.integers(5, 999))
def test_the_steps_of_the_stages_are_the_runs(shares, steps):
    total = sum(shares)
    plan = [Stage(str(i), ("target",), share=share / total) for i, share in enumerate(shares)]
    counts = split_steps(steps, plan)
    assert sum(counts) == steps and min(counts) >= 1


@few
@given(source=names, target=names, data=some.data())
@pytest.mark.parametrize("kind", ["classification", "multilabel", "segmentation", "detection"])
def test_a_merged_target_means_the_same_name(kind, source, target, data):
    tasks = {"source": Task("t", kind, tuple(source)), "target": Task("t", kind, tuple(target))}
    union = union_labels(tasks)
    sets, meant = {}, []
    for role, task in tasks.items():
        count, k = 3, len(task.labels)
        drawn = [[data.draw(some.integers(0, k - 1)) for _ in range(2)] for _ in range(count)]
        values = torch.tensor(drawn)
        fields = {"id": [f"{role}{i}" for i in range(count)], "image": torch.zeros(count, 3, 2, 2)}
        if kind == "classification":
            fields["label"] = values[:, 0]
            meant += [[task.labels[row[0]]] for row in drawn]
        elif kind == "multilabel":
            fields["labels"] = torch.nn.functional.one_hot(values[:, 0], k)
            meant += [[task.labels[row[0]]] for row in drawn]
        elif kind == "segmentation":
            fields["mask"] = values[:, :, None].expand(-1, -1, 2).contiguous()
            meant += [[task.labels[i] for i in row] for row in drawn]
        else:
            fields |= {"boxes": [1 + torch.rand(2, 4)] * count, "box_labels": list(values)}
            meant += [[task.labels[i] for i in row] for row in drawn]
        sets[role] = InMemory(fields)
    batch = MergedDataset(sets, tasks, union, fetch).batch(range(6))
    found = {
        "classification": lambda: [[union[i]] for i in batch["label"].tolist()],
        "multilabel": lambda: [[union[i] for i in row.nonzero().flatten().tolist()] for row in batch["labels"]],
        "segmentation": lambda: [[union[i] for i in mask[:, 0].tolist()] for mask in batch["mask"]],
        "detection": lambda: [[union[i] for i in one.tolist()] for one in batch["box_labels"]],
    }[kind]()
    assert found == meant
    assert batch["role"].tolist() == [0, 0, 0, 1, 1, 1]


@few
@given(
    left=some.integers(0, 20),
    top=some.integers(0, 20),
    width=some.integers(4, 12),
    height=some.integers(4, 12),
    seed=some.integers(0, 99),
    flip=some.booleans(),
    shift=some.floats(0, 0.3),
    scale=some.floats(0, 0.3),
)
def test_boxes_move_with_their_pixels(left, top, width, height, seed, flip, shift, scale):
    mask = torch.zeros(1, 32, 32, dtype=torch.long)
    mask[0, top : top + height, left : left + width] = 1
    box = torch.tensor([[left, top, left + width, top + height]]).float().clamp(0, 32)
    batch = {"image": torch.zeros(1, 3, 32, 32), "mask": mask, "boxes": [box], "box_labels": [torch.zeros(1).long()]}
    augment = Augment(flip=flip, shift=shift, scale=scale)
    out = augment(batch, torch.Generator().manual_seed(seed))
    boxes, found = out["boxes"][0], (out["mask"][0] == 1).nonzero()
    if len(boxes) == 0 or len(found) == 0:
        return  # too little of it is left to be a box
    low, high = found.min(0).values.flip(0), found.max(0).values.flip(0) + 1
    moved = torch.cat([low, high]).float()
    assert (boxes[0] - moved).abs().max() <= 1.01  # a pixel's middle decides which label it gets
    assert bool(((boxes >= 0) & (boxes <= 32)).all())
