"""Samples seen, operations and the machine, on a run's record."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from datamodules.pair import MergedData, SequentialData
from datamodules.synthetic.scenes import Scenes
from tests.conftest import CELLS, digest, module_for, pair_for, trainer_for
from tests.integration.test_runs import config, killed
from tl_modules import TaskAdaptation
from tl_run.callbacks.cache import CachedFeatures
from tl_run.cost import Cost, counting
from tl_run.errors import RunError
from tl_run.journal import Journal
from tl_run.report import pictures
from tl_run.report.table import cost_table
from tl_run.runner import execute


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("samples", "predictions", "curves"):
        monkeypatch.setattr(pictures, name, lambda *_: None)


def counted(module: Any, data: Any, steps: int, *callbacks: Any, **options: Any) -> tuple[Cost, Any]:
    """Train the entered stage; return what was counted and the trainer."""
    cost = Cost()
    trainer = trainer_for(steps, callbacks=[*callbacks, cost], max_epochs=-1, **options)
    trainer.fit(module, datamodule=data)
    return cost, trainer


@pytest.mark.slow
@pytest.mark.parametrize("cell", [*CELLS, "scratch"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_counting_changes_no_bit(cell: str, precision: str) -> None:
    found = []
    for callbacks in ([], [Cost()]):
        torch.manual_seed(0)
        data = pair_for(cell)
        module = module_for(cell, data, backbone="resnet18" if cell == "multitask" else "small")
        for stage in module.plan:
            data.enter(stage)
            module.enter(stage.name)
            trainer_for(3, callbacks=callbacks, precision=precision, max_epochs=-1).fit(module, datamodule=data)
        found.append((digest(module), torch.rand(3).tolist()))
    assert found[0] == found[1]


def conv_flops(module: torch.nn.Module, image: torch.Tensor, batch: dict[str, Any]) -> int:
    """Return the operations of the convolutions of a pass, from their shapes: two a product."""
    found = []

    def note(layer: torch.nn.Conv2d, _: Any, out: torch.Tensor) -> None:
        found.append(2 * out.numel() * layer.weight[0].numel())

    layers = [layer for layer in module.modules() if isinstance(layer, torch.nn.Conv2d)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    with torch.no_grad():
        module.eval().features({**batch, "image": image})
    for hook in hooks:
        hook.remove()
    module.train()
    return sum(found)


@pytest.mark.parametrize("cached", [False, True])
def test_a_frozen_backbone_costs_its_forward_passes_and_a_cached_one_a_single_one(cached: bool) -> None:
    source = Scenes("plain", "segment", "source", image_size=32, train_size=8, val_size=4)
    target = Scenes("plain", "classify", "target", image_size=32, train_size=24, val_size=8)
    data = SequentialData(target, source, batch_size=8)
    data.setup()
    module = TaskAdaptation(data.tasks["target"], source=data.tasks["source"], finetuning="linear_probe")
    data.enter(module.plan[1])
    module.enter("target")
    per_sample = conv_flops(module, torch.zeros(1, 3, 32, 32, dtype=torch.uint8), {})
    assert per_sample > 0
    head = module.head("target").linear
    trained = 2 * 2 * 8 * head.in_features * head.out_features  # a step's products: forward, gradient of the weights
    cost, trainer = counted(module, data, 9, *([CachedFeatures(9)] if cached else []))
    passes = 24 if cached else 9 * 8
    record = cost.record(trainer, ("target",))
    assert record.pop("seconds") > 0
    assert record == {"samples": {"target": 72}, "flops": 9 * trained + passes * per_sample}


@pytest.mark.slow
def test_one_role_a_step_is_counted_by_make() -> None:
    data = pair_for("multitask", mode="proportional")
    module = module_for("multitask", data)
    module.enter("joint")
    cost, trainer = counted(module, data, 20)
    assert set(cost.each) == {"source 8", "target 8"} and sum(cost.steps.values()) == 20
    assert cost.each["source 8"] != cost.each["target 8"]
    found = cost.record(trainer, ("source", "target"))
    assert found["samples"] == {role: 8 * cost.steps[f"{role} 8"] for role in ("source", "target")}
    assert found["flops"] == sum(cost.each[make] * cost.steps[make] for make in cost.each)


def test_samples_are_whose_they_are() -> None:
    plain = pair_for("dataset_merging")
    data = MergedData(plain.data["target"], plain.data["source"], source_share=0.25, batch_size=8, accumulate=2)
    module = module_for("dataset_merging", data)
    module.enter("joint")
    cost, trainer = counted(module, data, 4, accumulate_grad_batches=2)
    assert cost.record(trainer, ("source", "target"))["samples"] == {"source": 16, "target": 48}
    data = pair_for("multitask", mode="aligned")  # one picture carries both targets
    module = module_for("multitask", data)
    module.enter("joint")
    cost, trainer = counted(module, data, 3)
    assert cost.record(trainer, ("source", "target"))["samples"] == {"source": 24, "target": 24}


@pytest.mark.slow
def test_a_run_tells_exposure_cost_and_machine_and_a_resumed_one_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = config("cell=domain_adaptation", "cell.source_share=0.5", "trainer.accumulate=2")
    execute(given, tmp_path / "straight")
    with monkeypatch.context() as patch:
        killed(patch, at=5, stage="source")
        with pytest.raises(RunError, match="killed"):
            execute(given, tmp_path / "killed")
    execute(given, tmp_path / "killed")
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("straight", "killed")]
    for one in results:
        assert [stage["samples"] for stage in one["stages"]] == [{"source": 6 * 2 * 8}, {"target": 6 * 2 * 8}]
        assert one["flops"] == sum(stage["flops"] for stage in one["stages"]) > 0
        assert one["source_share"] == {"steps": 0.5, "batch": None}
        assert one["loss_weights"] == {"source": 1.0, "target": 1.0}
        machine = one["machine"]
        assert machine["threads"] == torch.get_num_threads() and machine["cores"] == os.cpu_count()
        assert machine["accelerator"] == "cpu" and machine["torch"] == torch.__version__ and machine["processor"]
        assert os.uname().nodename not in json.dumps(machine)
    assert [s["flops"] for s in results[0]["stages"]] == [s["flops"] for s in results[1]["stages"]]
    console = Console(width=120, record=True)
    console.print(cost_table(results[0]["stages"]))
    text = console.export_text()
    assert "source samples" in text and "96" in text and f"{results[0]['stages'][0]['flops']:.2e}" in text


def at_its_end(folder: Path, stage: str) -> None:
    """Put a finished run back to where a stage's last checkpoint was just written."""
    journal = Journal(folder)
    record = journal.stage(stage)["done"]
    names = {name: f"step-{step:08d}.ckpt" for name, step in (("best.ckpt", 0), ("last.ckpt", record["steps"]))}
    for name, step in names.items():
        (journal.place(stage) / name).rename(journal.place(stage) / step)
    score = {"step": 0, "score": record["score"], "loss": 0.0}
    generation = {"step": record["steps"], "file": names["last.ckpt"], "best": score}
    files = {step: None for step in names.values()}
    journal.stage(stage).update(done=None, checkpoints=[{**generation, "files": files}])
    last = journal.place(stage) / names["last.ckpt"]
    checkpoint = torch.load(last, weights_only=True)
    checkpoint["callbacks"]["Checkpoints"]["best"] = score
    torch.save(checkpoint, last)
    journal.write(status="running")


@pytest.mark.slow
def test_a_stage_killed_at_its_end_counts_its_cached_features(tmp_path: Path) -> None:
    given = config("cell=domain_adaptation", "finetuning=linear_probe", "source.augment=null", "target.augment=null")
    execute(given, tmp_path / "run")
    before = json.loads((tmp_path / "run" / "results.json").read_text())
    (tmp_path / "run" / "results.json").unlink()
    at_its_end(tmp_path / "run", "target")
    execute(given, tmp_path / "run")
    after = json.loads((tmp_path / "run" / "results.json").read_text())
    assert after["stages"][-1]["flops"] == before["stages"][-1]["flops"] > 0
    assert after["flops"] == before["flops"]


@pytest.mark.slow
def test_the_target_says_what_it_starts_from_and_merging_its_share(tmp_path: Path) -> None:
    execute(config("cell=dataset_merging", "target.train_size=16", "source.train_size=48"), tmp_path / "merged")
    merged = json.loads((tmp_path / "merged" / "results.json").read_text())
    assert merged["source_share"] == {"steps": None, "batch": 0.75}
    assert (merged["backbone"], merged["weights"], merged["normalisation"]) == ("small", None, "auto")
    weights = str(tmp_path / "merged")
    own = f"target.backbone={{name: small, weights: {weights}}}"
    execute(config("cell=finetune", own, "datamodule.overlap=allow"), tmp_path / "own")
    assert json.loads((tmp_path / "own" / "results.json").read_text())["weights"] == weights


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("transposed", [False, True])
def test_each_gradient_of_a_convolution_takes_what_its_forward_pass_did(groups: int, transposed: bool) -> None:
    made = torch.nn.ConvTranspose2d if transposed else torch.nn.Conv2d
    layer, images = made(8, 8, 3, groups=groups, bias=False), torch.rand(2, 8, 6, 6, requires_grad=True)
    with counting() as forward:
        loss = layer(images).sum()
    with counting() as backward:
        loss.backward()
    assert forward.get_total_flops() > 0
    assert backward.get_total_flops() == 2 * forward.get_total_flops()


def test_attention_counts_whatever_kernel_computes_it() -> None:
    layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    inputs = torch.rand(3, 5, 16)
    wanted = 3 * (8 * 5 * 16 * 16 + 4 * 5 * 5 * 16 + 4 * 5 * 16 * 32)
    with counting() as forward:
        loss = layer(inputs).sum()
    with counting() as backward:
        loss.backward()
    assert forward.get_total_flops() == wanted
    assert backward.get_total_flops() > 1.5 * wanted
    layer.eval()
    with torch.no_grad(), counting() as fused:
        layer(inputs)
    assert fused.get_total_flops() == wanted
    encoder = torch.nn.TransformerEncoder(layer, 1).eval()
    padded = torch.tensor([[False] * 5, [False] * 3 + [True] * 2, [False] * 5])
    with torch.no_grad(), counting() as nested:
        encoder(inputs, src_key_padding_mask=padded)
    assert nested.get_total_flops() in (wanted, wanted - (8 * 2 * 16 * 16 + 4 * (25 - 9) * 16 + 4 * 2 * 16 * 32))
