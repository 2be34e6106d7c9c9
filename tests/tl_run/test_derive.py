from __future__ import annotations

import sys
import textwrap

import pytest
from pydantic import ValidationError

from datamodules.base import options_of
from datamodules.pair import CombinedData, PairedData, PairOptions
from datamodules.readers.image_folder import ImageFolder
from datamodules.readers.published import PictureOptions, PublishedData, ReaderOptions
from datamodules.synthetic.scenes import Scenes
from tl_run.derive import MORE, Group, arguments, derived

OWN = """
    from typing import Annotated
    from typing_extensions import Unpack
    from datamodules.readers.published import PublishedData, ReaderOptions
    from tl_modules.ranges import AtLeast

    class Mine(ReaderOptions, total=False):
        depth: Annotated[int, AtLeast(3)]

    class Reader(PublishedData):
        def __init__(self, root: str, **shared: Unpack[Mine]) -> None:
            super().__init__(None, **shared)

    class Closed(PublishedData):
        def __init__(self, root: str) -> None:
            super().__init__(None)

    class Anything(PublishedData):
        def __init__(self, root: str, **more) -> None:
            super().__init__(None)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_readers.py").write_text(textwrap.dedent(OWN))
    monkeypatch.syspath_prepend(tmp_path)
    yield "own_readers"
    sys.modules.pop("own_readers", None)


def test_options_that_are_handed_on_are_found_in_the_sources_and_in_the_class(own):
    mine = arguments(f"{own}.Reader")
    assert set(mine) == {"root", "depth", *ReaderOptions.__annotations__}
    assert set(arguments(f"{own}.Closed")) == {"root"}
    assert set(arguments(f"{own}.Anything")) == {"root", MORE}
    module = __import__(own)
    assert options_of(module.Reader) == set(mine) and options_of(module.Closed) == {"root"}


def test_options_that_are_handed_on_are_held_to_their_types(own):
    model = derived(f"{own}.Reader", base=Group)
    assert model.model_validate({"root": "x", "depth": 3, "train_size": None, "duplicates": "allow"})
    for wrong in ({"depth": 2}, {"train_size": 0}, {"labelled": 1}, {"duplicates": "never"}, {"unknown": 1}):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            model.model_validate({"root": "x", **wrong})


def test_declared_options_are_those_of_the_class_that_reads_them():
    assert set(PictureOptions.__annotations__) == options_of(PublishedData) - {"task", "label_map"}
    assert set(PairOptions.__annotations__) == options_of(PairedData) - {"target", "source"}
    assert options_of(CombinedData) == {*options_of(PairedData), "mode", "temperature", "aligned_dataset"}


@pytest.mark.parametrize("made", [lambda: Scenes(train_sise=5), lambda: CombinedData(Scenes(), Scenes(), batchsize=5)])
def test_an_option_that_is_not_there_is_an_error(made):
    with pytest.raises(TypeError, match=r"train_sise|batchsize"):
        made()


def test_an_option_that_a_reader_has_not_is_an_error(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").touch()
    assert ImageFolder(str(tmp_path), train_size=5).train_size == 5
    with pytest.raises(TypeError, match="train_sise"):
        ImageFolder(str(tmp_path), train_sise=5)
