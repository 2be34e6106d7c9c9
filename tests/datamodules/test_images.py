"""Pictures with classes from files: splits, folders, torchvision's sets."""

from __future__ import annotations

import itertools
import json
import shutil
from collections import Counter

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from datamodules.cutting import cut
from datamodules.pair import MergedData, SequentialData
from datamodules.readers import images
from datamodules.readers.folders import list_classes
from datamodules.readers.image_folder import ImageFolder
from datamodules.readers.images import LazyPictures, resized
from datamodules.readers.resize import fitted, read_picture
from datamodules.readers.torchvision_sets import TorchvisionSet
from datamodules.splits import stratified

MARKS = itertools.count()


def picture(path, size=(12, 12), shade=100, mode="RGB"):
    """Write a picture that is like no other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = next(MARKS)
    Image.new(mode, size, mark % 256 if mode == "L" else (shade, mark % 256, mark // 256)).save(path)


@pytest.fixture
def folder(tmp_path):
    for label, count in (("cat", 30), ("dog", 20), ("eel", 10)):
        for i in range(count):
            picture(tmp_path / "all" / label / f"{i:02}.png", shade=4 * i + len(label))
    return tmp_path / "all"


def ids(data):
    return {split: set(getattr(data, f"{split}_dataset").fields["id"]) for split in ("train", "val", "test")}


def test_a_folder_is_cut_into_disjoint_splits_with_each_class_in_proportion(folder):
    data = ImageFolder(str(folder), image_size=8, seed=1)
    data.setup()
    parts = ids(data)
    assert {split: len(part) for split, part in parts.items()} == {"test": 12, "val": 10, "train": 38}
    assert len(set.union(*parts.values())) == 60
    for part in parts.values():
        counts = Counter(name.split("/")[0] for name in part)
        for label, share in (("cat", 0.5), ("dog", 1 / 3), ("eel", 1 / 6)):
            assert abs(counts[label] - share * len(part)) <= 1
    sample = data.train_dataset[0]
    assert sample["image"].shape == (3, 8, 8) and sample["image"].dtype == torch.uint8
    assert data.task.labels == ("cat", "dog", "eel")
    assert all(data.task.labels[s["label"]] == s["id"].split("/")[0] for s in (data.val_dataset[i] for i in range(10)))


def test_splits_are_the_same_for_the_same_seed_and_test_for_every_seed(folder):
    made = []
    for seed in (1, 1, 2):
        data = ImageFolder(str(folder), image_size=8, seed=seed)
        data.setup()
        made.append(ids(data))
    assert made[0] == made[1] != made[2]
    assert made[0]["test"] == made[2]["test"] and made[0]["val"] != made[2]["val"]


def test_a_smaller_training_set_takes_nothing_from_val_or_test(folder):
    data = ImageFolder(str(folder), image_size=8, train_size=6)
    data.setup()
    parts = ids(data)
    assert {split: len(part) for split, part in parts.items()} == {"test": 12, "val": 6, "train": 6}
    assert len(set.union(*parts.values())) == 24
    assert Counter(name.split("/")[0] for name in parts["train"]) == {"cat": 3, "dog": 2, "eel": 1}
    written = json.loads(json.dumps(data.splits()))
    assert set(written["train"]["ids"]) == parts["train"] and written["test"]["from"] == "train"


def test_published_splits_are_taken_as_they_are(tmp_path):
    for split, count in (("train", 10), ("valid", 4), ("test", 5)):
        for label in ("a", "b"):
            for i in range(count):
                picture(tmp_path / split / label / f"{i}.png")
    data = ImageFolder(str(tmp_path), image_size=8)
    data.setup()
    assert {split: len(part) for split, part in ids(data).items()} == {"test": 10, "val": 8, "train": 20}
    assert {split: part["ids"] for split, part in data.splits().items()} == dict.fromkeys(
        ("test", "val", "train"), "all"
    )
    own = ImageFolder(str(tmp_path), image_size=8, splits={"train": "train", "test": "valid"})
    own.setup()
    assert {name.split("/")[0] for name in ids(own)["test"]} == {"valid"}
    assert {name.split("/")[0] for name in ids(own)["val"]} == {"train"}


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((50, None), "train_size=50: must be at most 38, the training samples beside val"),
        ((None, 48), "val_size=48: must be less than 48, the samples it is cut off"),
    ],
)
def test_sizes_beyond_the_data_are_refused(folder, sizes, message):
    with pytest.raises(ValueError, match=message):
        ImageFolder(str(folder), image_size=8, train_size=sizes[0], val_size=sizes[1]).setup()


def test_files_that_are_no_pictures_are_left_out_and_said(folder, caplog):
    (folder / "cat" / "notes.txt").touch()
    (folder / "cat" / ".hidden.png").touch()
    data = ImageFolder(str(folder), image_size=8)
    data.setup()
    assert sum(map(len, ids(data).values())) == 60
    assert "1 of 1 files stray:" in caplog.text and "notes.txt is no picture" in caplog.text


def test_a_truncated_picture_is_named(folder):
    path = folder / "dog" / "03.png"
    noise = np.random.RandomState(0).randint(0, 255, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(ValueError, match=r"dog.03\.png: cannot be read as a picture"):
        ImageFolder(str(folder), image_size=8).setup()


def test_pictures_beyond_the_memory_are_read_when_they_are_needed(folder, monkeypatch):
    whole = ImageFolder(str(folder), image_size=8)
    whole.setup()
    monkeypatch.setattr(images, "IN_MEMORY", 100)
    lazy = ImageFolder(str(folder), image_size=8)
    lazy.setup()
    assert isinstance(lazy.train_dataset, LazyPictures)
    assert lazy.splits() == whole.splits()
    for i in range(5):
        one, other = lazy.train_dataset[i], whole.train_dataset[i]
        assert one["id"] == other["id"] and one["label"] == other["label"] and torch.equal(one["image"], other["image"])
    batch = next(iter(lazy.val_dataloader()))
    assert batch["image"].shape == (10, 3, 8, 8)


def test_the_middle_square_is_cut_out_and_places_can_be_found_again(tmp_path):
    wide = np.zeros((20, 40, 3), np.uint8)
    wide[:, 10:30] = 200
    Image.fromarray(wide).save(tmp_path / "wide.png")
    square = read_picture(tmp_path / "wide.png", 3, 10)
    assert square.shape == (3, 10, 10) and bool((square[:, :, 1:-1] == 200).all())
    whole = fitted(tmp_path / "wide.png", 1, (16, 16), whole=True)
    assert (whole.scale, whole.offset, whole.size) == (0.4, (0, 4), (20, 40))
    assert bool((whole.image[0, 4:12, 5:11] > 190).all()) and int(whole.image[0, :4].max()) == 0


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "LA", "1"])
def test_other_kinds_of_pictures_are_read(tmp_path, mode):
    Image.new("RGB", (9, 9), (255, 255, 255)).convert(mode).save(tmp_path / f"x.{'jpg' if mode == 'CMYK' else 'png'}")
    read = read_picture(next(tmp_path.iterdir()), 3, 8)
    assert read.shape == (3, 8, 8) and int(read.min()) > 250


def test_sixteen_bits_are_scaled_and_floats_refused(tmp_path):
    Image.fromarray(np.full((9, 9), 128 * 257, np.uint16)).save(tmp_path / "x.png")
    assert read_picture(tmp_path / "x.png", 1, 8).unique().tolist() == [128]
    Image.fromarray(np.zeros((9, 9), np.float32)).save(tmp_path / "x.tiff")
    with pytest.raises(ValueError, match="its pixels are floats"):
        read_picture(tmp_path / "x.tiff", 1, 8)


def test_grey_and_colour(tmp_path):
    for label in ("a", "b"):
        for i in range(10):
            picture(tmp_path / "grey" / label / f"{i}.png", mode="L", shade=9 * i)
    data = ImageFolder(str(tmp_path / "grey"), image_size=8, channels=None)
    assert data.task is None
    data.setup()
    assert data.task.channels == 1 and data.train_dataset[0]["image"].shape == (1, 8, 8)
    colour = ImageFolder(str(tmp_path / "grey"), image_size=8, channels=3)
    colour.setup()
    assert colour.train_dataset[0]["image"].shape == (3, 8, 8)
    stack = torch.randint(0, 256, (4, 3, 6, 6), dtype=torch.uint8)
    luma = (stack.float() * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1).round()
    assert torch.equal(resized(stack, 1, None)[:, 0].float(), luma)
    assert resized(stack, 3, 12).shape == (4, 3, 12, 12)


def test_listing_names_what_is_wrong(tmp_path):
    for name in ("x/a", "z/a", "z/b"):
        (tmp_path / name).mkdir(parents=True)
    for root, message in (
        (tmp_path / "y", "must be a folder that exists"),
        (tmp_path / "x", "must hold a folder per class, but .*x holds a alone"),
        (tmp_path / "z", "the class a has no pictures in"),
        (tmp_path / "x" / "a", "must hold a folder per class, but .* holds no class folders"),
    ):
        with pytest.raises(ValueError, match=message):
            list_classes(root)


def test_stratified_takes_exactly_as_many_as_wanted():
    labels = [0] * 7 + [1] * 2 + [2]
    for count in range(11):
        chosen, rest = stratified(labels, count, "x", count)
        assert len(chosen) == count and sorted(chosen + rest) == list(range(10))
    made = cut({"train": labels, "test": [0, 1]}, None, None, 0)
    assert made["test"] == [("test", 0), ("test", 1)] and len(made["val"]) == 2


class Digits(torchvision.datasets.VisionDataset):
    """A set as torchvision has them, with pictures in memory."""

    def __init__(self, root, train=True, download=False):
        super().__init__(root)
        rng = np.random.RandomState(int(train))
        if not (self_root := root.endswith("Digits")) and not download:
            raise RuntimeError("Dataset not found")
        self.loaded_from = self_root
        self.data = rng.randint(0, 255, (60 if train else 20, 6, 6)).astype(np.uint8)
        self.targets = list(rng.randint(0, 3, len(self.data)))
        self.classes = ["zero", "one", "two"]

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return Image.fromarray(self.data[index]), self.targets[index]


def test_torchvisions_sets(monkeypatch, tmp_path):
    monkeypatch.setattr(torchvision.datasets, "Digits", Digits, raising=False)
    data = TorchvisionSet("Digits", root=str(tmp_path), image_size=12, train_size=20)
    assert data.task is None
    data.prepare_data()
    data.setup()
    assert data.task.labels == ("zero", "one", "two") and data.task.channels == 1
    assert {split: len(part) for split, part in ids(data).items()} == {"test": 20, "val": 12, "train": 20}
    assert data.train_dataset[0]["image"].shape == (1, 12, 12)
    assert not ids(data)["train"] & ids(data)["val"]
    native = TorchvisionSet("Digits", root=str(tmp_path), labels=["0", "1", "2"], channels=1)
    assert native.task.labels == ("0", "1", "2")
    native.setup()
    row = int(native.val_dataset.fields["id"][0].split("/")[1])
    opened = Digits(str(tmp_path / "Digits"))
    assert np.array_equal(native.val_dataset[0]["image"][0].numpy(), opened.data[row])
    assert int(native.val_dataset[0]["label"]) == opened.targets[row]
    for one, other in (("zero", "two"), ("0", "2")):  # the set's own names, or the indices
        called = TorchvisionSet("Digits", root=str(tmp_path), labels={one: "even", other: "even"}, channels=1)
        called.setup()
        assert called.task.labels[0] == "even" and len(called.task.labels) == 2
        ones = Digits(str(tmp_path / "Digits"), train=False).targets.count(1)
        assert int(called.test_dataset.fields["label"].sum()) == ones


def test_a_set_is_opened_once_per_split_however_many_trainers_ask(monkeypatch, tmp_path):
    opened = []

    class Counted(Digits):
        def __init__(self, root, train=True, download=False):
            super().__init__(root, train, download)
            opened.append(train)

    monkeypatch.setattr(torchvision.datasets, "Digits", Counted, raising=False)
    data = TorchvisionSet("Digits", root=str(tmp_path))
    for _ in range(3):
        data.prepare_data()
        data.setup()
    assert opened == [True, False]


def test_some_classes_of_a_set_are_read_and_counted_anew(monkeypatch, tmp_path):
    monkeypatch.setattr(torchvision.datasets, "Digits", Digits, raising=False)
    data = TorchvisionSet("Digits", root=str(tmp_path / "Digits"), only=["two", "one"])
    data.setup()
    opened = Digits(str(tmp_path / "Digits"))
    assert data.task.labels == ("one", "two")
    kept = sum(int(label) > 0 for label in opened.targets)
    assert len(data.train_dataset) + len(data.val_dataset) == kept
    for sample in (data.train_dataset[i] for i in range(len(data.train_dataset))):
        row = int(sample["id"].split("/")[1])
        assert int(sample["label"]) == opened.targets[row] - 1
        assert np.array_equal(sample["image"][0].numpy(), opened.data[row])
    with pytest.raises(ValueError, match=r"only=\['one', 'ten'\]: 'ten' is no class of Digits: zero, one, two"):
        TorchvisionSet("Digits", root=str(tmp_path / "Digits"), only=["one", "ten"]).setup()
    with pytest.raises(ValueError, match=r"only=\['one'\]: must name at least two classes, each once"):
        TorchvisionSet("Digits", root=str(tmp_path), only=["one"])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Digitz", {}, "dataset='Digitz': torchvision.datasets has no such set"),
        ("SVHN", {}, "published=null: SVHN publishes splits by its option split"),
        ("MNIST", {"download": False}, "MNIST is not there"),
        ("ImageNet", {"published": {"train": {"split": "train"}}}, "torchvision does not download this set"),
    ],
)
def test_what_torchvision_cannot_give_is_said_in_one_line(name, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        TorchvisionSet(name, root=str(tmp_path), **options).prepare_data()


def test_two_folders_of_different_labels_are_merged_by_name(folder, tmp_path):
    for label in ("dog", "fox"):
        for i in range(10):
            picture(tmp_path / "more" / label / f"{i}.png", shade=20 * i)
    source = ImageFolder(str(folder), image_size=8)
    target = ImageFolder(str(tmp_path / "more"), image_size=8)
    data = MergedData(target, source, batch_size=4)
    data.setup()
    merged = data.training()[0]["source+target"]
    assert merged.union == ["cat", "dog", "eel", "fox"]
    batch = merged.batch(list(range(len(merged))))
    for name, label in zip(batch["id"], batch["label"].tolist(), strict=True):
        assert merged.union[label] == name.split("/")[0]


def test_a_picture_in_training_and_in_test_is_refused_or_allowed(tmp_path):
    for split in ("train", "test"):
        for label in ("a", "b"):
            for i in range(8):
                picture(tmp_path / split / label / f"{i}.png", shade=9 * i)
    ImageFolder(str(tmp_path), image_size=8).setup()
    shutil.copy(tmp_path / "train" / "a" / "0.png", tmp_path / "test" / "a" / "new.png")
    with pytest.raises(ValueError, match=r"duplicates=refuse: 1 of 17 test samples .* test/a/new.png, which is train"):
        ImageFolder(str(tmp_path), image_size=8).setup()
    data = ImageFolder(str(tmp_path), image_size=8, duplicates="allow")
    data.setup()
    assert len(data.test_dataset) == 17
    with pytest.raises(ValueError, match="duplicates=never: allowed: allow, refuse"):
        ImageFolder(str(tmp_path), image_size=8, duplicates="never").setup()


def test_errors_name_the_role(folder):
    data = SequentialData(ImageFolder(str(folder), image_size=8, train_size=99), ImageFolder(str(folder), image_size=8))
    with pytest.raises(ValueError, match=r"^target\.train_size=99: must be at most"):
        data.setup()
