from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.base import InMemory
from datamodules.label_map import LabelMap, Relabelled, relabelled
from datamodules.readers.boxes import LazySamples
from datamodules.readers.coco import CocoBoxes
from datamodules.readers.coco_masks import CocoMasks
from datamodules.readers.image_folder import ImageFolder
from datamodules.readers.label_maps import LabelMaps
from datamodules.readers.npz import NpzImages
from datamodules.readers.page_table import PageTable
from datamodules.readers.picture_table import PictureTable
from datamodules.readers.texts import TextTable
from tl_modules.task import Task

MAP = {"cat": "Pet", "dog": "Pet", "old": None}
CLASSES = ("cat", "dog", "fox", "old")
EVERY = ("train", "val", "test")


def pictures(folder: Path, count: int, start: int = 0) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.RandomState(start)
    paths = [folder / f"{start + i}.png" for i in range(count)]
    for path in paths:
        Image.fromarray(rng.randint(0, 255, (12, 12, 3)).astype(np.uint8)).save(path)
    return paths


def samples(data: Any, *splits: str) -> list[dict[str, Any]]:
    sets = [getattr(data, f"{split}_dataset") for split in splits or EVERY]
    return [one[i] for one in sets for i in range(len(one))]


def folder_of_classes(root: Path) -> ImageFolder:
    for place, name in enumerate(CLASSES):
        pictures(root / name, 10, 100 * place)
    return ImageFolder(str(root), labels=MAP, image_size=8)


def arrays(root: Path) -> NpzImages:
    rng = np.random.RandomState(0)
    images, labels = rng.randint(0, 255, (40, 8, 8)).astype(np.uint8), np.arange(40) % 4
    np.savez(root / "x.npz", train_images=images, train_labels=labels)
    return NpzImages(str(root / "x.npz"), labels={"0": "Pet", "1": "Pet", "2": "fox", "3": None})


def table_of_pictures(root: Path) -> PictureTable:
    paths = pictures(root, 40)
    lines = [f"{path.name},{CLASSES[i % 4]}" for i, path in enumerate(paths)]
    (root / "x.csv").write_text("\n".join(["picture,label", *lines]))
    return PictureTable(str(root / "x.csv"), labels=MAP, image_size=8)


def table_of_texts(root: Path) -> TextTable:
    lines = [f"text {i},{CLASSES[i % 4]}" for i in range(40)]
    (root / "x.csv").write_text("\n".join(["text,label", *lines]))
    return TextTable(str(root / "x.csv"), labels=MAP, positive="fox")


def pages(root: Path) -> PageTable:
    paths = pictures(root / "pictures", 40)
    lines = [f"{path.stem},{CLASSES[i % 4]}" for i, path in enumerate(paths)]
    (root / "index.csv").write_text("\n".join(["id,label", *lines]))
    return PageTable(str(root), labels=MAP, inputs=["image"], image_size=32)


@pytest.mark.parametrize("made", [folder_of_classes, arrays, table_of_pictures, table_of_texts, pages])
def test_classes_are_renamed_joined_and_left_out_before_the_splits_are_cut(made: Any, tmp_path: Path) -> None:
    data = made(tmp_path)
    data.setup()
    assert data.task.labels == ("Pet", "fox")
    counts = {split: [0, 0] for split in EVERY}
    for split in EVERY:
        for one in samples(data, split):
            counts[split][int(one["label"])] += 1
    assert [sum(both) for both in zip(*counts.values(), strict=True)] == [20, 10]
    assert counts["test"] == [4, 2]  # in proportion of the names as they are called
    dropped = data.findings.report()["labels"]["dropped"]
    assert [list(some.values()) for some in dropped.values()] == [[10]]
    assert data.findings.classes == {"Pet": 20, "fox": 10}
    assert any("is dropped by labels=" in line for line in data.findings.lines())


def coco(root: Path) -> Path:
    """Write six pictures, each with a cat, a dog and something old."""
    paths = pictures(root / "train", 6)
    categories = [
        {"id": 1, "name": "cat"},
        {"id": 2, "name": "dog"},
        {"id": 3, "name": "old"},
        {"id": 4, "name": "fox"},
    ]
    images = [{"id": i, "file_name": path.name, "width": 12, "height": 12} for i, path in enumerate(paths)]
    notes = []
    for image in images:
        for category, x in ((1, 0), (2, 4), (3, 8)):
            box = [x, 0, 4, 6]
            outline = [[x, 0, x + 4, 0, x + 4, 6, x, 6]]
            notes.append({"image_id": image["id"], "category_id": category, "bbox": box, "segmentation": outline})
    notes[0] = {**notes[0], "category_id": 4}
    (root / "train.json").write_text(json.dumps({"images": images, "annotations": notes, "categories": categories}))
    return root


def test_boxes_are_renamed_joined_and_dropped(tmp_path: Path) -> None:
    data = CocoBoxes(str(coco(tmp_path)), {"train": "train.json"}, labels=MAP, image_size=12)
    data.setup()
    assert data.task is not None and data.task.labels == ("Pet", "fox")
    seen = samples(data)
    assert all(len(one["boxes"]) == len(one["box_labels"]) == len(one["box_ignore"]) == 2 for one in seen)
    assert sorted(label for one in seen for label in one["box_labels"].tolist()) == [0] * 11 + [1]
    assert data.findings.report()["labels"] == {"called": MAP, "dropped": {"old": {"boxes": 6}}}
    assert data.findings.classes == {"Pet": 11, "fox": 1}


def test_pixels_are_renamed_joined_and_ignored(tmp_path: Path) -> None:
    data = CocoMasks(str(coco(tmp_path)), {"train": "train.json"}, labels=MAP, image_size=12)
    data.setup()
    assert data.task is not None and data.task.labels == ("background", "Pet", "fox")
    found = torch.bincount(torch.cat([one["mask"].flatten() for one in samples(data)]), minlength=256)
    assert found[[0, 1, 2, 255]].tolist() == [6 * 72, 11 * 24, 24, 6 * 24]
    assert data.findings.classes["Pet"] == 6  # pictures, each once
    assert data.findings.report()["labels"]["dropped"] == {"old": {"pictures": 6}}


def test_label_maps_in_pictures_are_called_by_the_order_of_their_values(tmp_path: Path) -> None:
    for path in pictures(tmp_path / "train", 6):
        values = np.zeros((12, 12), np.uint8)
        values[:, 4:8], values[:, 8:] = 1, 2
        (tmp_path / "maps").mkdir(exist_ok=True)
        Image.fromarray(values).save(tmp_path / "maps" / path.name)
    called = {"road": "ground", "car": "vehicle", "void": None}
    data = LabelMaps(str(tmp_path), called, pictures="train", maps="maps")
    data.setup()
    assert data.task is not None and data.task.labels == ("ground", "vehicle")
    assert samples(data)[0]["mask"][0].tolist() == [0] * 4 + [1] * 4 + [255] * 4
    boxes = LabelMaps(str(tmp_path), called, boxes=["car"], pictures="train", maps="maps")
    boxes.setup()
    assert boxes.task is not None and boxes.task.labels == ("vehicle",)
    assert samples(boxes)[0]["boxes"].tolist() == [[4.0, 0.0, 8.0, 12.0]]


def test_what_a_map_cannot_do_is_said_with_a_name_that_is_near(tmp_path: Path) -> None:
    folder_of_classes(tmp_path)
    for labels, said in (
        ({"dgo": "Dog"}, r"labels\.dgo: is no name of this dataset; did you mean dog\? it has cat, dog, fox, old"),
        (dict.fromkeys(CLASSES), "drops all of cat, dog, fox, old"),
    ):
        with pytest.raises(ValueError, match=said):
            ImageFolder(str(tmp_path), labels=labels, image_size=8).setup()  # type: ignore[arg-type]
    (tmp_path / "x.csv").write_text("text,label\none,good\ntwo,bad\n")
    with pytest.raises(ValueError, match=r"labels\.goood: is no label in .*; did you mean good\? it has bad, good"):
        TextTable(str(tmp_path / "x.csv"), labels={"goood": "Good"})
    absent = TextTable(str(tmp_path / "x.csv"), labels={"good": "g", "bad": "b", "odd": "o"})
    assert absent.task is not None and absent.task.labels == ("g", "b", "o")  # a whole label space may have more


def test_samples_that_are_read_when_needed_are_called_alike() -> None:
    own = Task("t", "detection", ("a", "b", "c"))
    image = torch.zeros(3, 4, 4, dtype=torch.uint8)
    rows: list[dict[str, Any]] = [{"id": "0", "image": image, "boxes": torch.rand(2, 4)}]
    rows = [{**rows[0], "box_labels": torch.tensor([2, 1])}, {"id": "1", "image": image, "boxes": torch.rand(1, 4)}]
    rows[1]["box_labels"] = torch.tensor([0])
    labels = LabelMap({"a": None, "c": "b"})
    lazy = relabelled(LazySamples(rows.__getitem__, 2), own, labels)
    whole = relabelled(InMemory({key: [row[key] for row in rows] for key in rows[0]}), own, labels)
    assert isinstance(lazy, Relabelled) and lazy.fixed and len(lazy) == 2
    for index in range(2):
        for key in ("boxes", "box_labels", "box_ignore"):
            assert torch.equal(lazy[index][key], whole[index][key])
    assert lazy[0]["box_labels"].tolist() == [0, 0] and len(lazy[1]["boxes"]) == 0
    kinds = Task("t", "multilabel", ("a", "b", "c"))
    several = InMemory({"id": ["x"], "labels": torch.tensor([[1.0, 0.0, 1.0]])})
    assert relabelled(several, kinds, LabelMap({"a": None, "b": "c"})).fields["labels"].tolist() == [[1.0]]
