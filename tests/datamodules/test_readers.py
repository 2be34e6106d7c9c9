"""Readers of files: arrays, tables of texts, boxes in the layout of Pascal VOC."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.align import aligned
from datamodules.pair import CombinedData
from datamodules.readers import boxes as boxed
from datamodules.readers.boxes import LazySamples
from datamodules.readers.coco import CocoBoxes
from datamodules.readers.coco_masks import CocoMasks
from datamodules.readers.label_maps import LabelMaps
from datamodules.readers.npz import NpzImages
from datamodules.readers.picture_table import PictureTable
from datamodules.readers.texts import TextTable
from datamodules.readers.voc import VocBoxes
from tests.conftest import fit, trainer_for
from tl_modules import MultiTask


def arrays(**counts):
    rng = np.random.RandomState(0)
    made = {}
    for split, count in counts.items():
        made[f"{split}_images"] = rng.randint(0, 255, (count, 6, 6)).astype(np.uint8)
        made[f"{split}_labels"] = rng.randint(0, 2, (count, 1)).astype(np.uint8)
    return made


def test_arrays_keep_their_published_splits(tmp_path):
    given = arrays(train=20, val=6, test=8)
    np.savez(tmp_path / "x.npz", **given)
    data = NpzImages(str(tmp_path / "x.npz"), labels=["ill", "well"])
    data.setup()
    assert data.task.labels == ("ill", "well") and data.task.channels == 1
    for split in ("train", "val", "test"):
        dataset = getattr(data, f"{split}_dataset")
        assert len(dataset) == len(given[f"{split}_images"])
        for i in range(len(dataset)):
            row = int(dataset[i]["id"].split("/")[1])
            assert np.array_equal(dataset[i]["image"][0].numpy(), given[f"{split}_images"][row])
            assert int(dataset[i]["label"]) == given[f"{split}_labels"][row, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_labels": None}, "lacks the array train_labels; it holds train_images"),
        ({"train_labels": np.zeros((20, 3))}, r"train must be \(N, H, W\[, C\]\) and \(N,\) or \(N, 1\), not"),
        ({"train_images": np.zeros((20, 6, 6))}, "train_images must be uint8, not float64"),
        ({"train_labels": np.full((20, 1), 5)}, "the file has a class 5"),
        ({"train_labels": np.array(1)}, r"train must be \(N, H, W\[, C\]\) and"),
        ({"train_labels": np.array(["a"] * 20, dtype=object)}, "holds pickled objects, which are not read"),
        (
            {"train_images": np.zeros((0, 6, 6), np.uint8), "train_labels": np.zeros((0, 1))},
            "train_images has no picture",
        ),
        ({"train_images": np.zeros((20, 6, 6, 6), np.uint8)}, "must have 1 or 3 channels.*; volumes are not read"),
        ({"train_images": np.zeros((20, 3, 6, 6), np.uint8)}, "must have 1 or 3 channels.*; channels come last"),
    ],
)
def test_other_arrays_are_refused(tmp_path, change, message):
    given = {**arrays(train=20), **change}
    np.savez(tmp_path / "x.npz", **{name: value for name, value in given.items() if value is not None})
    with pytest.raises(ValueError, match=message):
        NpzImages(str(tmp_path / "x.npz"), labels=["ill", "well"]).setup()


def test_one_array_alone_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((20, 6, 6), np.uint8))
    with pytest.raises(ValueError, match=r"holds one array; it must be \.npz"):
        NpzImages(str(tmp_path / "x.npy")).setup()


def test_a_row_with_more_columns_than_the_first_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text("text,label\nhello,a,\nwell, a, b\n")
    with pytest.raises(ValueError, match="line 3 has more than the 2 columns of the first line; quote a text"):
        TextTable(str(tmp_path / "x.csv")).setup()


def test_a_table_of_texts(tmp_path):
    lines = [f'{i}\t{"spam" if i % 3 == 0 else "ham"}\tmessage "{i}\n' for i in range(60)]
    (tmp_path / "x.tsv").write_text("".join(lines))
    options = {"text": 2, "label": 1, "separator": "\t", "header": False, "quotes": False}
    data = TextTable(str(tmp_path / "x.tsv"), **options, labels={"ham": "fine", "spam": "spam"}, positive="spam")
    data.setup()
    assert data.task.labels == ("fine", "spam") and data.task.positive == "spam"
    ids = {split: set(getattr(data, f"{split}_dataset").fields["id"]) for split in ("train", "val", "test")}
    assert {split: len(part) for split, part in ids.items()} == {"train": 38, "val": 10, "test": 12}
    assert len(set.union(*ids.values())) == 60
    for i in range(38):
        sample = data.train_dataset[i]
        number = int(sample["text"].removeprefix('message "'))
        assert data.task.labels[sample["label"]] == ("spam" if number % 3 == 0 else "fine")
        assert sample["id"] == f"x.tsv:{number + 1}"


def test_an_empty_text_is_counted_and_left_out(tmp_path, caplog):
    (tmp_path / "x.csv").write_text("text,label\n" + "".join(f'"a, {i}",x\n' for i in range(199)) + " ,y\n")
    data = TextTable(str(tmp_path / "x.csv"))
    data.setup()
    assert len(data.rows) == 199 and data.rows[0][1] == "a, 0"
    assert "1 of 200 rows empty, left out: row 201 has no text" in caplog.text


def annotation(folder, name, boxes, size=(40, 20)):
    for part in ("JPEGImages", "Annotations"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 9 * int(name[1:]), 0)).save(folder / "JPEGImages" / f"{name}.png")
    items = [
        f"<object><name>{label}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox>"
        "</object>"
        for label, a, b, c, d in boxes
    ]
    (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{''.join(items)}</annotation>")


@pytest.fixture
def folder(tmp_path):
    for i in range(20):
        annotation(tmp_path, f"p{i:02}", [("cat", 11, 6, 20, 15), ("dog", 1, 1, 40, 20)] if i % 2 else [])
    return tmp_path


def test_boxes_follow_their_pictures(folder):
    data = VocBoxes(str(folder), image_size=20)
    data.setup()
    assert data.task.labels == ("cat", "dog")
    assert {split: part["count"] for split, part in data.splits().items()} == {"test": 4, "val": 3, "train": 13}
    sample = next(s for s in (data.train_dataset[i] for i in range(13)) if len(s["boxes"]))
    # 40x20 pixels become 20x10 with a border of 5 above and below; a box from pixel 11 to 20 is 10..20 before.
    assert sample["boxes"].tolist() == [[5, 7.5, 10, 12.5], [0, 5, 20, 15]]
    assert sample["box_labels"].tolist() == [0, 1]
    assert int(sample["image"][0, :5].max()) == 0 and int(sample["image"][0, 5:15].min()) > 150
    empty = next(s for s in (data.train_dataset[i] for i in range(13)) if not len(s["boxes"]))
    assert empty["boxes"].shape == (0, 4) and empty["box_labels"].dtype == torch.int64


def test_published_lists_are_kept_and_must_not_overlap(folder):
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(f"p{i:02}" for i in range(12)))
    (lists / "test.txt").write_text("\n".join(f"p{i:02}" for i in range(12, 20)))
    data = VocBoxes(str(folder), image_size=20)
    data.setup()
    assert {split: part["from"] for split, part in data.splits().items()} == {
        "test": "test",
        "val": "train",
        "train": "train",
    }
    (lists / "test.txt").write_text("p00\np13\n")
    with pytest.raises(ValueError, match="p00 is in train and in test"):
        VocBoxes(str(folder))
    (lists / "test.txt").write_text("p13\np99\n")
    with pytest.raises(ValueError, match="there is no picture p99"):
        VocBoxes(str(folder))


def test_annotations_beside_the_pictures_and_names_with_blanks_are_read(tmp_path):
    for i in range(12):
        annotation(tmp_path, f"p{i:02}", [("cat", 1, 1, 9, 9)])
    for path in [*(tmp_path / "JPEGImages").iterdir(), *(tmp_path / "Annotations").iterdir()]:
        path.rename(tmp_path / f"a {path.name}")
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("".join(f"a p{i:02}\n" for i in range(8)))
    (lists / "test.txt").write_text("".join(f"a p{i:02}  {(-1) ** i}\n" for i in range(8, 12)))
    data = VocBoxes(str(tmp_path), pictures=".", annotations=".", image_size=20)
    data.setup()
    assert {split: part["count"] for split, part in data.splits().items()} == {"test": 4, "val": 2, "train": 6}
    assert all(len(data.train_dataset[i]["boxes"]) == 1 for i in range(6))
    (tmp_path / "a p00.txt").write_text("0 0.5 0.5 1 1")
    VocBoxes(str(tmp_path), pictures=".", annotations=".").setup()
    shutil.copy(tmp_path / "a p00.png", tmp_path / "a p00.jpg")
    with pytest.raises(ValueError, match=r"a p00\.jpg and a p00\.png have the same name"):
        VocBoxes(str(tmp_path), pictures=".", annotations=".")


def test_boxes_without_area_are_counted_and_too_many_refused(folder, caplog):
    annotation(folder, "p01", [("cat", 5, 5, 5, 5), ("dog", 30, 5, 10, 9), ("cat", 11, 6, 20, 15)])
    data = VocBoxes(str(folder), image_size=20, max_invalid=0.2)
    data.setup()
    assert "2 of 21 boxes empty, left out: p01: cat (4, 4, 5, 5) has no area; p01: dog (29, 4, 10, 9)" in caplog.text
    assert len(dict(data.parts["train"])["p01"].boxes) == 1
    with pytest.raises(ValueError, match=r"2 of 21 boxes cannot be used: .*; more than max_invalid=0\.01 of all"):
        VocBoxes(str(folder)).setup()


def test_a_box_outside_of_its_picture_is_cut_or_gone_and_said(folder, caplog):
    annotation(folder, "p01", [("cat", 31, 11, 60, 40), ("dog", 50, 30, 60, 40)])
    annotation(folder, "p02", [("cat", 3.3, 3.1, 20.7, 15.9)])  # no whole numbers, and inside
    data = VocBoxes(str(folder), image_size=40, max_invalid=0.1)
    part = data.published()["train"]
    picture = data.reading(part, part.ids.index("p01")).value
    assert picture["boxes"].tolist() == [[30, 20, 40, 30]] and picture["box_labels"].tolist() == [0]
    data.setup()
    assert "1 of 21 boxes clipped: p01: cat (30, 10, 60, 40) stands out of its picture of 40x20" in caplog.text
    assert "1 of 21 boxes empty, left out: p01: dog (49, 29, 60, 40) is outside of its picture of 40x20" in caplog.text
    with pytest.raises(ValueError, match=r"1 of 21 boxes cannot be used: p01: dog .*; more than max_invalid=0 of all"):
        VocBoxes(str(folder), max_invalid=0).setup()


@pytest.mark.parametrize(
    ("labels", "message"),
    [(["cat"], r"labels=\['cat'\]: its boxes are of dog too")],
)
def test_unknown_labels_are_refused(folder, labels, message):
    with pytest.raises(ValueError, match=message):
        VocBoxes(str(folder), labels=labels)


def test_an_annotation_that_cannot_be_read_is_named(folder):
    (folder / "Annotations" / "p03.xml").write_text("<annotation>")
    with pytest.raises(
        ValueError, match=r"1 of 20 pictures cannot be used: .*p03\.xml cannot be read as an annotation"
    ):
        VocBoxes(str(folder)).setup()


def test_pictures_beyond_the_memory_are_read_when_needed(folder, monkeypatch):
    whole = VocBoxes(str(folder), image_size=20)
    whole.setup()
    monkeypatch.setattr(boxed, "IN_MEMORY", 10)
    lazy = VocBoxes(str(folder), image_size=20)
    lazy.setup()
    assert isinstance(lazy.train_dataset, LazySamples) and lazy.splits() == whole.splits()
    for i in range(3):
        for key, value in whole.train_dataset[i].items():
            other = lazy.train_dataset[i][key]
            assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other


@pytest.fixture
def street(tmp_path):
    """Pictures of 24x16 pixels whose maps have a sky, a car of 6x4 pixels, and void."""
    for split, count in (("train", 8), ("val", 3), ("test", 3)):
        for i in range(count):
            values = np.zeros((16, 24), np.uint8)
            values[2:6, 3 + i : 9 + i] = 1
            values[15] = 11
            marked = np.stack(
                [values * 90, values * 90, np.full_like(values, 20 * ("train", "val", "test").index(split) + i)], -1
            )
            for folder, array in ((split, marked), (f"{split}annot", values)):
                (tmp_path / folder).mkdir(exist_ok=True)
                Image.fromarray(array).save(tmp_path / folder / f"{i}.png")
    return tmp_path


STREET = {"labels": ["sky", "car"], "ignore": [11], "domain": "street"}


def test_label_maps_and_the_boxes_of_their_regions(street):
    maps = LabelMaps(str(street), **STREET)
    boxes = LabelMaps(str(street), **STREET, boxes=["car"], task="cars")
    for data in (maps, boxes):
        data.setup()
        assert {split: part["count"] for split, part in data.splits().items()} == {"test": 3, "val": 3, "train": 8}
    assert maps.task.kind == "segmentation" and boxes.task.labels == ("car",)
    for i in range(8):
        sample, other = maps.train_dataset[i], boxes.train_dataset[i]
        assert sample["id"] == other["id"] == f"train/{i}.png"
        assert sample["mask"].unique().tolist() == [0, 1, 255] and bool((sample["mask"][15] == 255).all())
        assert other["boxes"].tolist() == [[3 + i, 2, 9 + i, 6]] and other["box_labels"].tolist() == [0]
        assert bool((sample["image"][0][sample["mask"] == 1] == 90).all())
    assert LabelMaps(str(street), **STREET, boxes=["car"], smallest=25).dataset_of(
        boxes.published()["train"], [0]
    ).fields["boxes"][0].shape == (0, 4)


def test_what_is_ignored_in_maps_of_one_bit_is_no_label(tmp_path):
    for i in range(8):
        for part in ("train", "trainannot"):
            (tmp_path / part).mkdir(exist_ok=True)
        Image.fromarray(np.full((16, 24, 3), 20 * i, np.uint8)).save(tmp_path / "train" / f"{i}.png")
        values = np.zeros((16, 24), bool)
        values[: 2 + i] = True
        Image.fromarray(values).save(tmp_path / "trainannot" / f"{i}.png")
    data = LabelMaps(str(tmp_path), labels=["ground", "thing"], ignore=[0], domain="street")
    data.setup()
    for i in range(len(data.train_dataset)):
        sample = data.train_dataset[i]
        wanted = 2 + int(sample["id"].split("/")[-1].removesuffix(".png"))
        assert bool((sample["mask"][:wanted] == 1).all()) and bool((sample["mask"][wanted:] == 255).all())


def test_maps_are_brought_to_a_square_with_their_pictures(street):
    data = LabelMaps(str(street), **STREET, image_size=48)
    data.setup()
    sample = data.train_dataset[0]
    assert sample["image"].shape == (3, 48, 48) and sample["mask"].shape == (48, 48)
    rows, columns = torch.where(sample["mask"] == 1)
    assert (int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())) == (12, 19, 6, 17)
    assert bool((sample["mask"][:8] == 255).all()) and bool((sample["mask"][-8:] == 255).all())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("value", r"ignore=\[11\]: .*0\.png has the value 7, which is none of labels= either"),
        ("size", r"0\.png: must be \(H, W\) = \(16, 24\) as its picture, not \(8, 8\)"),
        ("missing", r"trainannot has no map for 0\.png"),
        ("broken", r"0\.png: cannot be read as a label map"),
    ],
)
def test_maps_that_do_not_fit_are_named(street, change, message):
    path = street / "trainannot" / "0.png"
    if change == "missing":
        path.unlink()
    elif change == "broken":
        path.write_bytes(b"x")
    else:
        Image.fromarray(np.full((16, 24) if change == "value" else (8, 8), 7, np.uint8)).save(path)
    with pytest.raises(ValueError, match=message):
        LabelMaps(str(street), **STREET).setup()


def test_samples_with_both_targets_are_matched_by_id(street):
    source = LabelMaps(str(street), **STREET)
    target = LabelMaps(str(street), **STREET, boxes=["car"], train_size=3)
    for data in (source, target):
        data.setup()
    both = aligned(source, target)
    assert len(both) == 8
    batch = both.batch(list(range(8)))
    assert batch["mask"].shape == (8, 16, 24) and len(batch["boxes"]) == 3
    assert batch["boxes_rows"].tolist() == [0, 1, 2]
    for row in range(3):
        number = int(batch["id"][row].removeprefix("train/").removesuffix(".png"))
        assert batch["boxes"][row].tolist() == [[3 + number, 2, 9 + number, 6]]
    assert set(batch["id"]) == {f"train/{i}.png" for i in range(8)}
    other = LabelMaps(str(street), **STREET, boxes=["car"], pictures="test", maps="testannot")
    other.setup()
    with pytest.raises(ValueError, match=r"the target's sample test/.\.png is none of the source's"):
        aligned(source, other)


def test_aligned_pictures_train_both_tasks_in_one_pass(street):
    target = LabelMaps(str(street), **STREET, boxes=["car"], task="cars")
    source = LabelMaps(str(street), **STREET)
    data = CombinedData(target, source, mode="aligned", aligned_dataset=aligned, batch_size=4)
    data.setup()
    assert list(data.whole("val", ["source", "target"])) == ["source+target"]
    assert list(data.whole("val", ["target"])) == ["target"]
    module = MultiTask(target.task, source=source.task)
    tested = []
    for loaders in (data.whole("test", ["source", "target"]), {r: data.whole("test", [r])[r] for r in data.data}):
        tested.append({k: v for part in trainer_for(1).test(module, loaders, verbose=False) for k, v in part.items()})
    assert tested[0] == tested[1] and {"test/source/miou", "test/target/loss"} <= set(tested[0])
    before = {name: value.clone() for name, value in module.named_parameters()}
    fit(module, data, steps=2)
    moved = [name for name, value in module.named_parameters() if not torch.equal(value, before[name])]
    for part in ("stem.shared", "trunk.shared", "head.source", "head.target"):
        assert any(name.startswith(f"parts.{part}.") for name in moved)


def test_coco_gives_the_same_boxes(folder, tmp_path):
    wanted = VocBoxes(str(folder), image_size=20)
    files = sorted((folder / "JPEGImages").iterdir())
    content = {
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "images": [{"id": i, "file_name": path.name} for i, path in enumerate(files)],
        "annotations": [
            {"image_id": i, "category_id": k, "bbox": box}
            for i in range(1, 20, 2)
            for k, box in ((3, [10, 5, 10, 10]), (7, [0, 0, 40, 20]))
        ],
    }
    content["annotations"].append({"image_id": 0, "category_id": 3, "bbox": [0, 0, 9, 9], "iscrowd": 1})
    (folder / "all.json").write_text(json.dumps(content))
    data = CocoBoxes(str(folder), {"train": "all.json"}, "JPEGImages", image_size=20)
    for one in (wanted, data):
        one.setup()
    assert data.task.labels == wanted.task.labels
    for i in range(len(wanted.train_dataset)):
        one, other = wanted.train_dataset[i], data.train_dataset[i]
        assert other["id"] == f"JPEGImages/{one['id']}.png"
        counted = other["box_ignore"] == 0
        assert int((~counted).sum()) == (one["id"] == "p00")  # the crowd
        for key in ("boxes", "box_labels", "box_ignore"):
            assert torch.equal(one[key], other[key][counted])
    for change, message in (
        ({"images": [{"id": 0, "file_name": "no.png"}], "annotations": []}, "there is no picture .*no.png"),
        ({"categories": []}, "JSON: an annotation has category_id 3, which is not in categories"),
        ({"images": 2 * content["images"]}, "JSON: two pictures have the id 0"),
        ({"images": content["images"][1:]}, "JSON: an annotation has image_id 0, which is not in images"),
        ({"images": [{"id": 0}]}, "JSON: 'file_name' is missing in it"),
    ):
        (folder / "all.json").write_text(json.dumps({**content, **change}))
        with pytest.raises(ValueError, match=message):
            CocoBoxes(str(folder), {"train": "all.json"}, "JPEGImages")


def test_a_table_of_pictures(tmp_path):
    lines = []
    for i in range(20):
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.new("RGB", (10, 10), (10 * i, 0, 0)).save(tmp_path / "in" / f"{i}.png")
        lines.append(f"in/{i}.png;{'k' if i < 10 else 'm'}\n")
    (tmp_path / "x.csv").write_text("".join(lines))
    options = {"picture": 0, "label": 1, "separator": ";", "header": False, "labels": {"k": "dark", "m": "light"}}
    data = PictureTable(str(tmp_path / "x.csv"), **options, image_size=8)
    data.setup()
    assert data.task.labels == ("dark", "light")
    for split in ("train", "val", "test"):
        dataset = getattr(data, f"{split}_dataset")
        for i in range(len(dataset)):
            number = int(dataset[i]["id"].removeprefix("in/").removesuffix(".png"))
            assert int(dataset[i]["image"].float().amax()) == 10 * number
            assert int(dataset[i]["label"]) == (number >= 10)
    for more, message in (("in/99.png;k\n", "row 21 names in/99.png"), ("in/3.png;k\n", "rows 4 and 21 both name")):
        (tmp_path / "x.csv").write_text("".join([*lines, more]))
        with pytest.raises(ValueError, match=message):
            PictureTable(str(tmp_path / "x.csv"), **options).setup()


def outlines(folder, change=None):
    (folder / "train").mkdir(parents=True)
    images, notes = [], []
    for i in range(10):
        Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(folder / "train" / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "height": 20, "width": 30})
        square = [[2, 2, 22, 2, 22, 18, 2, 18]]
        runs = [9 * 9] if change == "size" else [5 * 20, 3 * 20, 22 * 20]  # columns 5 to 7, counted down each column
        counts = {"size": [9, 9] if change == "size" else [20, 30], "counts": runs}
        notes.append({"id": 2 * i, "image_id": i, "category_id": 9, "segmentation": square})
        notes.append({"id": 2 * i + 1, "image_id": i, "category_id": 4, "segmentation": counts, "iscrowd": 1})
    if change == "empty":
        notes[0]["segmentation"] = [[1, 1, 2, 2]]
    if change == "number":
        notes[0]["segmentation"] = [[2, 2, float("nan"), 2, 22, 18]]
    if change == "runs":
        notes[1]["segmentation"] = {"size": [20, 30], "counts": [5, 5]}
    if change == "text":
        notes[1]["segmentation"] = {"size": [20, 30], "counts": "abc"}
    if change == "category":
        notes[0]["category_id"] = 5
    names = [{"id": 9, "name": "road"}, {"id": 4, "name": "pole"}]
    content = {"images": images, "annotations": notes, "categories": names}
    (folder / "a.json").write_text(json.dumps(content))
    return {"root": str(folder), "annotations": {"train": "a.json"}, "image_size": None, "duplicates": "allow"}


def test_outlines_become_masks_with_the_smallest_in_front(tmp_path):
    data = CocoMasks(**outlines(tmp_path))
    data.setup()
    assert data.task.labels == ("background", "pole", "road")
    mask = data.train_dataset[0]["mask"]
    assert mask.shape == (20, 30) and bool((mask[:, 5:8] == 1).all())
    assert bool((mask[3:17, 9:21] == 2).all()) and bool((mask[:, 24:] == 0).all()) and bool((mask[19, :5] == 0).all())
    other = CocoMasks(**{**outlines(tmp_path / "x"), "labels": ["road", "sky", "pole"], "image_size": 32})
    other.setup()
    assert other.task.labels == ("background", "road", "sky", "pole")
    wide = other.train_dataset[0]["mask"]
    assert wide.shape == (32, 32) and set(wide.unique().tolist()) == {0, 1, 3, 255}


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ("size", {}, r"run lengths of pole are of \(H, W\) = \[9, 9\], not \(20, 30\)"),
        ("empty", {}, "1 of 20 outlines cannot be used: annotation 0 of picture 0 has no outline"),
        ("number", {}, "1 of 10 pictures cannot be used: annotation 0 of picture 0 has a polygon that is no list"),
        ("runs", {}, "1 of 10 pictures cannot be used: annotation 1 of picture 0 has run lengths that do not add up"),
        ("text", {}, "1 of 10 pictures cannot be used: .*run lengths of pole cannot be read"),
        (
            "category",
            {},
            "is not of the form of COCO's JSON: annotation 0 has category_id 5, which is not in categories",
        ),
        (None, {"labels": ["road"]}, "its outlines are of pole too"),
        (None, {"annotations": {"val": "a.json"}}, "must name a file for train"),
    ],
)
def test_outlines_that_do_not_fit_are_named(tmp_path, change, options, message):
    given = {**outlines(tmp_path, change), **options}
    with pytest.raises(ValueError, match=message):
        CocoMasks(**given).setup()


def test_pictures_may_lie_outside_of_the_root(tmp_path):
    given = outlines(tmp_path / "x")
    (tmp_path / "y").mkdir()
    shutil.copy(tmp_path / "x" / "a.json", tmp_path / "y" / "a.json")
    data = CocoMasks(**{**given, "root": str(tmp_path / "y"), "pictures": str(tmp_path / "x" / "train")})
    data.setup()
    assert data.train_dataset[0]["id"].startswith("../x/train/")


def test_boxes_and_masks_of_the_same_files_are_aligned(tmp_path):
    given = outlines(tmp_path)
    for split in ("val", "test"):
        shutil.copytree(tmp_path / "train", tmp_path / split)
    content = json.loads((tmp_path / "a.json").read_text())
    for one in content["annotations"]:
        one |= {"bbox": [2, 2, 20, 16], "iscrowd": 0}
    (tmp_path / "a.json").write_text(json.dumps(content))
    given |= {"annotations": dict.fromkeys(("train", "val", "test"), "a.json"), "image_size": 32}
    masks, boxes = CocoMasks(**given), CocoBoxes(**given)
    for data in (masks, boxes):
        data.setup()
    both = aligned(masks, boxes)
    batch = both.batch(list(range(10)))
    assert batch["mask"].shape == (10, 32, 32) and len(batch["boxes"]) == 10 and "boxes_rows" not in batch
    pair = CombinedData(boxes, masks, mode="aligned", aligned_dataset=aligned, batch_size=4)
    assert list(pair.whole("test", ["source", "target"])) == ["source+target"]


def test_rows_of_a_table_whose_picture_is_missing_are_left_out_up_to_a_share(tmp_path):
    lines = ["picture\tlabel"]
    for i in range(20):
        Image.new("RGB", (10, 10), (10 * i, 0, 0)).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png\t{'dark' if i < 10 else 'light'}")
    (tmp_path / "x.tsv").write_text("\n".join(lines))
    (tmp_path / "3.png").unlink()
    (tmp_path / "7.png").write_text("no picture")
    with pytest.raises(
        ValueError, match=r"has no column picture; it has one, 'picture.tlabel'; what is between columns"
    ):
        PictureTable(str(tmp_path / "x.tsv"))
    with pytest.raises(ValueError, match=r"1 of 20 rows cannot be used: row 5 names 3.png, which is no file in"):
        PictureTable(str(tmp_path / "x.tsv"), separator="\\t").setup()
    data = PictureTable(str(tmp_path / "x.tsv"), separator="\\t", max_invalid=0.1)
    data.setup()
    assert len(set().union(*data.ids.values())) == 18 and len(data.findings.found) == 2
    (tmp_path / "y.csv").write_text("picture,label\na.png,x\nb.png,y\n")
    with pytest.raises(ValueError, match=r"row 2 names a.png, which is no file in .*, and so do all others"):
        PictureTable(str(tmp_path / "y.csv"))
