"""Pictures that are not square, at a height and a width of their own."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.pair import PairedData
from datamodules.readers.coco import CocoBoxes
from datamodules.readers.coco_masks import CocoMasks
from datamodules.readers.image_folder import ImageFolder
from datamodules.readers.label_maps import LabelMaps
from datamodules.readers.npz import NpzImages
from datamodules.readers.sizes import sides
from tests.conftest import fit
from tests.tl_run.test_config import says
from tl_modules import TransferModule


@pytest.fixture
def root(tmp_path):
    """Pictures 20 high and 60 wide with a square object of 10 pixels, as maps and in COCO's JSON, and in classes."""
    content = {"categories": [{"id": 1, "name": "car"}], "images": [], "annotations": []}
    for i in range(12):
        array = np.full((20, 60, 3), 10 + i, np.uint8)
        values = np.zeros((20, 60), np.uint8)
        array[5:15, 20:30], values[5:15, 20:30] = 200, 1
        for part, one in (("train", array), ("trainannot", values), (f"classes/{'ab'[i % 2]}", array)):
            (tmp_path / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(one).save(tmp_path / part / f"{i:02}.png")
        outline = [[20, 5, 30, 5, 30, 15, 20, 15]]
        content["images"].append({"id": i, "file_name": f"{i:02}.png"})
        one = {"image_id": i, "category_id": 1, "bbox": [20, 5, 10, 10], "segmentation": outline}
        content["annotations"].append(one)
    (tmp_path / "all.json").write_text(json.dumps(content))
    return tmp_path


COCO = {"annotations": {"train": "all.json"}, "pictures": "train"}


def readers(root, size):
    return {
        "maps": LabelMaps(str(root), ["ground", "car"], image_size=size),
        "masks": CocoMasks(str(root), **COCO, image_size=size),
        "map_boxes": LabelMaps(str(root), ["ground", "car"], boxes=["car"], image_size=size, smallest=4),
        "boxes": CocoBoxes(str(root), **COCO, image_size=size),
    }


@pytest.mark.parametrize("which", ["maps", "masks", "map_boxes", "boxes"])
def test_targets_follow_a_picture_to_its_height_and_width(root, which):
    data = readers(root, [40, 60])[which]
    data.setup()
    sample = data.train_dataset[0]
    assert sample["image"].shape == (3, 40, 60)  # unchanged, with a border of 10 above and below
    assert bool((sample["image"][:, 15:25, 20:30] == 200).all()) and int(sample["image"][:, :10].max()) == 0
    if "mask" in sample:
        assert sample["mask"].shape == (40, 60) and bool((sample["mask"][15:25, 20:30] == 1).all())
        assert bool((sample["mask"][:10] == 255).all()) and int((sample["mask"] == 1).sum()) == 100
    else:
        assert sample["boxes"].tolist() == [[20, 15, 30, 25]]
    pair = PairedData(data, batch_size=4)
    pair.setup()
    fit(TransferModule(pair.tasks["target"]), pair, steps=1)


def test_a_pair_of_equal_sides_is_a_square(root):
    for one, other in zip(readers(root, 32).values(), readers(root, (32, 32)).values(), strict=True):
        for data in (one, other):
            data.setup()
        assert torch.equal(one.train_dataset[0]["image"], other.train_dataset[0]["image"])


def test_the_middle_of_a_picture_is_cut_to_height_and_width(root):
    data = ImageFolder(str(root / "classes"), image_size=[10, 20])
    data.setup()
    image = data.train_dataset[0]["image"]
    # Half the size is 10 by 30; the middle 20 columns are from 5 on, and the object is at 10 to 15 before.
    assert image.shape == (3, 10, 20) and bool((image[:, 4:6, 6:9] == 200).all()) and int(image[:, :, 12:].max()) < 30
    stack = np.random.RandomState(0).randint(0, 255, (20, 8, 8)).astype(np.uint8)
    np.savez(root / "x.npz", train_images=stack, train_labels=np.arange(20) % 2)
    arrays = NpzImages(str(root / "x.npz"), image_size=[16, 12])
    arrays.setup()
    assert arrays.train_dataset[0]["image"].shape == (1, 16, 12)


@pytest.mark.parametrize("size", [7, [40], [40, 7], [40, 60, 3], "big", True, [40, 6.5]])
def test_other_sizes_are_refused(root, size):
    with pytest.raises(ValueError, match=r"image_size=.*: must be a whole number of at least 8 pixels, or two"):
        sides(size)
    with pytest.raises(ValueError, match=r"image_size="):
        ImageFolder(str(root / "classes"), image_size=size)


def test_the_command_line_takes_a_pair(root):
    given = ["cell=scratch", "dataset@target=coco_masks", f"target.root={root}", "target.annotations={train: all.json}"]
    assert says(*given, "target.image_size=[40,60]") == says(*given, "target.image_size=null") == []
    wanted = "must be a whole number of at least 8 pixels, or two: [height, width]"
    assert says(*given, "target.image_size=[40]") == [f"target.image_size=[40]: {wanted}"]
    boxes = [one.replace("coco_masks", "coco") for one in given]
    assert says(*boxes, "target.image_size=[40,60]") == []
    assert says(*boxes, "target.image_size=null") == [f"target.image_size=null: {wanted}"]
