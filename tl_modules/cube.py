"""The cube as data: which cell fits which relation between source and target."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Cell(NamedTuple):
    """One corner of the cube.

    Args:
        name: The cell's name, as in `cell=`.
        same_task: Whether source and target have the same task.
        same_domain: Whether they have the same domain.
        sequential: Whether one is learned after the other, rather than both at once.
        path: Where its class is imported from.
    """

    name: str
    same_task: bool
    same_domain: bool
    sequential: bool
    path: str


CELLS = (
    Cell("task_finetuning", True, True, True, "tl_modules.TaskFineTuning"),
    Cell("domain_adaptation", True, False, True, "tl_modules.DomainAdaptation"),
    Cell("task_adaptation", False, True, True, "tl_modules.TaskAdaptation"),
    Cell("modality_transfer", False, False, True, "tl_modules.ModalityTransfer"),
    Cell("dataset_merging", True, True, False, "tl_modules.DatasetMerging"),
    Cell("weight_sharing", True, False, False, "tl_modules.WeightSharing"),
    Cell("multitask", False, True, False, "tl_modules.MultiTask"),
    Cell("parallel_training", False, False, False, "tl_modules.ParallelTraining"),
)
# The target alone: from random weights, from pretrained ones, and a linear head on pretrained ones that are kept.
SCRATCH, FINETUNE, PROBE = "scratch", "finetune", "probe"
BASELINES = (SCRATCH, FINETUNE, PROBE)
SCRATCH_PATH = "tl_modules.TransferModule"
BY_NAME = {cell.name: cell for cell in CELLS}


class HasTask(Protocol):
    """What the cube asks of a role; `tasks.Task` has it."""

    @property
    def name(self) -> str:
        """The task's name."""

    @property
    def kind(self) -> str:
        """The task's kind."""

    @property
    def domain(self) -> str:
        """Where the inputs come from."""


def cell_for(same_task: bool, same_domain: bool, sequential: bool) -> str:
    """Return the name of the cell at a corner of the cube.

    Args:
        same_task: Whether source and target have the same task.
        same_domain: Whether they have the same domain.
        sequential: Whether one is learned after the other.
    """
    corner = (bool(same_task), bool(same_domain), bool(sequential))
    return next(cell.name for cell in CELLS if cell[1:4] == corner)


def check_pair(cell: str, source_task: HasTask, target_task: HasTask) -> None:
    """Check that source and target have the relation that a cell is for; a baseline has no source, so any is fine.

    Args:
        cell: The cell's name.
        source_task: The source's task and domain.
        target_task: The target's.

    Raises:
        ValueError: If the cell is unknown, or does not fit; the text names the relation found and the cell that fits.
    """
    if cell in BASELINES:
        return
    if cell not in BY_NAME:
        raise ValueError(f"cell={cell}: unknown; allowed: {', '.join([*BY_NAME, *BASELINES])}")
    same_task = (source_task.name, source_task.kind) == (target_task.name, target_task.kind)
    same_domain = source_task.domain == target_task.domain
    fits = cell_for(same_task, same_domain, BY_NAME[cell].sequential)
    if fits != cell:
        tasks = [f"{task.name} ({task.kind})" for task in (source_task, target_task)]
        relation = [
            f"the same task {tasks[0]}" if same_task else f"different tasks {tasks[0]} and {tasks[1]}",
            f"the same domain {source_task.domain}"
            if same_domain
            else f"different domains {source_task.domain} and {target_task.domain}",
        ]
        raise ValueError(f"cell={cell}: source and target have {' and '.join(relation)}; the cell that fits is {fits}")
