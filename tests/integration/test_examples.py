from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(name, *arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    return runpy.run_path(str(EXAMPLES / name), run_name="__main__")


@pytest.fixture
def folders(tmp_path):
    """Return two folders with two classes of pictures each, told apart by their brightness."""
    for domain in ("a", "b"):
        for label, shade in (("dark", 40), ("light", 210)):
            for i in range(8):
                path = tmp_path / domain / label / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (40 + i, 50), (shade, shade + i, 100)).save(path)
    return [str(tmp_path / domain) for domain in ("a", "b")]


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_every_example_is_short_and_tested(example):
    assert len((EXAMPLES / example).read_text().splitlines()) < 40
    assert f'"{example}"' in Path(__file__).read_text()


def test_own_backbone_head_and_loaders_learn(monkeypatch):
    made = run("own_project.py", monkeypatch=monkeypatch)
    assert float(made["trainer"].callback_metrics["test/target/accuracy"]) > 0.5
    assert isinstance(made["module"].head("target"), made["DeepHead"])
    assert not isinstance(made["module"].head("source"), made["DeepHead"])


def test_two_folders(folders, monkeypatch):
    made = run("two_folders.py", *folders, monkeypatch=monkeypatch)
    assert made["target"].labels == ["dark", "light"]
    assert float(made["trainer"].callback_metrics["test/target/accuracy"]) > 0.9


def test_datamodules_of_ones_own_are_paired_and_learn(monkeypatch):
    made = run("own_datamodules.py", monkeypatch=monkeypatch)
    assert float(made["trainer"].callback_metrics["test/target/accuracy"]) > 0.8


def test_a_ninth_cell(monkeypatch):
    made = run("new_cell.py", monkeypatch=monkeypatch)
    assert [stage.name for stage in made["module"].plan] == ["source", "both"]
    assert "test/source/miou" in made["trainer"].callback_metrics


def test_lightning_cli(monkeypatch):
    pytest.importorskip("jsonargparse")
    options = ["--config", str(EXAMPLES / "cli.yaml"), "--trainer.max_steps=2"]
    cli = run("cli.py", "fit", *options, monkeypatch=monkeypatch)["cli"]
    assert cli.trainer.global_step == 2
    assert all(cli.model.tasks[role] == task for role, task in cli.datamodule.tasks.items())


def test_lightning_cli_explains_every_argument(monkeypatch, capsys):
    pytest.importorskip("jsonargparse")
    with pytest.raises(SystemExit):
        run("cli.py", "fit", "--help", monkeypatch=monkeypatch)
    shown = " ".join(capsys.readouterr().out.split())
    for words in ("Highest learning rate of AdamW.", "Samples per step and role;", "Root of everything random."):
        assert words in shown
