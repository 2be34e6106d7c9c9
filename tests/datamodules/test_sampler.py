from __future__ import annotations

import logging
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from datamodules.merge import MergedDataset, union_labels
from datamodules.pair import ByKey, CombinedData, PairedData, SequentialData
from datamodules.readers.image_folder import ImageFolder
from datamodules.sampler import StepSampler
from datamodules.synthetic.scenes import Scenes
from tests.conftest import pair_for
from tl_modules import Stage, Task

SIZES = {"source": 90, "target": 30}


def test_every_pass_shows_every_sample_once() -> None:
    sampler = StepSampler({"target": 30}, 10, epoch_steps=6)
    steps = [[index for _, index, _ in step] for step in sampler]
    assert sorted([i for s in steps[:3] for i in s]) == sorted([i for s in steps[3:] for i in s]) == list(range(30))
    assert steps[:3] != steps[3:]


def test_a_role_gets_what_it_would_get_alone() -> None:
    both = [[a for a in step if a[0] == "target"] for step in StepSampler(SIZES, 10, epoch_steps=12)]
    assert both == list(StepSampler({"target": 30}, 10, epoch_steps=12))
    other = StepSampler({"source": 5000, "target": 30}, 10, epoch_steps=12)
    assert both == [[a for a in step if a[0] == "target"] for step in other]


@pytest.mark.parametrize(
    ("mode", "share"), [("proportional", 30 / 120), ("temperature", 30**0.5 / (30**0.5 + 90**0.5))]
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_proportions_are_exact(mode: str, share: float, seed: int) -> None:
    sampler = StepSampler(SIZES, 10, mode, epoch_steps=400, seed=seed, temperature=2.0)
    keys = []
    for step in sampler:
        assert len({key for key, _, _ in step}) == 1
        keys.append(step[0][0])
    for count in (40, 100, 400):
        assert abs(keys[:count].count("target") - share * count) <= 1
    turns = [sampler.turns(k)[0] for k in range(400)]
    for role in SIZES:
        assert [j for key, j in turns if key == role] == list(range(keys.count(role)))


@pytest.mark.parametrize("share", [0.1, 0.25, 0.9])
def test_the_first_role_is_replayed_in_its_share_of_the_steps(share: float) -> None:
    whole = list(StepSampler(SIZES, 10, epoch_steps=200, seed=5, replay=share))
    keys = [{key for key, _, _ in step} for step in whole]
    assert all(len(key) == 1 for key in keys)
    for count in (20, 50, 200):
        assert abs(keys[:count].count({"source"}) - share * count) <= 1
    assert list(StepSampler(SIZES, 10, epoch_steps=200, seed=5, replay=share, progress=lambda: (0, 77))) == whole[77:]


def test_cycle_holds_both_roles_in_every_step() -> None:
    for step in StepSampler(SIZES, 10, epoch_steps=20):
        assert Counter(key for key, _, _ in step) == {"source": 10, "target": 10}


def test_ranks_share_a_step() -> None:
    ranks = [list(StepSampler(SIZES, 5, "proportional", 30, rank=rank, world_size=2)) for rank in (0, 1)]
    for first, second in zip(*ranks, strict=True):
        assert {a[0] for a in first} == {a[0] for a in second}
        assert not {a[:2] for a in first} & {a[:2] for a in second}


def test_it_goes_on_where_it_was() -> None:
    whole = [
        step for epoch in range(3) for step in StepSampler(SIZES, 10, epoch_steps=5, progress=lambda e=epoch: (e, 0))
    ]
    rest = StepSampler(SIZES, 10, epoch_steps=5, progress=lambda: (1, 2))
    assert list(rest) == whole[7:10]


def test_a_dataset_smaller_than_a_batch() -> None:
    assert all(len(step) == 3 for step in StepSampler({"target": 3}, 10, epoch_steps=4))


def test_wrong_options_are_named() -> None:
    with pytest.raises(ValueError, match="mode='cycel' is unknown; allowed: cycle, proportional, temperature"):
        StepSampler(SIZES, 10, "cycel")
    with pytest.raises(ValueError, match="the training set of target is empty"):
        StepSampler({"target": 0}, 10)
    with pytest.raises(ValueError, match=r"temperature=0\.5"):
        StepSampler(SIZES, 10, temperature=0.5)


class Random(Dataset[dict[str, object]]):
    """A dataset with random transforms from all three generators."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> dict[str, object]:
        value = torch.rand(1).item() + np.random.rand() + random.random()
        return {"image": torch.zeros(3, 2, 2, dtype=torch.uint8), "value": torch.tensor(value)}


def test_random_transforms_are_addressed() -> None:
    task = Task("t", "regression")
    dataset = ByKey({"target": Random()}, {"target": task}, seed=0)
    state = torch.get_rng_state()
    first = dataset.__getitems__([("target", 3, 0), ("target", 5, 0)])["target"]["value"]
    assert torch.equal(state, torch.get_rng_state())
    second = dataset.__getitems__([("target", 5, 0)])["target"]["value"]
    assert first[1] == second[0] and first[0] != first[1]
    assert dataset.__getitems__([("target", 5, 1)])["target"]["value"][0] != second[0]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_change_nothing(workers: int) -> None:
    data = pair_for("multitask", num_workers=workers)
    data.setup()
    data.enter(Stage("joint", learn=("source", "target")))
    seen = [[batch[role]["id"] for role in ("source", "target")] for batch in data.train_dataloader()]
    again = pair_for("multitask")
    again.setup()
    assert seen == [[batch[role]["id"] for role in ("source", "target")] for batch in again.train_dataloader()]


def test_epochs_are_one_pass_over_the_target_everywhere() -> None:
    for cell in ("scratch", "multitask", "dataset_merging", "task_adaptation"):
        data = pair_for(cell)
        data.setup()
        assert len(data.train_dataloader()) == data.epoch_steps == 3


def test_roles_that_are_only_seen_come_without_targets() -> None:
    data = pair_for("domain_adaptation")
    data.setup()
    data.enter(Stage("adapt", learn=("source",), see=("target",)))
    batch = next(iter(data.train_dataloader()))
    assert set(batch["target"]) == {"id", "image"}
    assert "label" in batch["source"]
    assert list(data.val_dataloader()) == ["source"]


def test_two_kinds_cannot_be_merged_and_clashing_names_are_named() -> None:
    with pytest.raises(ValueError, match="datasets of different kinds cannot be merged"):
        union_labels({"source": Task("t", "regression"), "target": Task("t", "classification", ("a",))})
    with pytest.raises(ValueError, match="labels 'Cat' and 'cat' clash"):
        union_labels({"source": Task("t", "classification", ("Cat",)), "target": Task("t", "classification", ("cat",))})
    with pytest.raises(ValueError, match="clash: they differ only in case, spaces or dashes; rename one"):
        union_labels({"target": Task("t", "classification", ("Cat", "cat"))})
    task = Task("t", "classification", ("cat", "dog"))
    with pytest.raises(ValueError, match="labels dog of the source are not mapped"):
        MergedDataset({}, {"source": task, "target": task}, ["cat"], lambda *_: {})


def test_names_that_differ_in_spelling_alone_are_told_with_the_option_that_joins_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = {"one": ("Traffic_Light", "car", "van"), "other": ("traffic light", "car", "Bus")}
    for i, folder in enumerate(tmp_path / where / label for where in names for label in 10 * names[where]):
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.RandomState(i).randint(0, 256, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    data = PairedData(ImageFolder(str(tmp_path / "one")), ImageFolder(str(tmp_path / "other")))
    with caplog.at_level(logging.WARNING):
        data.setup()
        data.setup()
    assert [record.getMessage() for record in caplog.records if record.name == "datamodules.pair"] == [
        "labels of source and target that are not the same: traffic light and Traffic_Light; "
        '"source.labels={traffic light: Traffic_Light}" makes them one'
    ]
    caplog.clear()
    renamed = ImageFolder(str(tmp_path / "other"), labels={"traffic light": "Traffic_Light"})
    with caplog.at_level(logging.WARNING):
        PairedData(ImageFolder(str(tmp_path / "one")), renamed).setup()
    assert "not the same" not in caplog.text


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression", "segmentation", "detection"])
def test_merging_maps_labels_by_name(kind: str) -> None:
    """Two datasets with the same pictures and names in another order merge into the same targets."""
    names = ("a", "b", "c")
    order = (2, 0, 1)
    image = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    index = torch.tensor([0, 1, 2, 1])
    inverse = torch.tensor([order.index(i) for i in range(3)])
    labels = () if kind == "regression" else names
    other = () if kind == "regression" else tuple(names[i] for i in order)
    tasks = {"source": Task("t", kind, labels), "target": Task("t", kind, other)}
    fields = {"source": index, "target": inverse[index]}

    class Plain(Dataset[dict[str, object]]):
        def __init__(self, values: torch.Tensor, role: str) -> None:
            self.values, self.role = values, role

        def __len__(self) -> int:
            return 4

        def __getitem__(self, i: int) -> dict[str, object]:
            value = self.values[i]
            made: dict[str, object] = {
                "classification": {"label": value},
                "multilabel": {"labels": torch.nn.functional.one_hot(value, 3).float()},
                "regression": {"value": index[i].float()},
                "segmentation": {"mask": torch.full((8, 8), int(value)).index_fill(0, torch.tensor([0]), 255)},
                "detection": {"boxes": torch.tensor([[0.0, 0, 4, 4]]), "box_labels": value[None]},
            }[kind]
            return {"image": image[i], **made}

    from datamodules.pair import fetch

    datasets = {role: Plain(values, role) for role, values in fields.items()}
    merged = MergedDataset(datasets, tasks, union_labels(tasks), fetch)
    batch = merged.batch([5, 0, 7, 1, 4, 3])
    assert batch["role"].tolist() == [0, 0, 0, 1, 1, 1]
    key = tasks["target"].key
    own = [0, 1, 3, 1, 3, 0]
    if kind == "detection":
        assert [int(x) for x in batch["box_labels"]] == index[own].tolist()
    elif kind == "multilabel":
        assert batch[key].argmax(1).tolist() == index[own].tolist()
    elif kind == "segmentation":
        assert batch[key][:, 4, 4].tolist() == index[own].tolist()
        assert bool((batch[key][:, 0] == 255).all())
    else:
        assert batch[key].tolist() == index[own].tolist()


def test_a_pair_says_what_it_lacks() -> None:
    target = Scenes("textured", "classify", image_size=32, train_size=4)
    source = Scenes("textured", "segment", "source", image_size=32, train_size=4)
    with pytest.raises(ValueError, match="needs an aligned_dataset"):
        CombinedData(target, source, mode="aligned")
    with pytest.raises(ValueError, match="mode='both' is unknown"):
        CombinedData(target, source, mode="both")

    class Bare:
        pass

    with pytest.raises(ValueError, match="target_task=None: Bare has no task of its own"):
        SequentialData(Bare())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has no train_dataset after"):
        bare = Bare()
        bare.setup = lambda stage: None  # type: ignore[attr-defined]
        PairedData(bare, target_task=Task("t", "regression")).setup()  # type: ignore[arg-type]
