"""Documents: pages with a picture and a text, either of which may be missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.align import aligned
from datamodules.base import Rows
from datamodules.pair import CombinedData, SequentialData
from datamodules.readers import page_table
from datamodules.readers.documents import hidden
from datamodules.readers.page_table import PageTable
from datamodules.synthetic.pages import KINDS, PageStreams, stream
from tests.conftest import digest, fit, trainer_for
from tl_modules import MultiTask, TransferModule, WeightSharing
from tl_modules.backbones.document import FUSIONS, document


def table(folder: Path, count: int = 40) -> None:
    (folder / "pictures").mkdir(parents=True)
    (folder / "texts").mkdir()
    rows = ["id,label"]
    rng = np.random.RandomState(0)
    for i in range(count):
        label = "ab"[i % 2]
        rows.append(f"p{i},{label}")
        picture = rng.randint(0, 80, (30, 20)) + 150 * (i % 2)
        Image.fromarray(picture.astype(np.uint8)).save(folder / "pictures" / f"p{i}.png")
        (folder / "texts" / f"p{i}.txt").write_text(f"{'alpha' if i % 2 else 'beta'} number {i}\n")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")


def test_a_table_of_pages(tmp_path):
    table(tmp_path)
    (tmp_path / "texts" / "p0.txt").unlink()
    (tmp_path / "pictures" / "p1.png").unlink()
    data = PageTable(str(tmp_path), image_size=32)
    data.setup()
    seen = {}
    for split in ("train", "val", "test"):
        dataset = getattr(data, f"{split}_dataset")
        for i in range(len(dataset)):
            sample = dataset[i]
            number = int(sample["id"][1:])
            seen[number] = sample
            assert data.task.labels[sample["label"]] == "ab"[number % 2]
            assert ("text" in sample) == (number != 0) and ("image" in sample) == (number != 1)
            if "image" in sample:  # whole, with a border on both sides: 21 of 32 columns
                assert sample["image"].shape == (1, 32, 32)
                assert sample["image"][0, :, :5].max() == 0 and (sample["image"][0, 5, 10] > 100) == (number % 2)
            if "text" in sample:
                assert sample["text"].split() == ["alpha" if number % 2 else "beta", "number", str(number)]
    assert len(seen) == 40


def test_pages_that_do_not_fit_into_memory_are_read_as_they_are_needed(tmp_path, monkeypatch):
    table(tmp_path)
    (tmp_path / "pictures" / "p1.png").unlink()
    given = {"root": str(tmp_path), "image_size": 32, "missing": {"train": 0.3}}
    wanted = PageTable(**given)
    wanted.setup()
    monkeypatch.setattr(page_table, "IN_MEMORY", 1000)
    data = PageTable(**given)
    data.setup()
    assert isinstance(data.train_dataset.fields["image"], Rows)
    indices = list(range(len(data.train_dataset)))
    one, other = (dataset.batch(indices) for dataset in (data.train_dataset, wanted.train_dataset))
    assert one.keys() == other.keys() and {"image_rows", "text_rows"} <= set(one)
    for key, values in one.items():
        assert torch.equal(values, other[key]) if isinstance(values, torch.Tensor) else values == other[key]


def test_lines_of_ocr_and_the_most_frequent_labels(tmp_path):
    table(tmp_path)
    for i in range(40):
        (tmp_path / "texts" / f"p{i}.txt").rename(tmp_path / "texts" / f"p{i}.csv")
        (tmp_path / "texts" / f"p{i}.csv").write_text("1,2,3,4,5,6,7,8,ONE, TWO\n\n1,2,3,4,5,6,7,8,THREE\n")
    index = tmp_path / "index.csv"
    index.write_text(index.read_text() + "p40,rare\n")
    data = PageTable(str(tmp_path), text="texts/{page}.csv", classes=2, inputs=["text"], duplicates="allow")
    data.setup()
    assert data.task.labels == ("a", "b")
    assert data.train_dataset[0]["text"] == "ONE, TWO\nTHREE" and "image" not in data.train_dataset[0]
    (tmp_path / "texts" / "p3.csv").write_text("1,2,3,4,5,6,7,8,ONE\n1,2,3\n")
    options = {"text": "texts/{page}.csv", "classes": 2, "inputs": ["text"], "duplicates": "allow"}
    PageTable(str(tmp_path), **options, max_invalid=0.02).setup()
    with pytest.raises(ValueError, match=r"1 of 80 lines cannot be used: p3\.csv has '1,2,3'; more than max_invalid"):
        PageTable(str(tmp_path), **options).setup()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"page": "name"}, "has no column name; it has id, label"),
        (
            {"picture": "x/{page}.png", "text": "y/{page}.txt"},
            "names the page p0, but there is no .*p0.png nor .*p0.txt",
        ),
        ({"inputs": []}, "must be some of image, text"),
        ({"missing": {"test": 2.0}}, "missing.test=2.0: must be from 0 to 1"),
        ({"table": "none.csv"}, "must be a file that exists"),
    ],
)
def test_other_pages_are_refused(tmp_path, options, message):
    table(tmp_path)
    with pytest.raises(ValueError, match=message):
        PageTable(str(tmp_path), **options)


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    table(tmp_path)
    for i in range(40):
        (tmp_path / "pictures" / f"p{i}.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"p\d+.png: cannot be read as a picture"):
        PageTable(str(tmp_path)).setup()


def test_pages_without_a_file_are_left_out_up_to_a_share(tmp_path):
    table(tmp_path)
    for name in ("p3", "p5"):
        for file in tmp_path.glob(f"*/{name}.*"):
            file.unlink()
    with pytest.raises(ValueError, match=r"2 of \d+ rows cannot be used: row 5 names the page p3, but there is no"):
        PageTable(str(tmp_path)).setup()
    data = PageTable(str(tmp_path), max_invalid=0.2)
    data.setup()
    assert not {"p3", "p5"} & {name for part in data.ids.values() for name in part}


def test_a_share_of_the_inputs_is_hidden_the_same_way_for_the_test_of_every_seed(tmp_path):
    table(tmp_path, 100)
    made = [PageTable(str(tmp_path), missing={"test": 0.5}, seed=seed) for seed in (0, 1)]
    for data in made:
        data.setup()
    present = [data.test_dataset.present for data in made]
    assert present[0] == present[1]
    gone = {key: have.count(False) for key, have in present[0].items()}
    assert sum(gone.values()) == 10 and min(gone.values()) > 0
    assert made[0].train_dataset.present == {}
    again = hidden(made[0].test_dataset, 1.0, ("x",))
    assert all(a or b for a, b in zip(*again.present.values(), strict=True))  # no page loses both


@pytest.mark.slow
def test_streams_of_pages_repeat_and_their_splits_differ():
    data = PageStreams("starts", train_size=40, val_size=20, image_size=64)
    data.setup()
    again = PageStreams("content", train_size=40, val_size=20, image_size=64)
    stream.cache_clear()
    again.setup()
    for split in ("train", "val", "test"):
        one, other = (getattr(d, f"{split}_dataset").fields for d in (data, again))
        assert torch.equal(one["image"], other["image"]) and one["text"] == other["text"] and one["id"] == other["id"]
        assert not torch.equal(one["image"][:20], data.train_dataset.fields["image"][20:])
    assert data.train_dataset.fields["image"].shape == (40, 1, 64, 48)
    starts, kinds = data.train_dataset.fields["starts"], again.train_dataset.fields["content"]
    assert starts[0] == 1 and 0.2 < starts.float().mean() < 0.7 and set(kinds.tolist()) == set(range(len(KINDS)))
    assert bool((kinds[1:] == kinds[:-1])[starts[1:] == 0].all())  # a document is of one kind
    read = [data.test_dataset[i] for i in range(200)]
    assert 0 < sum("text" not in sample for sample in read) < 40


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_missing_input_is_replaced_by_what_was_learned_for_it(fusion):
    torch.manual_seed(0)
    net = document(fusion=fusion, modality_dropout=0.0, channels=1).eval()
    images = torch.randint(0, 255, (4, 1, 32, 24), dtype=torch.uint8)
    texts = ["one two", "three", "four", "five six"]
    ids = list("abcd")
    whole = net({"id": ids, "image": images, "text": texts}).pooled
    rows = torch.tensor([0, 2])
    some = net({"id": ids, "image": images[rows], "image_rows": rows, "text": texts}).pooled
    none = net({"id": ids, "text": texts}).pooled
    assert torch.allclose(some[rows], whole[rows], atol=1e-6)
    assert torch.allclose(some[[1, 3]], none[[1, 3]], atol=1e-6)
    assert not torch.allclose(none, whole, atol=1e-3)
    none.sum().backward()
    assert net.stem.missing.grad is not None and net.stem.missing.grad[0].abs().sum() > 0
    with pytest.raises(ValueError, match="need one of image, text"):
        net({"id": ids})


def test_an_input_is_left_out_in_training_alone_and_never_both():
    stem = document(modality_dropout=0.5).stem
    there = torch.tensor([[True, True]] * 2000 + [[True, False]] * 50)
    out = stem._left_out(there)
    assert 0.45 < out[:2000].any(1).float().mean() < 0.55
    assert abs(out[:2000, 0].float().mean() - out[:2000, 1].float().mean()) < 0.06
    assert not out.all(1).any() and not out[2000:].any()
    assert not stem.eval()._left_out(there).any()


@pytest.mark.slow
def test_two_inputs_are_two_domains_and_each_is_scored_alone_too():
    data = PageStreams("content", train_size=64, val_size=16, image_size=64)
    pair = SequentialData(data, batch_size=16)
    module = WeightSharing(target=data.task, backbone={"name": "document"}, lr=3e-3)
    assert module.stage.learn == ("target",)
    pair.setup()
    fit(module, pair, steps=3)
    tested = trainer_for(1).test(module, pair.whole("test", ["target"]), verbose=False)[0]
    assert {"test/target/accuracy", "test/target/image_alone/accuracy", "test/target/text_alone/accuracy"} <= set(
        tested
    )
    blind = [{k: v for k, v in pair.split("target", "test")[i].items() if k != "image"} for i in range(8)]
    batch = {"id": [s["id"] for s in blind], "text": [s.get("text", "") for s in blind]}
    module.eval()
    assert len(module.predict_step({"target": batch}, 0)) == 8
    with pytest.raises(ValueError, match="needs two domains, a source or a backbone of several inputs"):
        WeightSharing(target=data.task)
    with pytest.raises(ValueError, match="needs two domains"):
        WeightSharing(target=data.task, backbone={"name": "document", "encoders": {"text": "bag"}})


def test_two_tasks_on_pages_take_one_pass():
    content, starts = (PageStreams(name, train_size=48, val_size=16, image_size=64) for name in ("content", "starts"))
    pair = CombinedData(starts, content, mode="aligned", aligned_dataset=aligned, batch_size=16)
    pair.setup()
    batch = next(iter(pair.train_dataloader()))["source+target"]
    assert {"image", "text", "content", "starts"} <= set(batch)
    module = MultiTask(source=content.task, target=starts.task, backbone={"name": "document"})
    passes = []
    module.parts.trunk["shared"].register_forward_hook(lambda *_: passes.append(1))
    before = digest(module)
    fit(module, pair, steps=2)
    assert len(passes) == 2 and digest(module) != before


def test_a_document_checkpoint_reloads(tmp_path):
    data = PageStreams("content", train_size=32, val_size=16, image_size=64)
    pair = SequentialData(data, batch_size=16)
    pair.setup()
    spec = {"name": "document", "fusion": "attention", "encoders": {"image": "small", "text": {"name": "bag"}}}
    module = TransferModule(target=data.task, backbone=spec)
    trainer = trainer_for(1)
    trainer.fit(module, datamodule=pair)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = TransferModule.load_from_checkpoint(tmp_path / "x.ckpt", map_location="cpu", weights_only=True)
    assert digest(again) == digest(module)
