"""Pictures of two digits, as two tasks on the same pictures."""

import struct

import pytest
import torch

from datamodules.align import aligned
from datamodules.pair import CombinedData
from datamodules.readers.multi_mnist import OFFSET, MultiMnist, overlaid


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Return a folder with a small MNIST, whose pictures' values tell which they are."""
    folder = tmp_path_factory.mktemp("data")
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, count in (("train", 80), ("t10k", 20)):
        pictures = b"".join(bytes([i + (100 if name == "train" else 0)]) * 784 for i in range(count))
        labels = bytes(i % 10 for i in range(count))
        (raw / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, count, 28, 28) + pictures)
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + labels)
    return str(folder)


def pair(root, **options):
    source, target = (MultiMnist(side, root, download=False, **options) for side in ("left", "right"))
    data = CombinedData(target, source, batch_size=8, mode="aligned", aligned_dataset=aligned)
    data.setup()
    return data


def test_the_greater_of_two_values_is_seen():
    left, right = torch.full((1, 1, 28, 28), 9, dtype=torch.uint8), torch.full((1, 1, 28, 28), 5, dtype=torch.uint8)
    right[..., -1, -1] = 200
    whole = overlaid(left, right)[0, 0]
    assert whole.shape == (28 + OFFSET, 28 + OFFSET)
    assert (int(whole[0, 0]), int(whole[10, 10]), int(whole[30, 30]), int(whole[-1, -1])) == (9, 9, 5, 200)
    assert int(whole[0, -1]) == int(whole[-1, 0]) == 0


def test_the_labels_are_those_of_the_two_digits_and_each_digit_is_in_one_picture(root):
    data, seen = pair(root, val_size=10, train_size=30), []
    for split, first in (("train", 100), ("val", 100), ("test", 0)):
        sides = {role: data.split(role, split).fields for role in ("source", "target")}
        assert sides["source"]["id"] == sides["target"]["id"]
        assert torch.equal(sides["source"]["image"], sides["target"]["image"])
        for row, name in enumerate(sides["source"]["id"]):
            left, right = (int(index) for index in name.split("/")[1].split("+"))
            assert int(sides["source"]["label_left"][row]) == left % 10
            assert int(sides["target"]["label_right"][row]) == right % 10
            picture = sides["source"]["image"][row, 0]
            assert (int(picture[0, 0]), int(picture[-1, -1])) == (first + left, first + right)
            seen += [(first, left), (first, right)]
    assert len(seen) == len(set(seen)) == 2 * (30 + 10 + 10)


def test_both_sides_are_one_batch_and_every_seed_has_the_same_pictures(root):
    data = pair(root)
    batch = next(iter(data.train_dataloader()))["source+target"]
    assert {"id", "image", "label_left", "label_right"} <= set(batch)
    assert [task.key for task in data.tasks.values()] == ["label_left", "label_right"]
    assert list(data.whole("test", ["source", "target"])) == ["source+target"]
    tests = [one.split("target", "test").fields["id"] for one in (data, pair(root, seed=7))]
    assert tests[0] == tests[1] and len(tests[0]) == 10


def test_a_side_is_left_or_right():
    with pytest.raises(ValueError, match="side='top': allowed: left, right"):
        MultiMnist("top")
