from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from datamodules.pair import CombinedData, MergedData, PairedData, SequentialData
from datamodules.synthetic import scenes
from datamodules.synthetic.scenes import Scenes, aligned
from tl_modules import staged
from tl_modules.cells.dataset_merging import DatasetMerging
from tl_modules.cells.domain_adaptation import DomainAdaptation
from tl_modules.cells.modality_transfer import ModalityTransfer
from tl_modules.cells.multitask import MultiTask
from tl_modules.cells.parallel_training import ParallelTraining
from tl_modules.cells.task_adaptation import TaskAdaptation
from tl_modules.cells.task_finetuning import TaskFineTuning
from tl_modules.cells.weight_sharing import WeightSharing
from tl_modules.module import TransferModule
from tl_run.runner import quiet

os.environ.setdefault("HYDRA_FULL_ERROR", "1")

CELLS: dict[str, type[TransferModule]] = {
    "task_finetuning": TaskFineTuning,
    "domain_adaptation": DomainAdaptation,
    "task_adaptation": TaskAdaptation,
    "modality_transfer": ModalityTransfer,
    "dataset_merging": DatasetMerging,
    "weight_sharing": WeightSharing,
    "multitask": MultiTask,
    "parallel_training": ParallelTraining,
}
SEQUENTIAL = ("task_finetuning", "domain_adaptation", "task_adaptation", "modality_transfer")
SAME_TASK = ("task_finetuning", "domain_adaptation", "dataset_merging", "weight_sharing")
SAME_DOMAIN = ("task_finetuning", "task_adaptation", "dataset_merging", "multitask")


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Remember nothing of the files of other tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def _few_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    """Test runs of scenes on 64 of them instead of 1,000: most look at how a run goes, not at how good it is."""
    monkeypatch.setattr(scenes, "TEST_SIZE", 64)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    quiet()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pair_for(cell: str, kind: str = "classify", mode: str = "cycle", **options: Any) -> PairedData:
    """Return tiny scenes whose relation fits a cell, with `kind` as the target's task."""
    target = Scenes("textured", kind, "target", image_size=32, train_size=24, val_size=12)
    common = {"batch_size": 8, **options}
    if cell == "scratch":
        return SequentialData(target, **common)
    other = "segment" if kind == "classify" else "classify"
    ground = "textured" if cell in SAME_DOMAIN else "plain"
    task = kind if cell in SAME_TASK else other
    source = Scenes(ground, task, "source", image_size=32, train_size=40, val_size=12)
    if cell in SEQUENTIAL:
        return SequentialData(target, source, **common)
    if cell == "dataset_merging":
        return MergedData(target, source, **common)
    return CombinedData(target, source, mode=mode, aligned_dataset=aligned if mode == "aligned" else None, **common)


def module_for(cell: str, data: PairedData, **options: Any) -> TransferModule:
    tasks = {role: task.to_dict() for role, task in data.tasks.items()}
    return (TransferModule if cell == "scratch" else CELLS[cell])(**tasks, **options)


def trainer_for(steps: int, **options: Any) -> Trainer:
    settings: dict[str, Any] = {
        "max_steps": steps,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "limit_val_batches": 0,
        "use_distributed_sampler": False,
        "accelerator": "cpu",
    }
    return Trainer(**{**settings, **options})


def fit(module: TransferModule, data: PairedData, steps: int = 3, **options: Any) -> None:
    """Train all stages for `steps` steps each."""
    staged.fit(module, data, lambda stage, _: trainer_for(steps, **options))


def digest(module: LightningModule | torch.nn.Module) -> str:
    """Return a hash over the bytes of all weights and statistics."""
    state = sorted(module.state_dict().items())
    return hashlib.md5(b"".join(k.encode() + v.cpu().contiguous().numpy().tobytes() for k, v in state)).hexdigest()
