"""What is read from sources: kinds of task with what their heads inherit, and class names."""

import shutil
from pathlib import Path

import pytest

from tl_modules import discovery
from tl_modules.heads import HEADS


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return a copy of the sources that are read, and let those be read."""
    for folder in ("heads", "objectives"):
        shutil.copytree(Path(discovery.__file__).parent / folder, tmp_path / folder)
    monkeypatch.setattr(discovery, "__file__", str(tmp_path / "discovery.py"))
    for read in (discovery.kinds, discovery.attributes):
        read.cache_clear()
    yield tmp_path
    for read in (discovery.kinds, discovery.attributes):
        read.cache_clear()


@pytest.mark.parametrize("said", ['kind = "ordinal"', 'kind: ClassVar[str] = "ordinal"'])
def test_a_heads_file_has_what_its_class_inherits(said, package):
    (package / "heads" / "ordinal.py").write_text(f"class Ordinal(Classification):\n    {said}\n")
    found = discovery.kinds()["ordinal"]
    assert (found.monitor, found.field, found.one_label) == ("accuracy", "label", True)


def test_a_heads_file_without_a_head_is_named(package):
    (package / "heads" / "ordinal.py").write_text("class Ordinal:\n    pass\n")
    with pytest.raises(ValueError, match=r"heads/ordinal\.py defines no Head with kind = 'ordinal'"):
        discovery.kinds()


def test_what_is_read_is_what_the_heads_say():
    for name, kind in discovery.kinds().items():
        head = HEADS[name]
        assert (kind.monitor, kind.mode, kind.needs_maps) == (head.monitor, head.mode, head.needs_maps)
        assert (kind.field, kind.has_labels, kind.one_label) == (head.field, head.has_labels, head.one_label)
        assert dict(kind.directions) == dict(head.directions)


def test_a_files_class_is_named_after_it():
    assert [discovery.class_name(name) for name in ("sum", "loss_balance")] == ["Sum", "LossBalance"]
