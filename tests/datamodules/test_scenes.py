from __future__ import annotations

import pytest
import torch

from datamodules.base import InMemory
from datamodules.collate import as_sample, collate
from datamodules.synthetic import scenes
from datamodules.synthetic.scenes import SPLIT_ROWS, SPLITS, Scenes, aligned, compose
from tl_modules import Task

ROLES = ("source", "target")


def composed(split: str, role: str = "target", seed: int = 0, ground: str = "textured", count: int = 60):
    return compose(ground, split, count, 48, role, seed)


@pytest.mark.slow
def test_no_digit_of_one_split_is_in_a_scene_of_another():
    used = {split: set() for split in SPLITS}
    for split in SPLITS:
        for role in ROLES:
            for ground in ("plain", "textured"):
                for seed in (0, 1):
                    used[split] |= set(composed(split, role, seed, ground, 300).digits.flatten().tolist()) - {-1}
    assert all(used.values())
    assert not used["train"] & used["test"] and not used["train"] & used["val"] and not used["val"] & used["test"]


def test_no_cutting_of_one_split_overlaps_one_of_another():
    spans: dict[str, dict[int, list[int]]] = {}
    for split in SPLITS:
        for role in ROLES:
            regions = composed(split, role, 1, count=300).regions
            for picture in (0, 1):
                mine = regions[regions[:, 0] == picture]
                edges = spans.setdefault(split, {}).setdefault(picture, [10**6, 0])
                edges[0] = min(edges[0], int(mine[:, 2].min()))
                edges[1] = max(edges[1], int((mine[:, 2] + mine[:, 4]).max()))
    for picture in (0, 1):
        assert spans["train"][picture][1] <= spans["val"][picture][0]
        assert spans["val"][picture][1] <= spans["test"][picture][0]
    assert list(SPLIT_ROWS) == list(SPLITS)


def pixels(dataset: InMemory) -> set[bytes]:
    return {image.numpy().tobytes() for image in dataset.fields["image"]}


@pytest.mark.slow
def test_no_scene_is_in_both_roles_or_two_splits():
    data = {role: Scenes("textured", "classify", role, train_size=200, val_size=100) for role in ROLES}
    for one in data.values():
        one.setup()
    assert not pixels(data["source"].train_dataset) & pixels(data["target"].train_dataset)
    own = [pixels(getattr(data["target"], f"{split}_dataset")) for split in SPLITS]
    assert not own[0] & own[1] and not own[0] & own[2] and not own[1] & own[2]
    names = [set(getattr(data[role], f"{split}_dataset").fields["id"]) for role in ROLES for split in ("train", "val")]
    assert len(set.union(*names)) == sum(len(part) for part in names)


def test_the_same_seed_gives_the_same_scenes_and_test_is_the_same_for_all():
    compose.cache_clear()
    first = composed("train", seed=3).dataset.fields["image"]
    compose.cache_clear()
    assert torch.equal(first, composed("train", seed=3).dataset.fields["image"])
    assert not torch.equal(first, composed("train", seed=4).dataset.fields["image"])
    tests = [composed("test", role, seed).dataset.fields["image"] for role in ROLES for seed in (0, 5)]
    assert all(torch.equal(tests[0], other) for other in tests)


@pytest.mark.parametrize("ground", ["plain", "textured"])
def test_a_scene_s_targets_agree(ground: str):
    dataset = composed("train", ground=ground, count=200).dataset
    for index in range(len(dataset)):
        scene = dataset[index]
        boxes, labels = scene["boxes"], scene["box_labels"]
        assert len(boxes) == len(labels) == int(scene["value"]) and 1 <= len(boxes) <= 3
        area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        assert bool((area > 0).all()) and bool((boxes >= 0).all()) and bool((boxes <= 48).all())
        assert int(labels[0]) == scene["label"]
        tall = boxes[:, 3] - boxes[:, 1]
        assert int(tall.argmax()) == 0
        inked = scene["mask"] > 0
        covered = torch.zeros_like(inked)
        for left, top, right, bottom in boxes.int().tolist():
            covered[top:bottom, left:right] = True
        assert bool((covered | ~inked).all())
        assert set(scene["mask"].unique().tolist()) - {0} <= {int(label) + 1 for label in labels}


@pytest.mark.parametrize("target", ["classify", "count", "segment", "detect"])
def test_a_dataset_holds_its_own_target_only(target: str):
    data = Scenes("plain", target, image_size=32, train_size=5, val_size=3)
    data.setup()
    fields = {"classify": {"label"}, "count": {"value"}, "segment": {"mask"}, "detect": {"boxes", "box_labels"}}[target]
    assert set(data.train_dataset[0]) == {"id", "image"} | fields
    assert data.task.key in fields
    assert (len(data.train_dataset), len(data.val_dataset), len(data.test_dataset)) == (5, 3, scenes.TEST_SIZE)
    assert next(iter(data.train_dataloader()))["image"].dtype == torch.uint8


def test_val_is_at_most_train_by_default():
    data = Scenes(train_size=20)
    data.setup()
    assert len(data.val_dataset) == 20


def same(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, other[key]), key
        else:
            assert len(value) == len(other[key])
            for a, b in zip(value, other[key], strict=True):
                assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_batches_equal_collated_samples_partial_labels_included():
    source = Scenes("textured", "detect", "source", train_size=30)
    target = Scenes("textured", "classify", train_size=20)
    for data in (source, target):
        data.setup()
    both = aligned(source, target)
    for rows in ([0, 1], [19, 20, 29], [25, 3, 21, 7], [28, 29]):
        same(both.batch(rows), collate([both[i] for i in rows]))
    assert "label" not in both.batch([25, 26]) and "boxes" in both.batch([25])
    assert both.batch([25, 3])["label_rows"].tolist() == [1]


def test_aligned_needs_one_picture():
    plain, textured = Scenes("plain", "classify"), Scenes("textured", "detect")
    with pytest.raises(ValueError, match="the source is plain at 48 px and the target textured at 48 px"):
        aligned(plain, textured)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"ground": "wood"}, "ground='wood' is unknown; allowed: plain, textured"),
        ({"target": "class"}, "target='class' is unknown; allowed: classify, count, segment, detect"),
        ({"image_size": 8}, "image_size=8 must be between 32 and 112 pixels"),
        ({"train_size": 0}, "train_size=0 must be at least 1"),
        ({"val_size": -1}, "val_size=-1 must be at least 1"),
    ],
)
def test_wrong_options_are_named(options, line: str):
    with pytest.raises(ValueError, match=line):
        Scenes(**options)


def test_samples_of_others():
    task = Task("t", "classification", ("a",))
    image = torch.zeros(1, 4, 4, dtype=torch.uint8)
    assert as_sample((image, 0), task, "7") == {"id": "7", "image": image, "label": 0}
    with pytest.raises(ValueError, match="a sample must be a dict or a pair"):
        as_sample(3, task, "7")
    with pytest.raises(ValueError, match="image differs in shape within a batch"):
        collate([{"id": "a", "image": image}, {"id": "b", "image": torch.zeros(1, 4, 5)}])


def test_a_field_of_labels_beside_no_boxes_is_stacked():
    samples = [{"id": str(i), "image": torch.zeros(1, 4, 4), "fine_labels": i, "image_labels": i} for i in range(3)]
    made = collate(samples)
    assert made["fine_labels"].tolist() == made["image_labels"].tolist() == [0, 1, 2] and made["image"].ndim == 4
    masked = [{"id": "a", "mask": torch.zeros(6, 6, dtype=torch.long), "mask_labels": 1}] * 2
    assert collate(masked)["mask"].shape == (2, 6, 6)
    cars = [
        {**one, "cars": torch.zeros(one["fine_labels"], 4), "cars_labels": torch.zeros(one["fine_labels"])}
        for one in samples
    ]
    assert (
        [len(one) for one in collate(cars)["cars"]] == [len(one) for one in collate(cars)["cars_labels"]] == [0, 1, 2]
    )
