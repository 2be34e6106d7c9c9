"""What is not judged: values in label maps that are no label, boxes that are difficult or crowds."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule
from PIL import Image
from torch.utils.data import Dataset

from datamodules.align import aligned
from datamodules.base import InMemory
from datamodules.collate import collate
from datamodules.merge import join
from datamodules.pair import MergedData, PairedData
from datamodules.readers.coco import CocoBoxes
from datamodules.readers.label_maps import LabelMaps
from datamodules.readers.masks import MaskedPictures
from datamodules.readers.voc import VocBoxes
from tests.conftest import fit, trainer_for
from tl_modules.augment import Augment
from tl_modules.backbones import build_backbone
from tl_modules.heads import build_head
from tl_modules.module import TransferModule
from tl_modules.task import CROWD, IGNORED, Task, box_fields

PIXELS = Task("pixels", "segmentation", ("sky", "car"), "x")


class Masks(Dataset):
    def __init__(self, start, value=0):
        self.start, self.value = start, value

    def __len__(self):
        return 6

    def __getitem__(self, index):
        image = torch.full((3, 16, 16), self.start + index, dtype=torch.uint8)
        mask = torch.zeros(16, 16, dtype=torch.long)
        mask[0], mask[1] = 255, 1
        if index == 2:
            mask[3, 4] = self.value
        return {"id": f"p{index}", "image": image, "mask": mask}


class Own(LightningDataModule):
    def __init__(self, start, value=0, split="train"):
        super().__init__()
        self.task = PIXELS
        for place, name in enumerate(("train", "val", "test")):
            setattr(self, f"{name}_dataset", Masks(start + 10 * place, value if name == split else 0))


@pytest.mark.parametrize("value", [-1, 2, 254, 300, -100])
def test_a_value_that_is_no_label_is_named_with_role_and_sample(value):
    wanted = rf"mask={value} in sample p2: must be 0 to 1, a label's index, or 255 for what is ignored"
    for role in ("source", "target"):
        pair = {"source": Own(0), "target": Own(100), role: Own(200, value)}
        data = MergedData(pair["target"], pair["source"], batch_size=12)
        data.setup()
        with pytest.raises(ValueError, match=rf"^{role}\.{wanted}$"):
            data.training()[0]["source+target"].batch(range(12))
    alone = PairedData(Own(0, value), batch_size=6)
    alone.setup()
    with pytest.raises(ValueError, match=rf"^target\.{wanted}$"):
        next(iter(alone.train_dataloader()))
    tested = PairedData(Own(0, value, "test"), batch_size=6)
    tested.setup()
    with pytest.raises(ValueError, match=rf"^target\.{wanted}$"):
        next(iter(tested.test_dataloader()["target"]))


def test_merged_maps_keep_their_labels_and_what_is_ignored():
    data = MergedData(Own(0), Own(100), batch_size=12)
    data.setup()
    mask = data.training()[0]["source+target"].batch(range(12))["mask"]
    assert mask.unique().tolist() == [0, 1, 255] and bool((mask[:, 0] == 255).all()) and bool((mask[:, 1] == 1).all())


def test_readers_refuse_such_values_before_training(tmp_path):
    class Odd(MaskedPictures):
        def __init__(self, root):
            self.root, self.image_size, self.task = root, None, PIXELS
            self.parts = {"train": [(path, None) for path in sorted(root.iterdir())]}
            super().__init__(PIXELS)

        def values(self, source, picture):
            return np.full(picture.size, 7)

    for i in range(9):
        Image.new("RGB", (10, 10), (i, 0, 0)).save(tmp_path / f"{i}.png")
    with pytest.raises(ValueError, match=r"^target\.mask=7 in sample \d\.png: must be 0 to 1"):
        PairedData(Odd(tmp_path)).setup()
    for part in ("train", "trainannot"):
        (tmp_path / "maps" / part).mkdir(parents=True)
        for i in range(9):
            array = np.full((10, 10), 7 if part != "train" and i == 4 else i * (part == "train") % 2, np.uint8)
            Image.fromarray(array).save(tmp_path / "maps" / part / f"{i}.png")
    with pytest.raises(ValueError, match=r"^target\.ignore=\[9\]: .*4\.png has the value 7, which is none of labels="):
        PairedData(LabelMaps(str(tmp_path / "maps"), ["sky", "car"], ignore=[9], duplicates="allow")).setup()


def found(boxes, scores, labels=None):
    return {
        "boxes": torch.tensor(boxes),
        "scores": torch.tensor(scores),
        "labels": torch.tensor(labels or [0] * len(boxes)),
    }


def precision(predictions, truths):
    head = build_head(Task("boxes", "detection", ("a", "b")), 8, [8], [8])
    metric = head.metrics(("a", "b"))
    batch = {"boxes": [], "box_labels": [], "box_ignore": []}
    for boxes, flags in truths:
        batch["boxes"].append(torch.tensor(boxes, dtype=torch.float32).view(-1, 4))
        batch["box_labels"].append(torch.zeros(len(boxes), dtype=torch.long))
        batch["box_ignore"].append(torch.tensor(flags, dtype=torch.long))
    metric.update(predictions, head.targets(batch))
    return {name: round(float(value), 4) for name, value in metric.compute().items()}


COUNTED, OTHER = [0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 70.0, 70.0]
NEAR = ([50.0, 50.0, 70.0, 66.0], [50.0, 54.0, 70.0, 70.0])  # of OTHER each has 0.8, of each other 0.6
INSIDE = [55.0, 55.0, 60.0, 60.0]  # of OTHER 1/16, all of it inside


@pytest.mark.parametrize(
    ("flag", "boxes", "wanted"),
    [
        # Nothing ignored: true, false (the second on OTHER), true: precision 1 up to recall 1/2 (51 of the 101
        # recalls that COCO reads), then 2/3.
        (0, NEAR, (51 + 50 * 2 / 3) / 101),
        # OTHER ignored: one box counts, and neither detection of OTHER is an error: both come before the true one.
        (IGNORED, NEAR, 1.0),
        (CROWD, NEAR, 1.0),
        # A detection of a part of OTHER is an error beside a box (precision 1/2 at the only recall), none in a crowd.
        (IGNORED, (INSIDE,), 0.5),
        (CROWD, (INSIDE, INSIDE), 1.0),
    ],
)
def test_average_precision_by_hand(flag, boxes, wanted):
    scores = [0.9 - 0.1 * i for i in range(len(boxes))]
    predictions = [found([*boxes, COUNTED], [*scores, 0.1])]
    assert precision(predictions, [([COUNTED, OTHER], [0, flag])])["map50"] == pytest.approx(wanted, abs=1e-4)


def test_what_is_ignored_is_neither_found_nor_missed():
    predictions = [found([COUNTED], [0.5])]
    assert precision(predictions, [([COUNTED, OTHER], [0, 0])])["map50"] == pytest.approx(0.505, abs=0.001)  # 51 of 101
    for flag in (IGNORED, CROWD):
        assert precision(predictions, [([COUNTED, OTHER], [0, flag])]) == {"map": 1.0, "map50": 1.0}
        assert precision(predictions, [([COUNTED, OTHER, OTHER], [0, flag, flag])]) == {"map": 1.0, "map50": 1.0}
        assert precision([found([OTHER], [0.5])], [([OTHER], [flag])]) == {}  # nothing counts: undefined
    # A second detection of a box that counts is an error, also where an ignored one lies elsewhere.
    twice = [found([COUNTED, COUNTED, NEAR[0]], [0.9, 0.8, 0.7])]
    other = ([[0.0, 20.0, 10.0, 30.0]], [0])
    both = precision([*twice, found(other[0], [0.1])], [([COUNTED, OTHER], [0, IGNORED]), other])
    # true, false, (ignored), true: precision 1 up to recall 1/2, then 2/3.
    assert both["map50"] == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-3)


@pytest.fixture
def voc(tmp_path):
    for part in ("JPEGImages", "Annotations"):
        (tmp_path / part).mkdir()
    for i in range(20):
        Image.new("RGB", (40, 40), (200, 9 * i, 0)).save(tmp_path / "JPEGImages" / f"{i:02}.png")
        items = "".join(
            f"<object><name>{name}</name><difficult>{hard}</difficult><bndbox><xmin>{a}</xmin><ymin>{a}</ymin>"
            f"<xmax>{b}</xmax><ymax>{b}</ymax></bndbox></object>"
            for name, hard, a, b in (("dog", 1, 21, 40), ("cat", 0, 1, 16))
        )
        (tmp_path / "Annotations" / f"{i:02}.xml").write_text(f"<annotation>{items}</annotation>")
    return tmp_path


def test_readers_keep_difficult_boxes_and_crowds_with_their_flags(voc):
    data = VocBoxes(str(voc), image_size=40)
    data.setup()
    sample = data.train_dataset[0]
    assert sample["box_ignore"].tolist() == [IGNORED, 0] and sample["boxes"].tolist()[0] == [20, 20, 40, 40]
    assert {part for part in data.published()["train"].strata} == {data.task.labels.index("cat")}
    content = {
        "categories": [{"id": 1, "name": "cat"}],
        "images": [{"id": i, "file_name": f"{i:02}.png"} for i in range(20)],
        "annotations": [
            {"image_id": i, "category_id": 1, "bbox": [0, 0, 9 + k, 9], "iscrowd": k} for i in range(20) for k in (0, 1)
        ],
    }
    (voc / "all.json").write_text(json.dumps(content))
    coco = CocoBoxes(str(voc), {"train": "all.json"}, "JPEGImages", image_size=40)
    coco.setup()
    assert coco.train_dataset[0]["box_ignore"].tolist() == [0, CROWD] and len(coco.train_dataset[0]["boxes"]) == 2


def test_flags_go_with_their_boxes():
    assert box_fields("boxes") == ("box_labels", "box_ignore") and box_fields("cars") == ("cars_labels", "cars_ignore")
    boxes = torch.tensor([[0.0, 0, 4, 4], [20, 20, 30, 30], [10, 10, 20, 20]])
    flagged = {"id": "a", "image": torch.rand(3, 32, 32), "boxes": boxes, "box_labels": torch.arange(3)}
    flagged["box_ignore"] = torch.tensor([0, 1, 2])
    plain = {key: value for key, value in flagged.items() if key != "box_ignore"}
    nothing = {"id": "c", "image": torch.rand(3, 32, 32)}
    batch = collate([plain, nothing, flagged])
    assert [one.tolist() for one in batch["box_ignore"]] == [[0, 0, 0], [0, 1, 2]]
    assert batch["boxes_rows"].tolist() == [0, 2] and "box_ignore_rows" not in batch
    assert "box_ignore" not in collate([plain, plain])
    for seed in range(20):
        out = Augment(flip=True, shift=0.4, scale=0.3)(batch, torch.Generator().manual_seed(seed))
        for labels, flags, moved in zip(out["box_labels"], out["box_ignore"], out["boxes"], strict=True):
            assert len(labels) == len(flags) == len(moved)
        assert out["box_ignore"][1].tolist() == out["box_labels"][1].tolist()
    stacked = InMemory({key: [flagged[key]] * 2 for key in flagged} | {"image": torch.rand(2, 3, 32, 32)})
    assert [one.tolist() for one in stacked.batch([1])["box_ignore"]] == [[0, 1, 2]]
    merged = join(
        {"source": collate([flagged]), "target": collate([{**plain, "box_ignore": torch.zeros(3)}])},
        "boxes",
        box_fields("boxes"),
    )
    assert [one.tolist() for one in merged["box_ignore"]] == [[0, 1, 2], [0, 0, 0]]


def test_datasets_with_and_without_flags_are_merged(voc):
    class Plain(LightningDataModule):
        def __init__(self, data):
            super().__init__()
            self.task = data.task
            for shade, split in enumerate(("train", "val", "test")):
                fields = dict(getattr(data, f"{split}_dataset").fields)
                del fields["box_ignore"]
                setattr(self, f"{split}_dataset", InMemory({**fields, "image": 200 - shade - fields["image"] // 2}))

    target, given = VocBoxes(str(voc), image_size=40), VocBoxes(str(voc), image_size=40)
    given.setup()
    data = MergedData(target, Plain(given), batch_size=4)
    data.setup()
    batch = data.training()[0]["source+target"].batch([0, len(given.train_dataset)])
    assert [one.tolist() for one in batch["box_ignore"]] == [[0, 0], [IGNORED, 0]]
    assert batch["role"].tolist() == [0, 1]


def test_flags_reach_an_aligned_batch(voc):
    boxes = VocBoxes(str(voc), image_size=40)
    boxes.setup()
    rest = {key: value for key, value in boxes.train_dataset.fields.items() if not key.startswith("box")}

    class Labelled:
        train_dataset = InMemory({**rest, "label": torch.zeros(len(rest["id"]), dtype=torch.long)})

    batch = aligned(Labelled, boxes).batch([0, 1])
    assert [one.tolist() for one in batch["box_ignore"]] == [[IGNORED, 0]] * 2


@pytest.mark.parametrize("flag", [IGNORED, CROWD])
def test_an_ignored_box_is_learned_neither_as_object_nor_as_background(flag):
    torch.manual_seed(0)
    backbone = build_backbone("small")
    head = build_head(Task("boxes", "detection", ("a", "b")), backbone.dim, backbone.channels, backbone.strides)
    features = backbone({"image": torch.rand(1, 3, 64, 64)})
    outputs = head(features)
    outputs = outputs._replace(logits=outputs.logits.detach().requires_grad_())
    box, other = torch.tensor([[4.0, 4, 24, 24]]), torch.tensor([[30.0, 30, 60, 60]])
    both = {"boxes": [torch.cat([box, other])], "box_labels": [torch.tensor([0, 1])]}
    (moved,) = torch.autograd.grad(
        head.loss(outputs, {**both, "box_ignore": [torch.tensor([0, flag])]}), outputs.logits
    )
    (alone,) = torch.autograd.grad(
        head.loss(outputs, {"boxes": [box], "box_labels": [torch.tensor([0])]}), outputs.logits
    )
    inside = ((outputs.centres > 30) & (outputs.centres < 60)).all(1)
    assert int(inside.sum()) > 4
    assert bool((moved[0, inside, 1] == 0).all()) and bool((alone[0, inside, 1] > 0).all())
    assert torch.equal(moved[0, :, 0], alone[0, :, 0]) and torch.equal(moved[0, ~inside], alone[0, ~inside])
    plain = head.loss(outputs, {**both, "box_ignore": [torch.tensor([0, 0])]})
    assert torch.equal(plain, head.loss(outputs, both))


def test_a_run_on_pictures_with_difficult_boxes(voc):
    data = PairedData(VocBoxes(str(voc), image_size=40), batch_size=4)
    data.setup()
    module = TransferModule(data.tasks["target"])

    fit(module, data, steps=2)
    values = trainer_for(1).test(module, datamodule=data, verbose=False)
    assert any("test/target/loss" in part for part in values)
