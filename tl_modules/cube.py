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


def suggested(cell: str, source_task: HasTask, target_task: HasTask) -> str:
    """Return the name of the cell of the same order that the declared tasks and domains suggest.

    Args:
        cell: The name of one of the eight.
        source_task: The source's task and domain.
        target_task: The target's.
    """
    same_task = (source_task.name, source_task.kind) == (target_task.name, target_task.kind)
    return cell_for(same_task, source_task.domain == target_task.domain, BY_NAME[cell].sequential)


def relation(source_task: HasTask, target_task: HasTask) -> str:
    """Return in words what source and target have in common."""
    same_task = (source_task.name, source_task.kind) == (target_task.name, target_task.kind)
    tasks = [f"{task.name} ({task.kind})" for task in (source_task, target_task)]
    domains = source_task.domain, target_task.domain
    of_tasks = f"the same task {tasks[0]}" if same_task else f"different tasks {tasks[0]} and {tasks[1]}"
    same_domain = domains[0] == domains[1]
    of_domains = f"the same domain {domains[0]}" if same_domain else f"different domains {domains[0]} and {domains[1]}"
    return f"{of_tasks} and {of_domains}"


def check_pair(cell: str, source_task: HasTask, target_task: HasTask) -> None:
    """Check that a cell's wiring can serve source and target; a baseline has no source, so any is fine.

    What counts as the same domain is a judgement, and a head for each role can learn one task twice: such a cell runs,
    and `suggested` names the one that was declared. One head cannot serve two tasks.

    Args:
        cell: The cell's name.
        source_task: The source's task and domain.
        target_task: The target's.

    Raises:
        ValueError: If the cell is unknown, or is for one task and there are two; the text names the relation found and
            the cell that fits.
    """
    if cell in BASELINES:
        return
    if cell not in BY_NAME:
        raise ValueError(f"cell={cell}: unknown; allowed: {', '.join([*BY_NAME, *BASELINES])}")
    fits = suggested(cell, source_task, target_task)
    if BY_NAME[cell].same_task and not BY_NAME[fits].same_task:
        found = relation(source_task, target_task)
        raise ValueError(f"cell={cell}: source and target have {found}; the cell that fits is {fits}")
