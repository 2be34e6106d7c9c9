"""Options that nobody sets: one rule for random and pretrained weights, told, and never against what was set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tests.tl_run.test_baselines import FOUND, pictures
from tl_modules.discovery import torchvision_networks, torchvision_sizes
from tl_run.baselines import baseline_key
from tl_run.cli import announced, checked, group_options
from tl_run.defaults import ONE_SIZE, RULES, as_scratch, fitting_size, full_size, told
from tl_run.paths import CONF
from tl_run.rules.cells import judged
from tl_run.runner import execute
from tl_run.schema import ConfigError

OFF = {"flip": False, "shift": 0.0, "scale": 0.0, "brightness": 0.0}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    pictures(tmp_path / "insects", {"ant": 30, "bee": 200})
    for name in ("x.pth", "index.csv"):
        (tmp_path / name).touch()
    for folder in ("JPEGImages", "Annotations"):
        (tmp_path / "voc" / folder).mkdir(parents=True)
    fields = {f"{split}_images": np.zeros((4, 28, 28), np.uint8) for split in ("train", "val", "test")}
    np.savez(tmp_path / "small.npz", **fields, **{f"{s}_labels": np.zeros((4, 1)) for s in ("train", "val", "test")})
    return tmp_path


def config(*overrides: str, data: Path | None = None) -> dict[str, Any]:
    lines = [line.format(data=data) for line in overrides]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return checked(compose("train", lines))


WEIGHTS = ["dataset@source=pretrained", "source.weights={data}/x.pth", "backbone=mobilenet_v2"]
FOLDER = ["dataset@target=image_folder", "target.root={data}/insects"]
SMALL = ["dataset@target=npz", "target.root={data}/small.npz"]
BOXES = ["dataset@target=voc", "target.root={data}/voc"]


@pytest.mark.parametrize(
    ("given", "rate"),
    [
        (["cell=scratch"], 0.003),
        (["cell=multitask"], 0.003),
        (["cell=scratch", "backbone=mobilenet_v2"], 0.003),
        (["cell=domain_adaptation", *WEIGHTS, *FOLDER], 0.0003),
        (["cell=multitask", "backbone=resnet18", "backbone.weights=DEFAULT"], 0.001),
        (["cell=finetune", "backbone=resnet18", "backbone.weights=DEFAULT"], 0.0003),
        (["cell=finetune", "target.backbone={{name:resnet18,weights:DEFAULT}}"], 0.0003),
        (["cell=finetune", "backbone=document", "backbone.encoders.image={{name:resnet18,weights:DEFAULT}}"], 0.0003),
        (["cell=domain_adaptation", *WEIGHTS, *FOLDER, "cell.lr=0.02"], 0.02),
        (["cell=scratch", *WEIGHTS, *FOLDER], 0.003),  # it ignores the source
    ],
    ids=str,
)
def test_the_learning_rate_is_the_weights(given: list[str], rate: float, data: Path) -> None:
    cfg = config(*given, data=data)
    assert cfg["cell"]["lr"] == rate
    assert ("cell.lr" in cfg["by_rule"]) == ("cell.lr=0.02" not in given)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "side"),
    [
        (["backbone=small", *FOLDER], 64),
        (["backbone=mobilenet_v2", *FOLDER], 225),
        (["backbone=inception_v3", *FOLDER], 289),
        (["backbone=vit_b_16", *FOLDER], 224),
        (["backbone=timm/vit_tiny_patch16_384.augreg", *FOLDER], 384),
        (["backbone=small", *SMALL], None),
        (["backbone=mobilenet_v2", *SMALL], 65),
        (["backbone=small", *BOXES], 128),
        (["backbone=mobilenet_v2", *BOXES], 129),
        (["backbone=mobilenet_v2", *FOLDER, "target.image_size=64"], 64),
        (["backbone=mobilenet_v2", *SMALL, "target.image_size=null"], None),
        (["backbone=mobilenet_v2", "dataset@target=cifar10"], 65),
        (["backbone=small", "dataset@target=cifar10"], 32),
        (["backbone=mobilenet_v2", "dataset@target=oxford_pets"], 225),
        (["backbone=mobilenet_v2", "dataset@target=scenes/plain_classify"], 48),
        (["backbone=small", "target.backbone=mobilenet_v2", *FOLDER], 225),
        (["backbone=document", "backbone.encoders.image=resnet18", *FOLDER], 225),
        (["backbone=document", "backbone.encoders.image={{name:vit_b_16}}", *FOLDER], 224),
        (["backbone=document", "~backbone.encoders.image", "dataset@target=page_table", "target.root={data}"], 128),
    ],
    ids=str,
)
def test_the_pictures_fit_the_network(given: list[str], side: int | None, data: Path) -> None:
    assert config("cell=scratch", *given, data=data)["target"]["image_size"] == side


def test_the_size_is_what_the_weights_take_and_no_more_than_twice_the_pictures() -> None:
    for name in torchvision_networks():
        full = full_size(name)
        assert full and full >= 32
        if name.startswith(ONE_SIZE):
            assert fitting_size(name, 28) == fitting_size(name, maps=True) == full
            continue
        for maps in (False, True):
            most = fitting_size(name, maps=maps)
            assert most is not None and abs(most - full / (1 + maps)) <= 17 and most % 32 == 1
            for side in (16, 28, 32, 64, 128, 256):
                found = fitting_size(name, side, maps)
                assert found == most or (found is not None and 2 * side < found < 2 * side + 33 and found % 32 == 1)
    assert fitting_size("small") is fitting_size("small", 28) is None


def test_a_detectors_pictures_are_of_sides_that_it_does_not_fill_up():
    sizes = [fitting_size("fcos_resnet50_fpn", own, True) for own in (None, 100)]
    assert sizes == [384, 224] and not any(size % 32 for size in sizes)


def test_sizes_read_from_sources_are_those_of_the_weights() -> None:
    from torchvision.models import get_model_weights

    for name, sizes in torchvision_sizes().items():
        known = {one.name: one.transforms().crop_size for one in get_model_weights(name)}
        assert {key: [side] for key, side in sizes.items()} == {key: list(side) for key, side in known.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["cell=probe", "backbone.weights={data}/x.pth", *FOLDER], False),
        (["cell=finetune", "backbone.weights={data}/x.pth", *FOLDER], True),
        (["cell=task_adaptation"], False),
        (["cell=task_adaptation", "finetuning=full"], True),
        (["cell=task_finetuning", "finetuning=full", "finetuning.freeze=[stem,trunk]"], False),
        (["cell=task_finetuning", "finetuning=full", "finetuning.freeze=[stem]"], True),
        (["cell=task_adaptation", "dataset@target=scenes/textured_detect"], True),  # its head reads maps
        (["cell=task_adaptation", *WEIGHTS, *BOXES, "finetuning=linear_probe"], True),
        (["cell=scratch"], True),
        (["cell=multitask"], True),
    ],
    ids=str,
)
def test_pictures_of_a_frozen_network_are_not_augmented(given: list[str], kept: bool, data: Path) -> None:
    cfg = config(*given, data=data)
    assert (cfg["target"]["augment"] != OFF) == kept
    assert cfg["source"].get("augment") != OFF
    mine = config(*given, "target.augment.shift=0.3", data=data)["target"]["augment"]
    assert mine["shift"] == 0.3, "what is set always wins"


@pytest.mark.parametrize(
    ("given", "name", "head"),
    [
        (["cell=task_adaptation"], "linear_probe", 10),
        (["cell=task_adaptation", "dataset@target=scenes/textured_detect"], "linear_probe", 10),
        (["cell=task_adaptation", *WEIGHTS, *BOXES], "full", 3),
        (["cell=task_finetuning"], "full", 1),
        (["cell=task_finetuning", *WEIGHTS, *FOLDER], "full", 3),
        (["cell=task_adaptation", *WEIGHTS, *FOLDER], "linear_probe", 10),
        (["cell=task_adaptation", *WEIGHTS, *BOXES, "finetuning=linear_probe"], "linear_probe", 10),
        (["cell=task_adaptation", *WEIGHTS, *BOXES, "finetuning.lr.head=5.0"], "full", 5),
        (["cell=probe", "backbone.weights={data}/x.pth", *FOLDER], "linear_probe", 10),
    ],
    ids=str,
)
def test_what_is_frozen_and_how_fast_the_head_learns(given: list[str], name: str, head: float, data: Path) -> None:
    found = config(*given, data=data)["finetuning"]
    assert (found["name"], found["lr"]["head"]) == (name, head)
    assert found["freeze"] == ([] if name == "full" else ["stem", "trunk"])


@pytest.mark.parametrize("cell", ["task_finetuning", "domain_adaptation", "task_adaptation", "modality_transfer"])
@pytest.mark.parametrize("dataset", [FOLDER, BOXES], ids=["classes", "boxes"])
def test_weights_stand_for_a_source_whatever_the_sequential_cell(cell: str, dataset: list[str], data: Path) -> None:
    """What counts as the same is the user's judgement, and by the cell it is made; the kinds are no judgement."""
    same_task = cell in ("task_finetuning", "domain_adaptation")
    if same_task == (dataset is BOXES):
        if same_task:
            with pytest.raises(ConfigError, match="the cell that fits is"):
                config(f"cell={cell}", *WEIGHTS, *dataset, data=data)
        return
    cfg = config(f"cell={cell}", *WEIGHTS, *dataset, data=data)
    assert cfg["source"]["task"] == ("classes" if same_task else "objects-imagenet")
    same_domain = cell in ("task_finetuning", "task_adaptation")
    assert cfg["source"]["domain"] == ("pictures" if same_domain else "photographs")
    assert sum("taken as the target's" in line for line in told(cfg)) == (cell != "modality_transfer")


def test_a_task_that_was_declared_is_held_to(data: Path) -> None:
    with pytest.raises(ConfigError, match="the cell that fits is"):
        config("cell=domain_adaptation", "source.task=objects-imagenet", *WEIGHTS, *FOLDER, data=data)


@pytest.mark.parametrize(
    ("said", "suggests"),
    [
        (["cell=domain_adaptation", "source.domain=pictures"], "task_finetuning"),
        (["cell=domain_adaptation", "target.domain=photographs"], "task_finetuning"),
        (["cell=task_finetuning", "source.domain=photographs"], "domain_adaptation"),
        (["cell=task_finetuning"], None),
    ],
    ids=str,
)
def test_a_domain_that_was_declared_is_a_name(said: list[str], suggests: str | None, data: Path) -> None:
    found = judged(config(*said, *WEIGHTS, *FOLDER, data=data))
    assert [line.rpartition(" ")[2] for line in found] == ([suggests] if suggests else [])


def test_auto_takes_the_weights_for_what_they_are(data: Path) -> None:
    asked = [line.format(data=data) for line in ("cell=auto", "order=sequential", *WEIGHTS, *FOLDER)]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        with pytest.raises(ConfigError, match="modality_transfer"):
            raise ConfigError(checked(announced(compose("train", asked), asked))["cell"]["name"])
        same = [*asked, "target.task=objects-imagenet"]
        assert checked(announced(compose("train", same), same))["cell"]["name"] == "domain_adaptation"


def test_a_frozen_head_has_no_factor_that_nobody_set(data: Path) -> None:
    for freeze in ("[head]", "[stem,head]"):
        found = config("cell=domain_adaptation", *WEIGHTS, *FOLDER, f"finetuning.freeze={freeze}", data=data)
        assert found["finetuning"]["lr"]["head"] == 1
    with pytest.raises(ConfigError, match=r"^finetuning\.lr\.head=3\.0: has no effect, finetuning\.freeze has it$"):
        config(
            "cell=domain_adaptation", *WEIGHTS, *FOLDER, "finetuning.freeze=[head]", "finetuning.lr.head=3.0", data=data
        )


def test_what_was_chosen_is_told_in_a_line(data: Path) -> None:
    lines = told(config("cell=task_finetuning", *WEIGHTS, *FOLDER, data=data))
    assert lines == [
        "by rule cell.lr=0.0003, finetuning.lr.head=3, target.image_size=225: pretrained weights; "
        "the network's weights take 224 pixels",
        "source.task=classes and source.domain=pictures: taken as the target's, "
        "since cell=task_finetuning is for the same task and domain",
    ]
    assert told(config("cell=scratch")) == ["by rule cell.lr=0.003: random weights"]
    assert told(config("cell=scratch", "cell.lr=0.003")) == []
    planted = config("cell=domain_adaptation", "source_checkpoint={data}/x.pth", data=data)
    assert told(planted) == ["by rule cell.lr=0.003, finetuning.lr.head=1"]
    frozen = told(config("cell=probe", "backbone=resnet18", "backbone.weights=DEFAULT", "target.image_size=48"))
    assert frozen == [
        "by rule cell.lr=0.0003, target.augment off: pretrained weights; features of frozen parts are computed once"
    ]


def test_the_baseline_of_a_run_by_rule_is_scratch_by_rule(data: Path) -> None:
    def key(*given: str) -> str:
        return baseline_key(as_scratch(config(*given, data=data)), 600, "32-true", FOUND)

    alone = key("cell=scratch", "backbone=mobilenet_v2", *FOLDER)
    assert key("cell=domain_adaptation", *WEIGHTS, *FOLDER) == alone
    weights = ["backbone=mobilenet_v2", "backbone.weights={data}/x.pth"]
    assert key("cell=finetune", *weights, *FOLDER) == key("cell=probe", *weights, *FOLDER) == alone
    assert key("cell=scratch", "backbone=mobilenet_v2", *FOLDER, "cell.lr=0.003") == alone
    assert key("cell=domain_adaptation", *WEIGHTS, *FOLDER, "cell.lr=0.0003") != alone
    changed = config("cell=domain_adaptation", *WEIGHTS, *FOLDER, data=data)
    changed["cell"]["lr"] = 0.01
    assert as_scratch(changed)["cell"]["lr"] == 0.01, "set later: no longer by rule"


def test_every_rule_is_asked_for_and_every_one_asked_for_exists() -> None:
    asked = set()
    for path in CONF.rglob("*.yaml"):
        for text in path.read_text().split("${by_rule:")[1:]:
            asked.add(text.split("}")[0].split(",")[0])
    assert asked == set(RULES)
    assert "pretrained" in group_options("dataset")


def test_a_run_tells_and_records_what_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("samples", "predictions", "curves"):
        monkeypatch.setattr(f"tl_run.report.pictures.{name}", lambda *_: None)
    tiny = ["steps=2", "target.train_size=24", "target.val_size=12", "target.image_size=32", "trainer.progress=false"]
    execute(config("cell=scratch", *tiny), tmp_path)
    assert capsys.readouterr().out.startswith("by rule cell.lr=0.003: random weights\n")
    recorded = OmegaConf.load(tmp_path / "config.yaml")
    assert recorded.cell.lr == 0.003 and recorded.by_rule["cell.lr"].scratch == 0.003
    assert json.loads((tmp_path / "results.json").read_text())["lr"] == 0.003
