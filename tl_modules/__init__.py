"""LightningModules for transfer learning between two datasets: eight cells on one backbone-plus-heads base."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tl_modules.backbones.base import Backbone as Backbone
    from tl_modules.cells.dataset_merging import DatasetMerging as DatasetMerging
    from tl_modules.cells.domain_adaptation import DomainAdaptation as DomainAdaptation
    from tl_modules.cells.modality_transfer import ModalityTransfer as ModalityTransfer
    from tl_modules.cells.multitask import MultiTask as MultiTask
    from tl_modules.cells.parallel_training import ParallelTraining as ParallelTraining
    from tl_modules.cells.task_adaptation import TaskAdaptation as TaskAdaptation
    from tl_modules.cells.task_finetuning import TaskFineTuning as TaskFineTuning
    from tl_modules.cells.weight_sharing import WeightSharing as WeightSharing
    from tl_modules.heads.base import Head as Head
    from tl_modules.module import TransferModule as TransferModule
    from tl_modules.objectives.base import Objective as Objective
    from tl_modules.staged import fit as fit
    from tl_modules.stages import Stage as Stage
    from tl_modules.task import Task as Task

# Loaded on first use, so that checking a configuration needs no torch.
_HOMES = {
    "TransferModule": "module",
    "TaskFineTuning": "cells.task_finetuning",
    "DomainAdaptation": "cells.domain_adaptation",
    "TaskAdaptation": "cells.task_adaptation",
    "ModalityTransfer": "cells.modality_transfer",
    "DatasetMerging": "cells.dataset_merging",
    "WeightSharing": "cells.weight_sharing",
    "MultiTask": "cells.multitask",
    "ParallelTraining": "cells.parallel_training",
    "Head": "heads.base",
    "Objective": "objectives.base",
    "Backbone": "backbones.base",
    "Task": "task",
    "fit": "staged",
    "Stage": "stages",
}
__version__ = "0.2.0"
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public name from its file."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
