from __future__ import annotations

import pytest
import torch

from tl_modules.augment import Augment
from tl_modules.seeding import generator


def squares(count: int = 16, size: int = 32) -> dict[str, object]:
    """Return black pictures with a white rectangle each, its mask and its box."""
    rng, unit = torch.Generator().manual_seed(0), size // 32
    image = torch.zeros(count, 3, size, size, dtype=torch.uint8)
    mask = torch.zeros(count, size, size, dtype=torch.long)
    boxes = []
    for i in range(count):
        x, y = (int(v) for v in torch.randint(8 * unit, 14 * unit, (2,), generator=rng))
        w, h = (int(v) for v in torch.randint(5 * unit, 10 * unit, (2,), generator=rng))
        image[i, :, y : y + h, x : x + w] = 255
        mask[i, y : y + h, x : x + w] = 1
        boxes.append(torch.tensor([[x, y, x + w, y + h]], dtype=torch.float32))
    labels = [torch.tensor([1]) for _ in range(count)]
    return {"id": [str(i) for i in range(count)], "image": image, "mask": mask, "boxes": boxes, "box_labels": labels}


def extent(picture: torch.Tensor) -> torch.Tensor:
    rows, columns = torch.where(picture)
    return torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=torch.float32)


@pytest.mark.parametrize(
    "options",
    [{"flip": True}, {"shift": 0.2}, {"scale": 0.25}, {"flip": True, "shift": 0.1, "scale": 0.1, "brightness": 0.2}],
)
def test_boxes_and_masks_follow_the_picture(options):
    batch = squares()
    out = Augment(**options)(batch, generator(1))
    changed = 0
    for i in range(len(out["image"])):
        lit = out["image"][i, 0] > 0.3
        assert torch.allclose(extent(lit), out["boxes"][i][0], atol=1.5)
        assert torch.allclose(extent(out["mask"][i] == 1), out["boxes"][i][0], atol=1.0)
        assert (lit == (out["mask"][i] == 1)).float().mean() > 0.97
        changed += not torch.equal(out["boxes"][i], batch["boxes"][i])
    assert changed >= 4
    moves = {tuple((a - b)[0].tolist()) for a, b in zip(out["boxes"], batch["boxes"], strict=True)}
    assert len(moves) > 2, "parameters are a sample's own"


def test_off_is_the_identity_and_nothing_is_changed_in_place():
    batch = squares()
    before = batch["image"].clone()
    assert Augment()(batch, generator(0))["image"] is batch["image"]
    Augment(flip=True, shift=0.2, brightness=0.5)(batch, generator(0))
    assert torch.equal(batch["image"], before)


def test_it_is_a_function_of_its_generator():
    augment = Augment(shift=0.2, brightness=0.3)
    first, second, other = (augment(squares(), generator(seed))["image"] for seed in (1, 1, 2))
    assert torch.equal(first, second) and not torch.equal(first, other)


def test_brightness_is_a_factor_a_sample():
    batch = {"id": ["a"] * 8, "image": torch.full((8, 3, 4, 4), 100, dtype=torch.uint8)}
    out = Augment(brightness=0.5)(batch, generator(0))["image"]
    flat = out.flatten(1)
    assert torch.allclose(flat, flat[:, :1].expand_as(flat)) and flat[:, 0].unique().numel() == 8
    assert bool((flat >= 50 / 255 - 1e-6).all()) and bool((flat <= 150 / 255 + 1e-6).all())


def test_what_leaves_the_picture():
    image = torch.zeros(1, 1, 20, 20, dtype=torch.uint8)
    batch = {
        "id": ["a"],
        "image": image,
        "mask": torch.zeros(1, 20, 20, dtype=torch.long),
        "boxes": [torch.tensor([[0.0, 0, 2, 2], [8, 8, 12, 12], [18, 18, 20, 20]])],
        "box_labels": [torch.tensor([0, 1, 2])],
    }
    out = next(
        made for seed in range(50) if len((made := Augment(shift=0.5)(batch, generator(seed)))["boxes"][0]) in (1, 2)
    )
    assert 1 in out["box_labels"][0].tolist()
    assert len(out["boxes"][0]) == len(out["box_labels"][0])
    assert bool((out["mask"] == 255).any()), "there is nothing to judge outside the picture"


def test_partial_targets_take_their_own_sample_s_parameters():
    whole = squares(6)
    rows = torch.tensor([1, 4])
    part = {
        "id": whole["id"],
        "image": whole["image"],
        "mask": whole["mask"][rows],
        "mask_rows": rows,
        "boxes": [whole["boxes"][i] for i in rows.tolist()],
        "box_labels": [whole["box_labels"][i] for i in rows.tolist()],
        "boxes_rows": rows,
    }
    augment = Augment(flip=True, shift=0.2, scale=0.1)
    full, partial = augment(whole, generator(3)), augment(part, generator(3))
    assert torch.equal(full["mask"][rows], partial["mask"])
    assert all(torch.equal(full["boxes"][i], b) for i, b in zip(rows.tolist(), partial["boxes"], strict=True))


@pytest.mark.parametrize("name", ["shift", "scale", "brightness"])
@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_fractions_out_of_range_are_named(name: str, value: float):
    with pytest.raises(ValueError, match=rf"augment\.{name}={value} must be in \[0, 1\)"):
        Augment(**{name: value})


def test_text_passes_through():
    batch = {"id": ["a"], "text": ["word"]}
    assert Augment(flip=True)(batch, generator(0)) is batch


@pytest.mark.parametrize("size", [48, 224, 640])
@pytest.mark.parametrize("kind", [torch.uint8, torch.float32, torch.bfloat16])
def test_masks_and_boxes_move_alike_under_bfloat16(size, kind):
    """Shapes are judged to the pixel, and no column is read twice where nothing is scaled."""
    batch, options = squares(4, size), {"flip": True, "shift": 0.1, "scale": 0.2}
    batch["image"] = batch["image"] if kind == torch.uint8 else (batch["image"] / 255).to(kind)
    plain = Augment(**options)(batch, generator(2))
    with torch.autocast("cpu", torch.bfloat16):
        out = Augment(**options)(batch, generator(2))
        ramp = {"id": ["a"], "image": torch.arange(size, dtype=torch.float32).expand(1, 1, size, size) / size}
        moved = Augment(shift=0.1)(ramp, generator(3))["image"][0, 0, 0]
    assert torch.equal(out["image"], plain["image"]) and out["image"].dtype == torch.float32
    assert torch.equal(out["mask"], plain["mask"])
    for mask, boxes in zip(out["mask"], out["boxes"], strict=True):
        assert (extent(mask == 1) - boxes[0]).abs().max() <= 0.5 + 1e-3
    steps = moved.diff() * size
    assert ((steps - 1).abs() < 1e-3).sum() >= 0.85 * size


def test_fields_of_samples_without_a_picture_are_left_alone():
    texts = ["a", "b", "c"]
    batch = {
        "image": torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
        "image_rows": torch.tensor([0, 1]),
        "text": texts,
        "text_rows": torch.tensor([0, 2, 3]),
        "label": torch.arange(4),
    }
    found = Augment(flip=True, shift=0.1)(batch, torch.Generator().manual_seed(0))
    assert found["text"] == texts and torch.equal(found["label"], batch["label"])
