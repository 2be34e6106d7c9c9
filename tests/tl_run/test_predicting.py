"""`predict.py` on runs as `train.py` leaves them."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from tl_modules import Task
from tl_modules.heads import HEADS, Placement
from tl_run import predict_cli
from tl_run.predicting import load, read_pictures, read_texts

LABELS = {
    "classification": ["a", "b", "c"],
    "multilabel": ["a", "b"],
    "regression": [],
    "segmentation": ["background", "a"],
    "detection": ["a", "b"],
}


def run_of(folder, kind, backbone="small", text=False):
    """Write the folder of a finished run with an untrained module."""
    from tl_modules import TransferModule

    task = {"name": f"my {kind}", "kind": kind, "labels": LABELS[kind], "domain": "d"}
    module = TransferModule(task, backbone=backbone)
    if kind == "detection":  # so that an untrained head finds something
        torch.nn.init.constant_(module.head("target").classification.cls_logits.bias, 1.0)
    stage = folder / "checkpoints" / "target"
    stage.mkdir(parents=True)
    checkpoint = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}
    checkpoint |= {"pytorch-lightning_version": "2.6.6", "epoch": 0, "global_step": 0, "loops": {}}
    module.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, stage / "best.ckpt")
    (stage / "DONE.json").write_text(json.dumps({"checkpoint": "best.ckpt"}))
    (folder / "config.yaml").write_text("cell:\n  name: scratch\n  _target_: os.system\n")
    results = {"cell": "scratch", "target": {"image": None if text else [3, 32, 32]}, "test": {"target/loss": 1.0}}
    (folder / "results.json").write_text(json.dumps(results))
    return module.eval()


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.RandomState(0)
    for i, size in enumerate(((32, 32), (40, 60), (100, 50))):
        path = tmp_path / "in" / f"sub{i}" / "x.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(rng.randint(0, 255, (*size, 3)).astype(np.uint8)).save(path)
    return tmp_path / "in"


def call(*arguments):
    predict_cli.main([str(argument) for argument in arguments])


@pytest.mark.parametrize("kind", LABELS)
def test_pictures_are_predicted_named_and_drawn(kind, tmp_path, pictures, capsys):
    module = run_of(tmp_path / "run", kind)
    call(f"run={tmp_path / 'run'}", f"input={pictures}", "draw=2", "batch=2")
    out = tmp_path / "run" / "predictions"
    assert "3 predictions of my" in capsys.readouterr().out
    rows = json.loads((out / "predictions.json").read_text())
    assert [row["input"] for row in rows] == [str(path) for path in sorted(pictures.rglob("*.png"))]
    assert len(list((out / "drawn").iterdir())) == 2
    with open(out / "predictions.csv", newline="") as file:
        table = list(csv.DictReader(file))
    image = torch.from_numpy(np.array(Image.open(rows[0]["input"]))).permute(2, 0, 1)[None]
    with torch.no_grad():
        wanted = module.head("target").predict(module(image))
    if kind == "classification":
        assert rows[0]["label"] == LABELS[kind][int(wanted[0].argmax())]
        assert float(table[0]["probability"]) == pytest.approx(float(wanted[0].max()), abs=1e-5)
    elif kind == "multilabel":
        assert float(table[0]["b"]) == pytest.approx(float(wanted[0, 1]), abs=1e-5)
    elif kind == "regression":
        assert float(table[0]["value"]) == pytest.approx(float(wanted[0]), abs=1e-5)
    elif kind == "segmentation":
        for row, size in zip(rows, ((32, 32), (40, 60), (100, 50)), strict=True):
            mask = np.array(Image.open(out / row["mask"]))
            assert mask.shape == size and sum(row["pixels"].values()) == mask.size
        assert np.array_equal(np.array(Image.open(out / rows[0]["mask"])), wanted[0].numpy())
    else:
        assert len(table) == sum(len(row["boxes"]) for row in rows) > 0
        assert np.allclose([one["box"] for one in rows[0]["boxes"]], wanted[0]["boxes"].numpy(), atol=0.06)
        for row, (height, width) in zip(rows, ((32, 32), (40, 60), (100, 50)), strict=True):
            boxes = np.array([one["box"] for one in row["boxes"]])
            assert (boxes >= 0).all() and (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()


def test_boxes_and_masks_come_back_to_the_pictures_pixels():
    placed = Placement(scale=0.4, offset=(0, 4), size=(20, 40))
    named = {"boxes": [{"box": box, "label": "b", "score": 0.9} for box in ([0, 4, 16, 12], [4, 6, 8, 8])]}
    corners, indices = HEADS["detection"].on_file(named, None, ["a", "b"], placed)
    assert corners == [[0, 0, 40, 20], pytest.approx([10, 5, 20, 10])] and indices == [1, 1]
    assert [one["box"] for one in named["boxes"]] == corners
    mask = torch.zeros(16, 16, dtype=torch.long)
    mask[6:8, 4:8] = 1
    named = {}
    shown = HEADS["segmentation"].on_file(named, mask, ["background", "a"], placed)
    assert named["pixels"]["a"] == int((shown == 1).sum())
    rows, columns = torch.where(shown == 1)
    assert shown.shape == (20, 40)
    assert (int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())) == (5, 9, 10, 19)


def test_texts_are_predicted_line_by_line(tmp_path, pictures, capsys):
    run_of(tmp_path / "run", "classification", "bag", text=True)
    (tmp_path / "texts.txt").write_text("one line\n\nanother one\n")
    call(f"run={tmp_path / 'run'}", f"input={tmp_path / 'texts.txt'}", f"out={tmp_path / 'out'}")
    rows = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [row["input"] for row in rows] == ["texts.txt:1", "texts.txt:3"]
    with pytest.raises(SystemExit) as left:
        call(f"run={tmp_path / 'run'}", f"input={pictures}")
    assert left.value.code == 1
    assert capsys.readouterr().err.endswith("this run takes a text file, one text a line\n")


def test_a_run_of_train_is_loaded_by_its_cells_name_not_by_a_path_in_its_folder(tmp_path, pictures):
    module = run_of(tmp_path / "run", "classification")
    loaded = load(tmp_path / "run", None)
    assert type(loaded).__name__ == "TransferModule"
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in module.state_dict().items())
    with pytest.raises(SystemExit) as left:
        call(f"run={tmp_path / 'run'}", f"input={pictures}", "cell=datamodules.synthetic.scenes.Scenes")
    assert left.value.code == 1
    with pytest.raises(SystemExit) as left:
        call(f"run={tmp_path / 'run'}", f"input={pictures}", "role=source")
    assert left.value.code == 2


def test_what_can_be_read_is_predicted_and_the_rest_is_listed(tmp_path, pictures, capsys):
    run_of(tmp_path / "run", "classification")
    broken = pictures / "sub1" / "x.png"
    broken.write_bytes(b"nothing")
    out = tmp_path / "run" / "predictions"
    call(f"run={tmp_path / 'run'}", f"input={pictures}")
    said = capsys.readouterr().out
    assert "2 predictions of my" in said and "1 of 3 cannot be read, see" in said
    with open(out / "unreadable.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row == {"name": str(broken), "error": f"{broken}: cannot be read as a picture"}
    rows = json.loads((out / "predictions.json").read_text())
    assert [one["input"] for one in rows] == [str(pictures / f"sub{i}" / "x.png") for i in (0, 2)]
    call(f"run={tmp_path / 'run'}", f"input={pictures / 'sub0'}")
    assert not (out / "unreadable.csv").exists()  # that of an earlier call


def test_where_nothing_can_be_read_the_exit_code_says_so(tmp_path, pictures, capsys):
    run_of(tmp_path / "run", "classification")
    for path in pictures.rglob("*.png"):
        path.write_bytes(b"nothing")
    with pytest.raises(SystemExit) as left:
        call(f"run={tmp_path / 'run'}", f"input={pictures}")
    assert left.value.code == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"input={pictures}: none of 3 can be read; the first: ")
    assert said.endswith("x.png: cannot be read as a picture")
    assert not (tmp_path / "run" / "predictions" / "predictions.json").exists()


def test_pictures_are_read_by_the_bits_of_the_run_and_as_they_are_shown(tmp_path):
    run_of(tmp_path / "run", "segmentation")
    (tmp_path / "in").mkdir()
    values = (np.arange(32 * 48).reshape(32, 48) * 2).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "in" / "deep.png")
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (48, 32), (90, 0, 0)).save(tmp_path / "in" / "turned.jpg", exif=exif)
    (tmp_path / "run" / "data_report.json").write_text(json.dumps({"roles": {"target": {"bits": 12}}}))
    call(f"run={tmp_path / 'run'}", f"input={tmp_path / 'in'}")
    out = tmp_path / "run" / "predictions"
    sizes = {path.stem: Image.open(path).size for path in (out / "masks").iterdir()}
    assert sizes == {"in_deep_png": (48, 32), "in_turned_jpg": (32, 48)}
    (tmp_path / "run" / "data_report.json").write_text(json.dumps({"roles": {"target": {"bits": 8}}}))
    call(f"run={tmp_path / 'run'}", f"input={tmp_path / 'in'}")
    assert "it has the value 3070, more than 8 bits hold" in (out / "unreadable.csv").read_text()


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as left:
        call("--help")
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"  {option}  " in shown for option in predict_cli.OPTIONS)


def test_a_page_is_predicted_from_its_picture_with_the_text_beside_it(tmp_path, pictures):
    run_of(tmp_path / "run", "classification", "document")
    path = sorted(pictures.rglob("*.png"))[0]
    found = {}
    for name, text in (("picture", None), ("one", "some words"), ("other", "quite different words here")):
        if text is not None:
            path.with_suffix(".txt").write_text(text)
        call(f"run={tmp_path / 'run'}", f"input={path}", f"out={tmp_path / name}")
        found[name] = json.loads((tmp_path / name / "predictions.json").read_text())[0]["probability"]
    assert len(set(found.values())) == 3
    (tmp_path / "texts.txt").write_text("some words\n")
    call(f"run={tmp_path / 'run'}", f"input={tmp_path / 'texts.txt'}", f"out={tmp_path / 'text'}")
    assert len(json.loads((tmp_path / "text" / "predictions.json").read_text())) == 1
    path.with_suffix(".txt").write_bytes(b"\xff\xfe")
    with pytest.raises(SystemExit):
        call(f"run={tmp_path / 'run'}", f"input={path}", f"out={tmp_path / 'bad'}")
    assert "is no text file in UTF-8" in (tmp_path / "bad" / "unreadable.csv").read_text()


def test_pictures_of_one_name_in_several_folders_keep_apart(tmp_path):
    paths = [tmp_path / day / "cam" / "img.png" for day in ("day1", "day2")]
    for path in paths:
        path.parent.mkdir(parents=True)
        Image.new("RGB", (20, 20)).save(path)
    task = Task("t", "segmentation", ("background", "a"))
    places = [sample.place for sample in read_pictures(paths, (3, 16, 16), task, documents=False)]
    assert len(set(places)) == 2 and all(place.endswith("cam_img_png") for place in places)


def test_drawings_and_masks_never_share_a_file(tmp_path):
    paths = [
        tmp_path / "in" / name for name in ("a/dog/1.png", "b/dog/1.png", "a_dog/1.png", "a/dog_1.png", "A/dog/1.PNG")
    ]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20)).save(path)
    task = Task("t", "segmentation", ("background", "a"))
    places = [sample.place for sample in read_pictures(paths, (3, 16, 16), task, documents=False)]
    assert len({place.lower() for place in places}) == len(paths)


def test_a_damaged_folder_is_answered_in_a_line(tmp_path, capsys):
    (tmp_path / "results.json").write_text('{"test": ')
    with pytest.raises(SystemExit):
        predict_cli.main([f"run={tmp_path}", f"input={tmp_path}"])
    assert capsys.readouterr().err == (
        f"run={tmp_path}: its results.json is damaged; resume={tmp_path} makes it again\n"
    )
    (tmp_path / "config.yaml").write_bytes(b"\x00\x01: {")
    with pytest.raises(ValueError, match=r"config\.yaml: cannot be read as a configuration"):
        load(tmp_path, None)


def test_a_merged_run_predicts_the_names_of_both_datasets(tmp_path, pictures, capsys):
    from tl_modules import DatasetMerging

    run_of(tmp_path / "run", "classification")
    task = {"name": "t", "kind": "classification", "labels": ["a", "b"], "domain": "d"}
    module = DatasetMerging(task, source={**task, "labels": ["c"]})
    torch.nn.init.constant_(module.head("target").linear.bias[:1].detach(), 9.0)
    checkpoint = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}
    checkpoint |= {"pytorch-lightning_version": "2.6.6", "epoch": 0, "global_step": 0, "loops": {}}
    module.on_save_checkpoint(checkpoint)
    run = tmp_path / "run"
    torch.save(checkpoint, run / "checkpoints" / "target" / "best.ckpt")
    (run / "config.yaml").write_text("cell:\n  name: dataset_merging\n")
    shape = {"image": [3, 32, 32]}
    results = {"cell": "dataset_merging", "mode": "merged", "source": shape, "target": shape}
    (run / "results.json").write_text(json.dumps({**results, "test": {"target/loss": 1.0, "source/loss": 1.0}}))

    def labels(*more):
        call(f"run={run}", f"input={pictures}", "draw=0", *more)
        return {row["label"] for row in json.loads((run / "predictions" / "predictions.json").read_text())}

    assert labels() == labels("role=union") == {"c"} == labels("role=source")
    assert labels("role=target") <= {"a", "b"}
    capsys.readouterr()
    with pytest.raises(SystemExit):
        call(f"run={run}", f"input={pictures}", "role=both")
    assert "role=both: allowed, as heads of the run that are in use: union, target, source" in capsys.readouterr().err


def test_lines_of_a_text_file_are_those_an_editor_counts(tmp_path):
    (tmp_path / "x.txt").write_bytes("\ufeffone\u2028still one\r\n\r\nthree\ffour\n".encode())
    found = [(sample.name, sample.inputs["text"]) for sample in read_texts(tmp_path / "x.txt")]
    assert found == [("x.txt:1", "one\u2028still one"), ("x.txt:3", "three\ffour")]
