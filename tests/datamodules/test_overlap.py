"""A test sample of one role must not be in what is trained or chosen on, whoever brings it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule
from PIL import Image
from torch.utils.data import Dataset

from datamodules.contents import Held, of_picture
from datamodules.cutting import cut
from datamodules.pair import CombinedData, MergedData, PairedData, SequentialData
from datamodules.readers import images
from datamodules.readers.coco import CocoBoxes
from datamodules.readers.coco_masks import CocoMasks
from datamodules.readers.image_folder import ImageFolder
from datamodules.readers.npz import NpzImages
from datamodules.readers.page_table import PageTable
from datamodules.readers.resize import original as original_of
from datamodules.readers.texts import TextTable
from datamodules.readers.voc import VocBoxes
from datamodules.synthetic.pages import PageStreams
from datamodules.synthetic.scenes import Scenes
from tl_modules.task import Task

SPLITS = ("train", "val", "test")


def noise(seed, size=(12, 12)):
    return np.random.RandomState(seed).randint(0, 256, (*size, 3)).astype(np.uint8)


@pytest.fixture
def folders(tmp_path):
    """120 pictures of noise with labels that nobody can learn, and half of them in a folder of their own."""
    for i in range(120):
        label = "ab"[i * 7 % 3 % 2]
        path = tmp_path / "all" / label / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(i)).save(path)
        if i < 60:
            other = tmp_path / "half" / label / f"x{i:03}.png"
            other.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, other)
    return tmp_path


def pair(kind, target, source, **options):
    made = kind(target, source, batch_size=8, **options)
    made.setup()
    return made


def pixels(dataset):
    return {dataset[i]["image"].numpy().tobytes() for i in range(len(dataset))}


def folder(path, **options):
    return ImageFolder(str(path), **{"image_size": 12, **options})


@pytest.mark.parametrize("sizes", [(12, 12), (12, 9), (None, 12)], ids=["same", "smaller", "as_it_is"])
def test_the_targets_test_pictures_in_the_sources_training_are_refused(folders, sizes):
    source, target = folder(folders / "all", image_size=sizes[0]), folder(folders / "half", image_size=sizes[1])
    with pytest.raises(ValueError, match=r"datamodule\.overlap=refuse: .* in source's train are in target's test \("):
        pair(MergedData, target, source)


def test_the_targets_training_pictures_in_the_sources_test_are_refused_whatever_the_tasks(folders):
    for part, numbers in {"train": range(60, 120), "test": range(60)}.items():
        for i in numbers:
            other = folders / "published" / part / "xy"[i % 2] / f"{i}.png"
            other.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise(i)).save(other)
    source, target = folder(folders / "published", task="kind"), folder(folders / "half", task="shade")
    with pytest.raises(ValueError, match=r"in source's test are in target's (train|val) \("):
        pair(SequentialData, target, source)


def test_dropping_takes_them_from_the_source_and_tells(folders, caplog):
    alone = folder(folders / "half")
    alone.setup()
    data = pair(MergedData, folder(folders / "half"), folder(folders / "all"), overlap="drop")
    kept = {role: {split: pixels(data.split(role, split)) for split in SPLITS} for role in data.data}
    assert not kept["target"]["test"] & (kept["source"]["train"] | kept["source"]["val"])
    assert not kept["target"]["val"] & kept["source"]["train"]
    assert not kept["source"]["test"] & (kept["target"]["train"] | kept["target"]["val"])
    for split in SPLITS:  # the target is what every baseline has
        assert kept["target"][split] == pixels(getattr(alone, f"{split}_dataset"))
    assert data.overlaps["rule"] == "drop" and data.overlaps["found"]["source/train"] > 0
    written = data.data["source"].splits()
    assert {split: part["count"] for split, part in written.items()} == {s: len(kept["source"][s]) for s in SPLITS}
    counts = {"train": 77, "val": 19, "test": 24}
    for split, count in counts.items():
        assert len(kept["source"][split]) == count - data.overlaps["found"].get(f"source/{split}", 0)
    assert "8 of 77 in source's train are in target's test (a/005.png, which is a/x005.png)" in caplog.text


def test_allowing_counts_and_keeps_them(folders):
    data = pair(MergedData, folder(folders / "half"), folder(folders / "all"), overlap="allow")
    assert len(data.split("source", "train")) == 77 and data.overlaps["found"]["source/train"] > 0
    with pytest.raises(ValueError, match="overlap='never' is unknown; allowed: refuse, drop, allow"):
        PairedData(folder(folders / "half"), overlap="never")


def test_pictures_that_are_read_when_needed_are_compared_too(folders, monkeypatch):
    monkeypatch.setattr(images, "IN_MEMORY", 100)
    with pytest.raises(ValueError, match="overlap=refuse"):
        pair(MergedData, folder(folders / "half"), folder(folders / "all"))
    for label in ("a", "b"):
        path = folders / "half" / label
        shutil.copytree(path, folders / "split" / "train" / label)
        (folders / "split" / "test" / label).mkdir(parents=True)
        shutil.copy(next(path.iterdir()), folders / "split" / "test" / label / "again.png")
    with pytest.raises(ValueError, match="duplicates=refuse: 2 of 2 test samples"):
        folder(folders / "split").setup()


def test_arrays_and_files_of_one_picture_are_the_same(folders):
    stack, labels = np.stack([noise(i) for i in range(60)]), np.arange(60) % 2
    np.savez(folders / "x.npz", train_images=stack, train_labels=labels)
    with pytest.raises(ValueError, match="overlap=refuse"):
        pair(SequentialData, NpzImages(str(folders / "x.npz")), folder(folders / "all"))
    np.savez(folders / "y.npz", train_images=255 - stack, train_labels=labels)
    assert pair(SequentialData, NpzImages(str(folders / "y.npz")), folder(folders / "all")).overlaps["found"] == {}


class Pairs(Dataset):
    """A dataset of one's own that gives pairs, at random if told to."""

    def __init__(self, numbers, random=False):
        self.numbers, self.random = numbers, random

    def __len__(self):
        return len(self.numbers)

    def __getitem__(self, index):
        image = torch.from_numpy(noise(self.numbers[index])).permute(2, 0, 1) / 255
        return (image + 0.1 * torch.rand(1) if self.random else image), index % 2


class Own(LightningDataModule):
    def __init__(self, train, val, test, **options):
        super().__init__()
        self.task = Task("classes", "classification", ("a", "b"))
        self.train_dataset, self.val_dataset, self.test_dataset = (Pairs(x, **options) for x in (train, val, test))


def test_datamodules_of_ones_own_are_compared_with_files_and_within(folders, caplog):
    clean = Own(range(200, 210), range(210, 215), range(220, 225))
    before = torch.get_rng_state()
    assert pair(SequentialData, clean, folder(folders / "all")).overlaps["found"] == {}
    assert torch.equal(before, torch.get_rng_state())
    with pytest.raises(ValueError, match="overlap=refuse"):
        pair(SequentialData, Own(range(200, 210), range(210, 215), range(120)), folder(folders / "all"))
    within = Own(range(10), range(10, 15), range(8, 12))
    with pytest.raises(ValueError, match=r"2 of 10 in target's train are in target's test .*; 2 of 5 in target's val"):
        PairedData(within).setup()
    data = PairedData(within, overlap="drop")
    data.setup()
    assert [len(data.split("target", split)) for split in SPLITS] == [8, 3, 4]
    Own(range(10), range(10, 15), range(8, 12), random=True)
    PairedData(Own(range(10), range(10, 15), range(8, 12), random=True)).setup()
    assert "never twice the same" in caplog.text


def test_texts_are_compared_word_by_word(tmp_path):
    for name, numbers in (("one", range(60)), ("two", range(40, 100))):
        space = "  " if name == "two" else " "
        rows = [f"message{space}{i} ,{'xy'[i % 2]}\n" for i in numbers]
        (tmp_path / f"{name}.csv").write_text("text,label\n" + "".join(rows))
    texts = {name: TextTable(str(tmp_path / f"{name}.csv")) for name in ("one", "two")}
    with pytest.raises(ValueError, match=r"overlap=refuse: .* \(one\.csv:\d+, which is two\.csv:\d+\)"):
        pair(MergedData, texts["two"], texts["one"])
    dropped = pair(MergedData, *(TextTable(str(tmp_path / f"{name}.csv")) for name in ("two", "one")), overlap="drop")
    read = {
        role: {split: {" ".join(t.split()) for t in dropped.split(role, split).fields["text"]} for split in SPLITS}
        for role in dropped.data
    }
    assert not read["target"]["test"] & (read["source"]["train"] | read["source"]["val"])
    assert sum(dropped.overlaps["found"].values()) == 120 - sum(len(x) for r in read.values() for x in r.values())


def two_readers(root):
    """COCO's JSON with boxes of all pictures and outlines of most, VOC's annotations of some; no published splits."""
    (root / "JPEGImages").mkdir()
    (root / "Annotations").mkdir()
    content = {"categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}], "images": [], "annotations": []}
    for i in range(60):
        Image.fromarray(noise(i, (20, 20))).save(root / "JPEGImages" / f"{i:02}.png")
        content["images"].append({"id": i, "file_name": f"{i:02}.png"})
        outline = {"segmentation": [[2, 2, 12, 2, 12, 12, 2, 12]], "bbox": [2, 2, 10, 10]}
        content["annotations"].append({"id": i, "image_id": i, "category_id": 1 + i * 5 % 7 % 2, **outline})
        box = "<bndbox><xmin>3</xmin><ymin>3</ymin><xmax>12</xmax><ymax>12</ymax></bndbox>"
        if i % 3:
            xml = f"<annotation><object><name>{'pq'[i % 2]}</name>{box}</object></annotation>"
            (root / "Annotations" / f"{i:02}.xml").write_text(xml)
    (root / "all.json").write_text(json.dumps(content))
    options = {"annotations": {"train": "all.json"}, "pictures": "JPEGImages"}
    return {
        "boxes": lambda **more: CocoBoxes(str(root), **options, image_size=24, **more),
        "masks": lambda **more: CocoMasks(str(root), **options, image_size=20, **more),
        "voc": lambda **more: VocBoxes(str(root), image_size=16, **more),
    }


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize(("one", "other"), [("boxes", "masks"), ("masks", "voc"), ("voc", "boxes")])
def test_two_readers_of_one_root_cut_the_same_splits(tmp_path, one, other, seed):
    made = two_readers(tmp_path)
    alone = made[one](seed=seed)
    alone.setup()
    data = pair(CombinedData, made[one](seed=seed), made[other](seed=seed))
    target, source = data.data["target"], data.data["source"]
    where = {place: split for split, places in target.places.items() for place in places}
    for split, places in source.places.items():
        assert all(where.get(place, split) == split for place in places)
        shared = {place for place in target.places[split]} & {p for some in source.places.values() for p in some}
        assert split == "train" or shared <= set(places)
    if seed:  # test is the same for every seed, also where the target does not use all it has
        again = pair(CombinedData, made[one](train_size=9), made[other]())
        assert again.data["source"].places["test"] == source.places["test"]
    assert alone.splits() == target.splits()  # the target is what it is without a source
    assert len(source.train_dataset) and len(source.val_dataset) and len(source.test_dataset)
    assert len({p for places in source.places.values() for p in places}) == sum(map(len, source.places.values()))


def test_fewer_samples_of_a_followed_split_are_the_other_roles_first(tmp_path):
    made = two_readers(tmp_path)
    data = pair(CombinedData, made["boxes"](train_size=12, val_size=6), made["masks"](train_size=20, val_size=8))
    places = {role: one.places for role, one in data.data.items()}
    assert set(places["target"]["train"]) < set(places["source"]["train"]) and len(places["source"]["train"]) == 20
    assert set(places["target"]["val"]) < set(places["source"]["val"]) and len(places["source"]["val"]) == 8
    assert places["target"]["test"] == places["source"]["test"]
    for sizes in ({"val_size": 99}, {"train_size": 99}):
        name, size = next(iter(sizes.items()))
        with pytest.raises(ValueError, match=rf"source\.{name}={size}: must be at most"):
            pair(CombinedData, made["boxes"](train_size=12, val_size=6), made["masks"](**sizes))


def test_following_nobody_is_cutting():
    labels = {"train": [0, 1, 1] * 20}
    assert cut(labels, 20, 5, 1, others=[None] * 60) == cut(labels, 20, 5, 1)
    assert cut(labels, None, None, 0, others=[None] * 60) == cut(labels, None, None, 0)


def test_pages_without_a_picture_are_compared_by_what_they_have(tmp_path):
    for role, first in (("one", 0), ("two", 30)):
        for part in ("pictures", "texts"):
            (tmp_path / role / part).mkdir(parents=True)
        rows = []
        for i in range(first, first + 60):
            if i % 3:
                Image.fromarray(noise(i)).save(tmp_path / role / "pictures" / f"{i}.png")
            if i % 3 != 1:
                (tmp_path / role / "texts" / f"{i}.txt").write_text(f"page {i}")
            rows.append(f"{i},{'xy'[i % 2]}\n")
        (tmp_path / role / "index.csv").write_text("id,label\n" + "".join(rows))
    data = pair(
        SequentialData,
        *(PageTable(str(tmp_path / role), image_size=32) for role in ("two", "one")),
        overlap="allow",
    )
    numbers = {r: {s: {*data.split(r, s).fields["id"]} for s in SPLITS} for r in data.data}
    source, target = numbers["source"], numbers["target"]
    assert data.overlaps["found"] == {
        "source/train": len(source["train"] & (target["test"] | target["val"])),
        "source/val": len(source["val"] & target["test"]),
        "source/test": len(source["test"] & (target["train"] | target["val"])),
    }


@pytest.mark.slow
@pytest.mark.parametrize("inputs", [["image", "text"], ["text"], ["image"]])
def test_what_is_generated_does_not_overlap(inputs):
    pages = [PageStreams(target, inputs) for target in ("content", "starts")]
    assert pair(CombinedData, *pages).overlaps["found"] == {}
    if len(inputs) == 2:
        for ground in ("plain", "textured"):
            scenes = [Scenes(ground, role=role, train_size=300) for role in ("target", "source")]
            assert pair(SequentialData, *scenes).overlaps["found"] == {}


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_of_a_stack_is_the_same_as_one_that_is_read(channels):
    stack = torch.randint(0, 256, (2, channels, 8, 9), dtype=torch.uint8)
    held = Held(stack, None, stack.__getitem__)
    assert held.originals() == {row: of_picture(original_of(picture)) for row, picture in enumerate(stack)}
    assert held.in_memory == {0, 1}
