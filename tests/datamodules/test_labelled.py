"""The budget of labelled samples: training and validation together."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import torch

from datamodules.base import DatasetModule, InMemory, count_labelled
from datamodules.pair import SequentialData
from datamodules.readers.npz import NpzImages
from datamodules.readers.texts import TextTable
from datamodules.splits import divided, stratified
from datamodules.synthetic.pages import PageStreams
from datamodules.synthetic.scenes import Scenes
from tests.tl_run.test_config import composed
from tl_run.runner import execute


@pytest.mark.parametrize(
    ("labelled", "classes", "published", "wanted"),
    [
        (1000, 100, None, (800, 200)),  # VTAB-1k
        (50, 2, None, (40, 10)),
        (20, 10, None, (10, 10)),  # one of each class in both
        (19, 10, None, (15, 4)),  # too few for that
        (2, 0, None, (1, 1)),
        (3, 2, None, (2, 1)),
        (100, 2, (500, 12), (88, 12)),
        (100, 2, (60, 500), (60, 40)),
    ],
)
def test_a_fifth_is_for_validation(labelled, classes, published, wanted):
    assert divided(labelled, classes, published) == wanted


def test_each_class_has_one_where_there_are_enough():
    labels = [0] * 90 + [1] * 6 + [2] * 3 + [3]
    for count in (4, 5, 10, 40):
        chosen, rest = stratified(labels, count, "x", each=True)
        have = Counter(labels[i] for i in chosen)
        assert len(chosen) == count and len(have) == 4 and sorted(chosen + rest) == list(range(100))
    assert Counter(labels[i] for i in stratified(labels, 40, "x", each=True)[0]) == {0: 36, 1: 2, 2: 1, 3: 1}
    assert len(stratified(labels, 3, "x", each=True)[0]) == 3


def arrays(path, counts):
    given = {}
    for split, count in counts.items():
        given[f"{split}_images"] = np.random.RandomState(count).randint(0, 255, (count, 8, 8)).astype(np.uint8)
        given[f"{split}_labels"] = np.arange(count) % 7 // 3 % 3
    np.savez(path, **given)
    return str(path)


@pytest.mark.parametrize(
    "counts", [{"train": 100}, {"train": 100, "test": 30}, {"train": 100, "val": 30, "test": 30}], ids=len
)
@pytest.mark.parametrize("labelled", [6, 25, 60])
def test_the_budget_is_kept_whatever_is_published(tmp_path, counts, labelled):
    data = NpzImages(arrays(tmp_path / "x.npz", counts), labelled=labelled)
    data.setup()
    train, val = (set(split.fields["id"]) for split in (data.train_dataset, data.val_dataset))
    assert len(train) + len(val) == labelled and not train & val and len(val) == max(3, round(labelled / 5))
    for split in (data.train_dataset, data.val_dataset):
        assert set(split.fields["label"].tolist()) == {0, 1, 2}
    assert len(data.test_dataset) == counts.get("test", 20)


def test_a_published_validation_counts(tmp_path):
    path = arrays(tmp_path / "x.npz", {"train": 100, "val": 4, "test": 30})
    data = NpzImages(path, labelled=60)
    data.setup()
    assert (len(data.train_dataset), len(data.val_dataset)) == (56, 4)
    whole = NpzImages(path, train_size=50)  # the option is not given: what was used is told all the same
    pair = SequentialData(whole)
    pair.setup()
    assert pair.labelled("target") == {"train": 50, "val": 4}
    with pytest.raises(ValueError, match=r"^target\.labelled=105: must be at most 104, the samples outside of test"):
        SequentialData(NpzImages(path, labelled=105)).setup()


@pytest.mark.slow
@pytest.mark.parametrize("make", [Scenes, PageStreams])
def test_what_is_generated_keeps_the_budget(make):
    data = make(labelled=40)
    data.setup()
    assert (len(data.train_dataset), len(data.val_dataset)) == ((30, 10) if make is Scenes else (32, 8))


def test_the_budget_excludes_the_sizes(tmp_path):
    (tmp_path / "x.csv").write_text("text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(40)))
    for name in ("train_size", "val_size"):
        with pytest.raises(ValueError, match=f"labelled=20: excludes {name}=5; give one of the two"):
            TextTable(str(tmp_path / "x.csv"), labelled=20, **{name: 5})
    with pytest.raises(ValueError, match="labelled=1: must be at least 2"):
        DatasetModule(None, labelled=1)


def test_samples_without_a_label_are_not_counted():
    fields = {"id": ["a", "b", "c"], "image": torch.zeros(3, 1, 8, 8), "label": torch.zeros(3)}
    assert count_labelled(InMemory(fields, {"label": [True, False, True]}), "label") == 2
    assert count_labelled(InMemory(fields), "label") == 3


@pytest.mark.slow
def test_a_run_tells_labels_and_overlaps(tmp_path, capsys):
    config = composed(
        "cell=task_finetuning", "experiment=quick", "target.labelled=40", "trainer.progress=false", "steps=4"
    )
    config["target"]["train_size"] = config["target"]["val_size"] = None
    execute(config, tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["target"]["labelled"] == {"train": 30, "val": 10}
    assert results["target"]["train_size"] == 30 and results["target"]["val_size"] == 10
    sizes = {split: results["source"][f"{split}_size"] for split in ("train", "val")}
    assert results["source"]["labelled"] == sizes
    assert results["overlap"] == {"rule": "refuse", "found": {}}
    said = capsys.readouterr().out
    assert "target: 40 labelled samples are known, 30 to train on and 10 to choose by" in said
    assert f"source: {sum(sizes.values())} labelled samples are known" in said
