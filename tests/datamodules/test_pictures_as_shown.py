"""Pictures as they are shown: turned as their file says, and of more than eight bits by their real range."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.contents import of_picture
from datamodules.findings import Unusable
from datamodules.readers.orientation import refers_to_shown, turned_boxes, turned_map
from datamodules.readers.resize import bits_for, fitted, looked_at, original, size_of_picture

MARKED = (5, 2, 12, 8)  # xyxy in stored pixels


def turned(path, orientation, size=(30, 20)):
    """Write a picture of some width and height that is to be turned, with a bright rectangle at `MARKED`."""
    values = np.zeros((size[1], size[0], 3), np.uint8)
    values[MARKED[1] : MARKED[3], MARKED[0] : MARKED[2]] = 255
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(values).save(path, exif=exif, **({"quality": 100} if path.suffix == ".jpg" else {}))
    return path


def bright(image):
    rows, columns = torch.where(image[0] > 127)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_viewers_show_it_and_its_boxes_and_maps_with_it(tmp_path, orientation, suffix):
    path = turned(tmp_path / f"x{suffix}", orientation)
    found = fitted(path, 3, None)
    size = (30, 20) if orientation > 4 else (20, 30)
    assert found.size == size_of_picture(path) == looked_at(path).size == tuple(found.image.shape[1:]) == size
    assert original(path).shape[1:] == size
    (box,) = turned_boxes([MARKED], orientation, size)
    assert bright(found.image) == box
    mask = np.zeros((20, 30), np.uint8)
    mask[MARKED[1] : MARKED[3], MARKED[0] : MARKED[2]] = 200
    assert bright(torch.from_numpy(turned_map(mask, orientation))[None].int()) == box


def test_a_turned_picture_is_fitted_by_its_sides_as_shown(tmp_path):
    path = turned(tmp_path / "x.jpg", 6, size=(300, 200))
    found = fitted(path, 3, (30, 20))
    assert found.image.shape == (3, 30, 20) and found.scale == 0.1 and found.offset == (0, 0)


def test_the_size_that_an_annotation_gives_tells_what_it_refers_to():
    assert refers_to_shown("x", (30, 20), 6, (30, 20), "boxes")
    assert not refers_to_shown("x", (30, 20), 6, (20, 30), "boxes")
    assert refers_to_shown("x", (30, 20), 1, None, "boxes")
    for size, orientation, given in (
        ((30, 20), 6, None),
        ((30, 20), 3, (30, 20)),
        ((20, 20), 6, (20, 20)),
        ((30, 20), 1, (60, 40)),
        ((30, 20), 1, (20, 30)),
    ):
        with pytest.raises(Unusable) as error:
            refers_to_shown("x", size, orientation, given, "boxes")
        assert error.value.kind == "ambiguous" and str(error.value).startswith("x: ")


def deep(path, most, shape=(16, 16)):
    values = np.linspace(0, most, shape[0] * shape[1]).reshape(shape).astype(np.uint16)
    Image.fromarray(values).save(path)
    return values


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("most", "bits"), [(255, 8), (1000, 10), (4095, 12), (9000, 14), (65535, 16)])
def test_values_of_more_bits_are_read_by_their_range(tmp_path, most, bits, suffix):
    values = deep(tmp_path / f"x{suffix}", most)
    found = fitted(tmp_path / f"x{suffix}", 1, None)
    assert found.peak == most and bits_for(most) == bits
    found = fitted(tmp_path / f"x{suffix}", 1, None, bits=bits)
    assert np.array_equal(found.image[0].numpy(), values >> (bits - 8))
    if bits > 8:
        with pytest.raises(Unusable, match=f"it has the value {most}, more than 8 bits hold"):
            fitted(tmp_path / f"x{suffix}", 1, None, bits=8)


def test_pictures_of_twelve_bits_are_compared_by_all_of_them(tmp_path):
    for name, most in (("a", 15), ("b", 200)):  # alike in their upper eight bits of sixteen
        deep(tmp_path / f"{name}.png", most)
    one, other = (of_picture(original(tmp_path / f"{name}.png")) for name in "ab")
    assert one != other


def test_colour_of_sixteen_bits_says_that_it_is_cut(tmp_path):
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\x12\x34\x56\x78\x9a\xbc" * 8 for _ in range(8))
    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    found = fitted(tmp_path / "x.png", 3, None)
    assert "16 bits per colour" in found.coerced
    assert found.image[:, 0, 0].tolist() == [0x12, 0x56, 0x9A]
    Image.new("RGB", (8, 8)).save(tmp_path / "y.png")
    assert fitted(tmp_path / "y.png", 3, None).coerced == ""
