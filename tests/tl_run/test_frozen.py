"""Features of frozen networks that are kept for other runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from datamodules.pair import SequentialData
from datamodules.readers import images
from datamodules.readers.image_folder import ImageFolder
from tests.tl_run.test_cache import probe, scenes
from tl_modules.features import Features
from tl_run.callbacks.cache import CachedFeatures
from tl_run.frozen import FEATURES, SharedFeatures, inputs_of, packed, unpacked
from tl_run.store import Store, clear, store_folder


def shared(size: int = 32, gigabytes: float = 1.0) -> SharedFeatures:
    return SharedFeatures(
        {"target": {"image_size": size}, "store": {"gigabytes": gigabytes}, "trainer": {}}, channels_last=False
    )


def trained(kept: SharedFeatures | None = None, pair: Any = None, **options: Any) -> tuple[Any, int, int]:
    """Return a probe's module, in how many passes of its trunk it was trained, and the operations of its features."""
    callback = CachedFeatures(4, shared=kept)
    module, passes = probe(pair or scenes("count"), callback, **options)
    return module, passes, callback.flops


def test_a_second_probe_of_a_frozen_network_passes_nothing_and_is_the_same_to_the_bit() -> None:
    alone, passes, flops = trained()
    first, again, _ = trained(shared())
    second, none, as_many = trained(shared())
    assert (passes, again, none) == (2, 2, 0)
    assert flops == as_many > 0
    for other in (first, second):
        for one, two in zip(alone.parameters(), other.parameters(), strict=True):
            assert torch.equal(one, two)
    assert trained(shared(), lr=0.02)[1] == 0, "the rate is not the network's"
    assert trained(shared(), seed=1)[1] == 2, "another seed has another network"
    others = scenes("count")
    others.split("target", "val").fields["image"][0, 0, 0, 0] += 1
    assert trained(shared(), others)[1] == 1, "a pixel of the validation set is another"
    assert clear().split(": ")[1].startswith("5 source stages and features of frozen networks removed")


def test_of_pictures_in_files_the_files_tell_and_how_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "IN_MEMORY", 100)
    for j, name in enumerate(("ant", "bee")):
        for i in range(6):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("RGB", (16, 16), (i, 20 * j, 0)).save(tmp_path / name / f"{i}.png")

    def said(split: str = "train", size: int = 16) -> Any:
        pair = SequentialData(ImageFolder(str(tmp_path), image_size=size))
        pair.setup()
        return inputs_of(pair, "target", split, {"image_size": size})

    first = said()
    assert first == said() is not None
    assert first != said("val") and first != said(size=24)
    for file in sorted(tmp_path.glob("*/*.png")):
        os.utime(file, (1, 1))
    assert first != said(), "files that were written since then"


def test_damaged_features_are_computed_again_and_those_beyond_the_bound_are_not_kept() -> None:
    trained(shared())
    for path in store_folder().glob("features-*/" + FEATURES):
        path.write_bytes(path.read_bytes()[:-1])
    assert trained(shared())[1] == 2
    assert trained(shared())[1] == 0
    clear()
    trained(shared(gigabytes=1e-9))
    assert not list(store_folder().glob("features-*/"))


def test_a_failing_computation_leaves_the_store_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(CachedFeatures, "compute", fails)
        with pytest.raises(RuntimeError, match="no memory"):
            trained(shared())
    for lock in store_folder().glob("*.lock"):
        assert Store(1.0).take(lock.stem) is None, "nobody holds it"


def test_features_are_packed_without_loss() -> None:
    maps = {4: torch.rand(2, 3, 5, 5, dtype=torch.bfloat16), 8: torch.rand(2, 3, 2, 2)}
    one = Features(torch.rand(2, 7), maps, (20, 21))
    two = unpacked(packed(one))
    assert torch.equal(one.pooled, two.pooled) and two.size == (20, 21) and list(two.maps) == [4, 8]
    assert all(
        torch.equal(maps[stride], kept) and maps[stride].dtype == kept.dtype for stride, kept in two.maps.items()
    )
    assert unpacked(packed(Features(torch.zeros(1, 2)))).size is None
