"""By what a run finds its baseline: it changes with all that shapes the result, and with nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from tl_run.baselines import baseline_key
from tl_run.cli import checked
from tl_run.journal import Journal
from tl_run.options import CUT
from tl_run.paths import CONF
from tl_run.run import Run
from tl_run.stopping import Stopping

FOUND = {"labels": ["0", "1"], "sizes": {"train": 10, "val": 5, "test": 5}, "published": None}
SHAPES = [
    "cell.lr=0.01",
    "cell.weight_decay=0.1",
    "cell.clip=null",
    "cell.skip_nonfinite=1",
    "cell.schedule=constant",
    "target.image_size=64",
    "dataset@target=scenes/plain_classify",
    "dataset@target=scenes/textured_detect",
    "target.augment=null",
    "target.augment.flip=true",
    "target.augment.shift=0.2",
    "backbone=resnet18",
    "target.backbone=resnet18",
    "steps=601",
    "datamodule.batch_size=16",
    "trainer.devices=2",
    "trainer=ddp trainer.devices=1 trainer.num_nodes=2",
    "trainer.accumulate=2",
    "trainer.validations=5",
    "cell.schedule=constant trainer.patience=3",
    "selection.rule=last",
    "selection.metric=auroc",
    "callbacks=ema",
    "+trainer.max_time=00:01:00:00",
]
SHAPES_NOT = [
    "trainer.devices=2 datamodule.batch_size=16",
    "trainer=ddp trainer.num_nodes=2 datamodule.batch_size=8",
    "trainer.progress=false",
    "max_invalid=0.1",
    "check_data=true",
    "trainer.accelerator=cpu",
    "datamodule.num_workers=2",
    "datamodule.cache=false",
    "logger=tensorboard",
    "target.domain=elsewhere",
    "target.task=digits",
    "target.augment.flip=false",
    "target.backbone=small",
    "seed=1",
    "source.train_size=50",
    "dataset@source=scenes/plain_segment",
    "optimized_metric=val/target/accuracy",
    "backbone.weights=null",
    "selection.metric=accuracy",
    "target.labelled=100",
    "datamodule.overlap=drop",
    "callbacks=lr_monitor",
    "+trainer.detect_anomaly=true",
    "datamodule.pin_memory=true",
    "datamodule.num_workers=1 datamodule.prefetch_factor=3 datamodule.persistent_workers=true",
]


def config(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return checked(compose("train", list(overrides)))


def key(*overrides: str, steps: int | None = None, precision: str = "32-true", **found: Any) -> str:
    cfg = config("cell=scratch", *overrides)
    return baseline_key(cfg, steps or cfg["steps"], precision, {**FOUND, **found})


@pytest.mark.slow
@pytest.mark.parametrize("given", SHAPES)
def test_what_shapes_the_result_changes_the_key(given: str) -> None:
    assert key(*given.split()) != key()


@pytest.mark.slow
@pytest.mark.parametrize("given", SHAPES_NOT)
def test_what_does_not_shape_the_result_leaves_the_key(given: str) -> None:
    assert key(*given.split()) == key()


@pytest.mark.slow
def test_the_key_counts_what_was_found_rather_than_what_was_asked() -> None:
    assert key(precision="bf16-mixed") != key()
    assert key(labels=["0", "2"]) != key()
    assert key(sizes={"train": 9, "val": 5, "test": 5}) != key()
    assert key(published="x") != key()
    assert key("target.train_size=10") == key()
    assert key("epochs=3", steps=600) == key()


def test_every_option_of_a_run_is_said_to_shape_its_result_or_not() -> None:
    """A new option belongs into one of the two tables, or is the source's."""
    said = {line.partition("=")[0] for given in (*SHAPES, *SHAPES_NOT) for line in given.split()}
    cfg = config("cell=scratch")
    have = {
        f"{group}.{name}"
        for group in ("cell", "target", "trainer", "datamodule", "backbone", "selection")
        for name in cfg[group]
    }
    have |= {name for name, value in cfg.items() if not isinstance(value, dict)}
    made, sizes = {"_target_", "_convert_", "name"}, {"train_size", "val_size"}
    of_two = {"source_share", "normalisation", "replay", "gradient_cosine"}
    derived = {"target": {*made, *sizes, "kind", "ground", "target", "weight", "absent", *CUT}, "backbone": {"name"}}
    derived |= {"cell": made | of_two, "datamodule": {"mode", "temperature"} | of_two}
    have -= {f"{group}.{name}" for group, names in derived.items() for name in names}
    have -= {"selection.without_labels"}  # which a baseline refuses
    have -= {"finetuning", "order", "epochs", "precision", "optimize_on_test"}
    have -= {"data_root", "resume", "trust", "allow_targets", "source_checkpoint"}
    assert have <= said | {"target.augment"}, have - said


def pictures(root: Path, shades: dict[str, int]) -> Path:
    for label, shade in shades.items():
        for i in range(10):
            path = root / label / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 40 + i), (shade + i, shade, 90)).save(path)
    return root


@pytest.mark.slow
def test_data_may_move_but_not_change(tmp_path: Path) -> None:
    def found(root: Path, *more: str) -> str:
        given = ["dataset@target=image_folder", f"target.root={root}", "target.image_size=32", "precision=32"]
        return Run(config("cell=scratch", *given, *more), Journal(tmp_path / "run"), Stopping()).baseline_key()

    first = pictures(tmp_path / "a" / "insects", {"ant": 30, "bee": 200})
    moved = shutil.copytree(first, tmp_path / "b" / "insects")
    assert found(first) == found(moved) == found(first, "seed=1") == found(first, "target.val_size=3")
    assert found(first, "target.train_size=6") != found(first)
    (tmp_path / "one.csv").write_text(
        "id,group\n" + "".join(f"{label}/{i}.png,{i // 2}\n" for label in ("ant", "bee") for i in range(10))
    )
    shutil.copy(tmp_path / "one.csv", tmp_path / "two.csv")
    keys = [found(first, f"target.group_by={tmp_path}/{name}.csv") for name in ("one", "two")]
    assert keys[0] == keys[1] != found(first), "which samples belong together, not what says so"
    assert len({found(first), found(first, "target.fold=1/5"), found(first, "target.fold=2/5")}) == 3
    (moved / "bee" / "9.png").rename(moved / "ant" / "10.png")
    assert found(moved) != found(first), "a label is another"
    assert found(pictures(tmp_path / "c" / "others", {"ant": 30, "bee": 200})) != found(first)


def test_an_arm_has_the_key_of_its_baseline(tmp_path: Path) -> None:
    """The source, the way it is used and the weights are what is compared, so they are out of it."""
    weights = tmp_path / "weights.pth"
    weights.touch()
    arms = [
        ["cell=multitask"],
        ["cell=multitask", "cell.normalisation=shared"],
        ["cell=task_finetuning", "finetuning.lr.head=10.0"],
        ["cell=finetune", f"backbone.weights={weights}"],
        ["cell=probe", f"backbone.weights={weights}"],
    ]
    for arm in arms:
        cfg = config(*arm, "target.augment=null", "cell.lr=0.003")
        assert baseline_key(cfg, 600, "32-true", FOUND) == key("target.augment=null"), arm
