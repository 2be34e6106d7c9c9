"""Every sample is looked at before training: what cannot be used is left out and said, nothing is changed silently."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.findings import KINDS, Findings
from datamodules.readers import examining, resize
from datamodules.readers.coco import CocoBoxes
from datamodules.readers.coco_masks import CocoMasks
from datamodules.readers.image_folder import ImageFolder
from datamodules.readers.label_maps import LabelMaps
from datamodules.readers.npz import NpzImages
from datamodules.readers.page_table import PageTable
from datamodules.readers.picture_table import PictureTable
from datamodules.readers.texts import TextTable
from datamodules.readers.torchvision_sets import TorchvisionSet
from datamodules.readers.voc import VocBoxes
from datamodules.remembered import Remembered, cache_folder
from datamodules.synthetic.pages import PageStreams
from datamodules.synthetic.scenes import Scenes

SPLITS = ("train", "val", "test")


def noise(number, size=(24, 24)):
    return np.random.RandomState(number).randint(0, 255, (*size, 3)).astype(np.uint8)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-200])


@pytest.fixture
def folder(tmp_path):
    for label, count in (("cat", 60), ("dog", 60)):
        (tmp_path / "all" / label).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(noise(i + 1000 * (label == "dog"))).save(tmp_path / "all" / label / f"{i:02}.png")
    return tmp_path / "all"


def ids(data):
    return {split: list(data.ids[split]) for split in SPLITS}


def found(data):
    return {(one.kind, one.unit): one.text for one in data.examine().found}


def test_one_truncated_picture_among_many_is_left_out_whatever_the_seed(folder, caplog):
    truncate(folder / "dog" / "03.png")
    for seed in (0, 1):
        data = ImageFolder(str(folder), image_size=16, seed=seed)
        data.setup()
        assert "dog/03.png" not in {name for some in ids(data).values() for name in some}
        assert sum(map(len, ids(data).values())) == 119
    assert "1 of 120 pictures unreadable, left out:" in caplog.text and "dog/03.png: cannot be read" in caplog.text


def test_the_others_are_cut_as_if_it_had_never_been_there(folder):
    without = shutil.copytree(folder, folder.parent / "without")
    (without / "dog" / "03.png").unlink()
    truncate(folder / "dog" / "03.png")
    one, other = ImageFolder(str(folder), image_size=16), ImageFolder(str(without), image_size=16)
    for data in (one, other):
        data.setup()
    assert ids(one) == ids(other) and one.fingerprint == other.fingerprint
    for split in SPLITS:
        fields = [getattr(data, f"{split}_dataset").fields for data in (one, other)]
        assert torch.equal(fields[0]["image"], fields[1]["image"])
        assert torch.equal(fields[0]["label"], fields[1]["label"])


def test_more_than_the_stated_share_is_refused(folder):
    for i in range(2):
        truncate(folder / "dog" / f"{i:02}.png")
    with pytest.raises(
        ValueError, match=r"^root=.*: 2 of 120 pictures cannot be used: .*; more than max_invalid=0\.01"
    ):
        ImageFolder(str(folder)).setup()
    ImageFolder(str(folder), max_invalid=0.02).setup()
    with pytest.raises(ValueError, match="max_invalid=2: must be from 0 to 1"):
        ImageFolder(str(folder), max_invalid=2)


def count_decoded(monkeypatch):
    decoded = []

    def fitted(picture, *arguments, **options):
        decoded.append(picture)
        return resize.fitted(picture, *arguments, **options)

    for module in ("images", "boxes", "masks", "page_table"):
        monkeypatch.setattr(f"datamodules.readers.{module}.fitted", fitted)
    return decoded


@pytest.mark.parametrize("lazy", [False, True])
def test_pictures_are_decoded_once_and_are_remembered(folder, monkeypatch, lazy):
    decoded = count_decoded(monkeypatch)
    if lazy:
        monkeypatch.setattr("datamodules.readers.images.IN_MEMORY", 10)
        monkeypatch.setattr(examining, "MOST_KEPT", 10)
    options = {"image_size": 16, "train_size": 10, "duplicates": "allow"}
    one = ImageFolder(str(folder), **options)
    one.setup()
    assert len(decoded) == 120 + lazy * 3  # one of each split tells how large they are
    decoded.clear()
    again = ImageFolder(str(folder), **options)
    again.setup()
    assert len(decoded) == 3 + (0 if lazy else 10 + 10 + 24)  # those that are used
    assert ids(one) == ids(again)
    decoded.clear()
    os.utime(folder / "cat" / "00.png", ns=(1, 1))
    truncate(folder / "cat" / "01.png")
    other = ImageFolder(str(folder), **options)
    assert other.examine().report()["counts"] == {"unreadable": {"pictures": 1}}
    assert len(decoded) == 2  # those that changed


def test_a_cache_that_is_broken_or_cannot_be_written_is_no_harm(folder, monkeypatch, tmp_path):
    ImageFolder(str(folder), image_size=16).setup()
    (file,) = cache_folder().iterdir()
    for content in (b"nothing", b"[]", b'{"schema": 1, "known": 3}', b'{"schema": 9, "known": {}}'):
        file.write_bytes(content)
        decoded = count_decoded(monkeypatch)
        ImageFolder(str(folder), image_size=16).examine()
        assert len(decoded) == 120
    known = json.loads(file.read_text())["known"]
    for entry in ({}, [], [[[1, 1]]], [known[next(iter(known))][0], {"said": 3}]):
        file.write_text(json.dumps({"schema": 1, "known": dict.fromkeys(known, entry)}))
        assert not ImageFolder(str(folder), image_size=16).examine().found
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    ImageFolder(str(folder), image_size=16).setup()


def test_what_is_remembered_is_of_one_address(tmp_path):
    (tmp_path / "x").touch()
    one = Remembered("a")
    one.put([tmp_path / "x"], {"said": []})
    one.save()
    assert Remembered("a").get([tmp_path / "x"]) == {"said": []}
    assert Remembered("b").get([tmp_path / "x"]) is None
    (tmp_path / "x").write_text("more")
    assert Remembered("a").get([tmp_path / "x"]) is None
    (tmp_path / "x").unlink()
    assert Remembered("a").get([tmp_path / "x"]) is None


def deep(path, most):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.RandomState(most).randint(0, most, (12, 12)).astype(np.uint16)
    values[0, 0] = most
    Image.fromarray(values).save(path)
    return values


def test_sixteen_bits_are_read_by_the_range_of_the_whole_dataset_and_that_is_said(tmp_path, caplog):
    values = {}
    for label in ("a", "b"):
        for i in range(10):
            name = f"{label}/{i}.png"
            values[name] = deep(tmp_path / name, 4000 if name == "b/7.png" else 200 + i + 20 * (label == "b"))
    for seed, train_size in ((0, None), (1, 4)):
        data = ImageFolder(str(tmp_path), image_size=None, channels=1, seed=seed, train_size=train_size)
        data.setup()
        assert data.bits == 12 and data.findings.report()["bits"] == 12
        for split in SPLITS:
            dataset = getattr(data, f"{split}_dataset")
            for i in range(len(dataset)):
                sample = dataset[i]
                assert np.array_equal(sample["image"][0].numpy(), values[sample["id"]] >> 4)
    assert "16-bit pictures have values up to 4000; they are read as 12 bits" in caplog.text
    again = ImageFolder(str(tmp_path), image_size=None, channels=1)
    again.setup()  # from what is remembered
    assert again.bits == 12
    set_ = ImageFolder(str(tmp_path), image_size=None, channels=1, bits=16, duplicates="allow")
    set_.setup()
    assert int(set_.train_dataset[0]["image"].max()) <= 4000 >> 8
    with pytest.raises(ValueError, match=r"1 of 20 pictures cannot be used: .*the value 4000, more than 10 bits hold"):
        ImageFolder(str(tmp_path), image_size=None, channels=1, bits=10).setup()
    with pytest.raises(ValueError, match="bits=9: allowed: null, 8, 10, 12, 14, 16"):
        ImageFolder(str(tmp_path), bits=9)


def npz(path, labels):
    rng = np.random.RandomState(0)
    images = rng.randint(0, 255, (len(labels), 8, 8)).astype(np.uint8)
    np.savez(path, train_images=images, train_labels=np.asarray(labels)[:, None])
    return str(path)


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (0.7, "train/3 has the label 0.7, no class index"),
        (-1, "train/3 has the label -1, no class index"),
        (float("nan"), "train/3 has the label nan, no class index"),
        (float("inf"), "train/3 has the label inf, no class index"),
        (10**6, "train/3 has the label 1000000; without labels= there are at most 1000 classes"),
    ],
)
def test_labels_of_arrays_that_are_no_class_are_left_out(tmp_path, label, said):
    labels = [i % 2 for i in range(200)]
    labels[3] = label
    data = NpzImages(npz(tmp_path / "x.npz", labels))
    data.setup()
    assert "train/3" not in {name for some in ids(data).values() for name in some} and data.task.labels == ("0", "1")
    assert said in found(data)["unlabelled", "pictures"]
    for split in SPLITS:
        dataset = getattr(data, f"{split}_dataset")
        assert all(int(dataset[i]["label"]) == int(dataset[i]["id"].split("/")[1]) % 2 for i in range(len(dataset)))
    with pytest.raises(ValueError, match="1 of 20 pictures cannot be used: train/3 has the label"):
        NpzImages(npz(tmp_path / "y.npz", labels[:20])).setup()


def test_whole_numbers_as_floats_are_read_and_said_and_words_are_refused(tmp_path):
    data = NpzImages(npz(tmp_path / "x.npz", [float(i % 2) for i in range(40)]))
    data.setup()
    assert "train_labels are float64; whole numbers are read as class indices" in data.findings.notes
    with pytest.raises(ValueError, match="train_labels must be class indices, not <U"):
        NpzImages(npz(tmp_path / "y.npz", ["a", "b"] * 10)).setup()


def voc(folder, name, objects, size="", picture=None, exif=None):
    for part in ("JPEGImages", "Annotations"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    array = noise(int(name[1:]), (20, 30)) if picture is None else picture
    Image.fromarray(array).save(folder / "JPEGImages" / f"{name}.jpg", quality=100, **({"exif": exif} if exif else {}))
    items = [
        f"<object>{'' if label is None else f'<name>{label}</name>'}<bndbox><xmin>{a}</xmin><ymin>{b}</ymin>"
        f"<xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for label, a, b, c, d in objects
    ]
    (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{size}{''.join(items)}</annotation>")


def test_an_object_without_a_name_or_a_number_is_no_class(tmp_path):
    for i in range(10):
        voc(tmp_path, f"p{i}", [("cat", 3, 3, 20, 15)])
    voc(tmp_path, "p3", [(None, 2, 2, 9, 9), (" ", 2, 2, 9, 9), ("cat", 3, 3, 20, 15), ("cat", "left", 3, 20, 15)])
    data = VocBoxes(str(tmp_path), image_size=32, max_invalid=0.3)
    data.setup()
    assert data.task.labels == ("cat",)
    texts = data.findings.of("unlabelled", "boxes")
    assert texts == ["p3: a box (1, 1, 9, 9) has no label"] * 2
    assert data.findings.of("unreadable", "boxes") == ["p3: cat (nan, 2, 20, 15) has a corner that is no number"]
    with pytest.raises(ValueError, match="3 of 13 boxes cannot be used"):
        VocBoxes(str(tmp_path)).setup()


SIZE = "<size><width>{}</width><height>{}</height></size>"


def rotated(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return exif


def marked(left, top, right, bottom, size=(20, 30)):
    values = np.zeros((*size, 3), np.uint8)
    values[top:bottom, left:right] = 255
    return values


def lit(image):
    rows, columns = torch.where(image[0] > 127)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


@pytest.mark.parametrize("orientation", [6, 8])
def test_boxes_fit_a_turned_picture_whichever_way_the_tool_counted(tmp_path, orientation):
    shown = {6: (20 - 12, 5, 20 - 4, 17), 8: (4, 30 - 17, 12, 30 - 5)}[orientation]  # of 5..17 x 4..12 as it is stored
    for i in range(10):
        voc(tmp_path, f"p{i}", [("cat", 3, 3, 20, 15)], SIZE.format(30, 20))
    of_stored = [("cat", 6, 5, 17, 12)]
    of_shown = [("cat", shown[0] + 1, shown[1] + 1, shown[2], shown[3])]
    for name, boxes, size in (("p1", of_stored, (30, 20)), ("p2", of_shown, (20, 30))):
        picture = marked(5, 4, 17, 12)
        voc(tmp_path, name, boxes, SIZE.format(*size), picture, rotated(orientation))
    data = VocBoxes(str(tmp_path), image_size=[30, 20], duplicates="allow")
    part = data.published()["train"]
    for row in (1, 2):
        sample = data.reading(part, row).value
        assert sample["boxes"].tolist() == [lit(sample["image"])] == [list(map(float, shown))]
    data.setup()
    assert not data.findings.found


@pytest.mark.parametrize(
    ("size", "orientation", "said"),
    [
        ("", 6, "p1: is turned to be shown (EXIF orientation 6), and nothing tells whether its boxes are"),
        (SIZE.format(0, 0), 6, "p1: is turned to be shown (EXIF orientation 6)"),
        (SIZE.format(30, 20), 3, "p1: is turned to be shown (EXIF orientation 3)"),
        (SIZE.format(60, 40), 1, "p1: boxes are of 60x40 pixels, the picture has 30x20"),
    ],
)
def test_boxes_that_may_mean_two_things_are_named(tmp_path, size, orientation, said):
    for i in range(10):
        voc(tmp_path, f"p{i}", [("cat", 3, 3, 20, 15)])
    voc(tmp_path, "p1", [("cat", 3, 3, 20, 15)], size, exif=rotated(orientation))
    data = VocBoxes(str(tmp_path), image_size=32)
    assert said in found(data)["ambiguous", "pictures"]
    with pytest.raises(ValueError, match="1 of 10 pictures cannot be used"):
        data.setup()


def coco(folder, **change):
    (folder / "train").mkdir(parents=True, exist_ok=True)
    images, notes = [], []
    for i in range(10):
        Image.fromarray(noise(i, (20, 30))).save(folder / "train" / f"{i}.jpg")
        images.append({"id": i, "file_name": f"{i}.jpg", "height": 20, "width": 30})
        square = [[5, 4, 17, 4, 17, 12, 5, 12]]
        notes.append({"id": i, "image_id": i, "category_id": 1, "bbox": [5, 4, 12, 8], "segmentation": square})
    notes[0] |= change
    content = {"images": images, "annotations": notes, "categories": [{"id": 1, "name": "cat"}]}
    (folder / "a.json").write_text(json.dumps(content))
    return {"root": str(folder), "annotations": {"train": "a.json"}}


@pytest.mark.parametrize("bbox", ["5555", [5, 5, 5], ["5", 5, 5, 5], [True, 5, 5, 5], [float("nan"), 5, 5, 5], None])
def test_a_bbox_that_is_no_four_numbers_is_left_out(tmp_path, bbox):
    data = CocoBoxes(**coco(tmp_path, bbox=bbox), max_invalid=0.1)
    data.setup()
    said = f"annotation 0 of picture 0 has the bbox {bbox!r}, not four numbers"
    assert found(data) == {("unreadable", "boxes"): said}
    with pytest.raises(ValueError, match="1 of 10 boxes cannot be used: annotation 0 of picture 0"):
        CocoBoxes(**coco(tmp_path, bbox=bbox)).setup()


@pytest.mark.parametrize("reader", [CocoBoxes, CocoMasks])
def test_a_category_needs_a_name(tmp_path, reader):
    given = coco(tmp_path)
    content = json.loads((tmp_path / "a.json").read_text())
    (tmp_path / "a.json").write_text(json.dumps({**content, "categories": [{"id": 1, "name": None}]}))
    with pytest.raises(ValueError, match=r"is not of the form of COCO's JSON: category 1 has no name"):
        reader(**given)


def test_outlines_follow_a_turned_picture(tmp_path):
    given = coco(tmp_path)
    Image.fromarray(marked(5, 4, 17, 12)).save(tmp_path / "train" / "0.jpg", exif=rotated(6), quality=100)
    data = CocoMasks(**given, image_size=[30, 20], duplicates="allow")
    sample = data.reading(data.published()["train"], 0).value
    assert lit(sample["image"]) == lit(sample["mask"][None] * 200) == [8, 5, 16, 17]


@pytest.mark.parametrize("stored", [True, False])
def test_label_maps_follow_a_turned_picture(tmp_path, stored):
    for i in range(10):
        values = marked(5, 4, 17, 12)[..., 0] // 255
        for part in ("train", "trainannot"):
            (tmp_path / part).mkdir(exist_ok=True)
        exif = {"exif": rotated(6)} if i == 0 else {}
        Image.fromarray(marked(5, 4, 17, 12) - i).save(tmp_path / "train" / f"{i}.png", **exif)
        turned = np.rot90(values, -1) if i == 0 and not stored else values
        Image.fromarray(turned.copy()).save(tmp_path / "trainannot" / f"{i}.png")
    data = LabelMaps(str(tmp_path), ["ground", "thing"], image_size=60, duplicates="allow")
    sample = data.reading(data.published()["train"], 0).value
    assert lit(sample["image"]) == lit((sample["mask"] == 1)[None].int() * 200)
    data.setup()
    assert not data.findings.found and data.findings.classes == {"ground": 10, "thing": 10}


def test_excels_mark_is_no_part_of_a_name(tmp_path):
    lines = "".join(f"message {i},{'ham' if i % 2 else 'spam'}\n" for i in range(40))
    (tmp_path / "x.csv").write_text("text,label\n" + lines, encoding="utf-8-sig")
    data = TextTable(str(tmp_path / "x.csv"))
    data.setup()
    assert data.task.labels == ("ham", "spam") and len(data.rows) == 40


def test_a_row_without_a_label_is_left_out(tmp_path, folder):
    lines = "".join(f"message {i},{'ham' if i % 2 else 'spam'}\n" for i in range(199))
    (tmp_path / "x.csv").write_text(f"text,label\n{lines}something, \n")
    data = TextTable(str(tmp_path / "x.csv"))
    data.setup()
    assert data.task.labels == ("ham", "spam") and found(data) == {("unlabelled", "rows"): "row 201 has no label"}
    rows = "".join(f"cat/{i:02}.png,a\ndog/{i:02}.png,b\n" for i in range(59))
    (folder / "x.csv").write_text(f"picture,label\n{rows}cat/59.png,\n")
    pictures = PictureTable(str(folder / "x.csv"), image_size=16)
    pictures.setup()
    assert pictures.task.labels == ("a", "b") and found(pictures) == {("unlabelled", "rows"): "row 120 has no label"}
    (tmp_path / "x.csv").write_text("text,label\na,\nb, \n")
    with pytest.raises(ValueError, match=r"x\.csv: no row has a label"):
        TextTable(str(tmp_path / "x.csv"))


def test_a_page_whose_picture_cannot_be_read_is_left_out(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "texts").mkdir()
    rows = []
    for i in range(120):
        Image.fromarray(noise(i)).save(tmp_path / "pictures" / f"{i}.png")
        (tmp_path / "texts" / f"{i}.txt").write_text(f"page {i}")
        rows.append(f"{i},{'ab'[i % 2]}\n")
    truncate(tmp_path / "pictures" / "7.png")
    (tmp_path / "index.csv").write_text("id,label\n" + "".join(rows))
    data = PageTable(str(tmp_path), image_size=16)
    data.setup()
    assert "7.png" in found(data)["unreadable", "pictures"]
    for split in SPLITS:
        dataset = getattr(data, f"{split}_dataset")
        for i in range(len(dataset)):
            number = int(dataset[i]["id"])
            assert number != 7 and dataset[i]["text"] == f"page {number}" and int(dataset[i]["label"]) == number % 2


def test_a_set_of_torchvision_is_examined_too(tmp_path, monkeypatch):
    for split in SPLITS:
        for i in range(60):
            path = tmp_path / "2750" / "AB"[i % 2] / f"{split}{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise(i + 100 * SPLITS.index(split))).save(path)
    truncate(tmp_path / "2750" / "A" / "train0.jpg")
    monkeypatch.setattr("torchvision.datasets.EuroSAT.__init__", euro_sat)
    data = TorchvisionSet("EuroSAT", str(tmp_path), image_size=16, download=False)
    data.setup()
    assert sum(map(len, ids(data).values())) == 179 and len(data.findings.of("unreadable", "pictures")) == 1
    decoded = count_decoded(monkeypatch)
    again = TorchvisionSet("EuroSAT", str(tmp_path), image_size=16, download=False)
    again.examine()
    assert not decoded  # its files are known


def euro_sat(self, root, transform=None, target_transform=None, download=False):
    import torchvision

    torchvision.datasets.ImageFolder.__init__(self, f"{root}/2750")


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"a": 30}, "all samples are of one class, a: there is nothing to tell apart"),
        ({"a": 30, "b": 0, "c": 30}, "no sample is of b"),
        ({"a": 30, "b": 4}, "fewer than 5 samples are of b (4)"),
        ({"a": 101, "b": 5}, "101 samples are of a and 5 of b: more than 20 to 1"),
        ({"a": 10, "A ": 10}, "classes 'a' and 'A ' differ in blanks or the case of letters alone"),
        ({"a": 100, "b": 5}, None),
    ],
)
def test_odd_numbers_of_samples_by_class_are_told(counts, said):
    findings = Findings("root=x")
    findings.weigh(counts)
    assert findings.notes == ([] if said is None else [said])


def test_one_class_alone_is_told_where_it_is_read(tmp_path, caplog):
    (tmp_path / "x.csv").write_text("text,label\n" + "".join(f"message {i},ham\n" for i in range(40)))
    TextTable(str(tmp_path / "x.csv")).setup()
    assert "x.csv: all samples are of one class, ham" in caplog.text


def test_classes_of_boxes_are_those_that_count(tmp_path):
    for i in range(10):
        voc(tmp_path, f"p{i}", [("cat", 3, 3, 20, 15), ("dog", 2, 2, 9, 9)][: 1 + (i == 0)])
    data = VocBoxes(str(tmp_path), labels=["cat", "dog", "eel"], image_size=32)
    data.setup()
    assert data.findings.classes == {"cat": 10, "dog": 1, "eel": 0}
    assert data.findings.notes == ["no sample is of eel", "fewer than 5 samples are of dog (1)"]


@pytest.mark.parametrize("made", [Scenes, PageStreams])
@pytest.mark.parametrize("size", ["train_size", "val_size"])
def test_more_than_can_be_made_is_refused_at_once(made, size):
    with pytest.raises(ValueError, match=f"^{size}=999999999: must be at most 100000, as these samples are made in"):
        made(**{size: 999_999_999})


def test_one_class_of_boxes_is_nothing_odd(tmp_path):
    for i in range(10):
        voc(tmp_path, f"p{i}", [("cat", 3, 3, 20, 15)])
    assert not VocBoxes(str(tmp_path), image_size=32).examine().notes


def test_a_report_counts_by_kind_and_lists_each(folder):
    truncate(folder / "dog" / "03.png")
    data = ImageFolder(str(folder), image_size=16)
    report = json.loads(json.dumps(data.examine().report()))
    assert report["items"] == {"pictures": 120} and report["left_out"] == {"pictures": 1}
    assert report["counts"] == {"unreadable": {"pictures": 1}} and report["classes"] == {"cat": 60, "dog": 59}
    (one,) = report["found"]
    assert one["kind"] in KINDS and one["left_out"] and "dog/03.png" in one["text"]
