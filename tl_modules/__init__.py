"""LightningModules for transfer learning between two datasets: eight cells on one backbone-plus-heads base."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tl_modules.base import TransferModule as TransferModule
    from tl_modules.dataset_merging import DatasetMerging as DatasetMerging
    from tl_modules.domain_adaptation import DomainAdaptation as DomainAdaptation
    from tl_modules.modality_transfer import ModalityTransfer as ModalityTransfer
    from tl_modules.multitask import MultiTask as MultiTask
    from tl_modules.parallel_training import ParallelTraining as ParallelTraining
    from tl_modules.stages import Stage as Stage
    from tl_modules.task_adaptation import TaskAdaptation as TaskAdaptation
    from tl_modules.task_finetuning import TaskFineTuning as TaskFineTuning
    from tl_modules.tasks import Task as Task
    from tl_modules.weight_sharing import WeightSharing as WeightSharing

# Loaded on first use, so that checking a configuration needs no torch.
_HOMES = {
    "TransferModule": "base",
    "TaskFineTuning": "task_finetuning",
    "DomainAdaptation": "domain_adaptation",
    "TaskAdaptation": "task_adaptation",
    "ModalityTransfer": "modality_transfer",
    "DatasetMerging": "dataset_merging",
    "WeightSharing": "weight_sharing",
    "MultiTask": "multitask",
    "ParallelTraining": "parallel_training",
    "Task": "tasks",
    "Stage": "stages",
}
__version__ = "0.1.0"
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public name from its file."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
