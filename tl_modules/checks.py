"""Whether a module is used as it is meant: what would train or score something else without a word is an error."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Sized
from typing import Any

from lightning.pytorch import LightningDataModule
from lightning.pytorch.callbacks import StochasticWeightAveraging, WeightAveraging
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch.utils.data import Subset

from tl_modules.batch import Batch
from tl_modules.cube import BY_NAME, CELLS, Cell, cell_for
from tl_modules.selection import RULES, SOURCE
from tl_modules.stages import Stage
from tl_modules.task import ABSENT, Task


def check_numbers(above: Mapping[str, float | None], at_least: Mapping[str, float | None]) -> None:
    """Check that arguments are in range; None is none.

    Args:
        above: Those that must be above 0, by name.
        at_least: Those that must be 0 or above.

    Raises:
        ValueError: If one is not.
    """
    for name, number in {**above, **at_least}.items():
        if number is not None and not (number > 0 if name in above else number >= 0):
            raise ValueError(f"{name}={number} must be {'above' if name in above else 'at least'} 0")


def check_tasks(cell: type, tasks: Mapping[str, Task]) -> None:
    """Check that source and target have the same task where a cell is for one: one head cannot serve two.

    A head for each role can learn one task twice, and whether they have the same domain is the user's judgement.

    Args:
        cell: The module's class; a subclass of a cell is that cell.
        tasks: Task by role.

    Raises:
        ValueError: If they have two; the text names the tasks and the cell that fits.
    """
    names = {_class_of(one): one for one in CELLS}
    found = next((names[base.__name__] for base in cell.__mro__ if base.__name__ in names), None)
    if found is None or "source" not in tasks:
        return
    if found.same_task and not tasks["source"].same_task(tasks["target"]):
        said = " and ".join(f"{task.name} ({task.kind})" for task in (tasks["source"], tasks["target"]))
        fits = _class_of(BY_NAME[cell_for(False, found.same_domain, found.sequential)])
        raise ValueError(
            f"{cell.__name__}: source and target have different tasks {said}; the class that fits is {fits}"
        )


def check_absent(cell: str, tasks: Mapping[str, Task], merged: bool) -> None:
    """Refuse a task's `absent` where no head has the names of two datasets.

    Args:
        cell: The module's class.
        tasks: Task by role.
        merged: Whether it merges.

    Raises:
        ValueError: If there is one.
    """
    for role, task in tasks.items():
        if task.absent != ABSENT[0] and not merged:
            raise ValueError(f"{role}.absent={task.absent}: has no effect in {cell}, which merges no names")


def _class_of(cell: Cell) -> str:
    return cell.path.rsplit(".", 1)[1]


def check_data(tasks: Mapping[str, Task], data: Any, whose: str = "target") -> None:
    """Check that a DataModule's targets mean what the module's do.

    Args:
        tasks: The module's task by role.
        data: The DataModule: one with `tasks` by role, or with a role's `task`; others are not checked.
        whose: The role of one with a `task`.

    Raises:
        ValueError: If kind, field or labels differ, or the labels' order.
    """
    several = getattr(data, "tasks", None)
    theirs = several if isinstance(several, Mapping) else {whose: getattr(data, "task", None)}
    for role, task in tasks.items():
        their = theirs.get(role)
        their = Task.of(their) if isinstance(their, dict) and {"name", "kind"} <= set(their) else their
        if not isinstance(their, Task):
            continue
        for what in ("kind", "key", "labels"):
            mine, found = getattr(task, what), getattr(their, what)
            if mine != found:
                how = " in another order" if what == "labels" and sorted(mine) == sorted(found) else ""
                raise ValueError(
                    f"{role}: the module's {what} {_said(mine)} and the data's {_said(found)} differ{how}; "
                    f"build the module with the data's task ({type(data).__name__})"
                )


def check_hooks(data: LightningDataModule, role: str) -> None:
    """Refuse one of two DataModules that changes batches in a hook: batches hold both roles, and no one calls it.

    Args:
        data: The DataModule.
        role: Its role.

    Raises:
        ValueError: If it has such a hook.
    """
    for hook in ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"):
        if is_overridden(hook, data, parent=LightningDataModule):
            raise ValueError(
                f"{role}: {type(data).__name__}.{hook} is not called where DataModules are given by role; do what it "
                "does in its dataset or collate_fn, or by augment= of the module"
            )


def check_copied(trainer: Any, stage: str, added: int) -> None:
    """Refuse a finetuning that adds weights when a callback that averages them has copied the module already.

    Args:
        trainer: The Trainer.
        stage: The stage that is entered.
        added: How many tensors were added.

    Raises:
        ValueError: If there is such a callback.
    """
    for callback in trainer.callbacks if added else ():
        if isinstance(callback, (WeightAveraging, StochasticWeightAveraging)):
            said = f"{type(callback).__name__} copied the module before its finetuning added {added} tensors to it"
            raise ValueError(f"{said}; call module.enter({stage!r}) before fit")


def check_clipping(value: float | None, algorithm: str | None, clip: float | None) -> None:
    """Refuse a Trainer's clipping, which would do nothing: one norm over all gradients couples roles that share none.

    Args:
        value: The Trainer's `gradient_clip_val`.
        algorithm: Its `gradient_clip_algorithm`.
        clip: The module's own.

    Raises:
        ValueError: If the Trainer has either.
    """
    if value or algorithm:
        given = {
            "gradient_clip_val": value,
            "gradient_clip_algorithm": algorithm and str(getattr(algorithm, "value", algorithm)),
        }
        said = ", ".join(f"{name}={one!r}" for name, one in given.items() if one)
        raise ValueError(
            f"Trainer({said}) has no effect: gradients are clipped per set of roles that share a part, to the module's "
            f"clip={clip}; leave it out of the Trainer, and set clip= of the module where another norm is wanted"
        )


def _said(value: Any) -> str:
    return value if isinstance(value, str) else ", ".join(value) or "(none)"


def check_cell(cell: type, carried: str | None) -> None:
    """Refuse a checkpoint of another cell, whose parts would be wired in another way.

    Args:
        cell: The class of the module that loads it; one derived from the checkpoint's is in order.
        carried: The name of the checkpoint's class; None where it does not say.

    Raises:
        ValueError: If it is another one.
    """
    if carried is not None and carried not in [base.__name__ for base in cell.__mro__]:
        raise ValueError(
            f"this checkpoint is of {carried}, not of {cell.__name__}: {carried}.load_from_checkpoint(path) loads it, "
            "and module.plant(checkpoint) takes a role's weights"
        )


def check_rule(rule: str, cell: str, plan: Sequence[Stage], kind: str) -> None:
    """Refuse a rule of choosing without labels that is unknown, or has no effect.

    Args:
        rule: The rule.
        cell: The module's class.
        plan: Its stages.
        kind: Kind of the target's task.

    Raises:
        ValueError: If it is refused.
    """
    if rule not in RULES:
        raise ValueError(f"without_labels={rule!r} is unknown; allowed: {', '.join(RULES)}")
    if rule != SOURCE and not any(stage.judge for stage in plan):
        raise ValueError(f"without_labels={rule!r}: has no effect in {cell}, which reads the target's labels")
    if rule != SOURCE and kind != "classification":
        raise ValueError(f"without_labels={rule!r}: is for classification; for {kind} it must be {SOURCE}")


def not_entered(cell: str, plan: Sequence[Stage]) -> str:
    """Return what to call where a module of several stages is fitted as it is: the earlier ones would be left out.

    Args:
        cell: The module's class.
        plan: Its stages.
    """
    names = ", ".join(stage.name for stage in plan)
    return (
        f"{cell} trains in the stages {names}, and none was entered: call tl_modules.fit(module, data, trainer), which "
        f"trains them in order (or module.enter({plan[-1].name!r}) before a fit where the source is weights)"
    )


def warn_of_skipped(cell: str, plan: Sequence[Stage], stage: Stage, trained: Collection[str]) -> None:
    """Say which stages a fit comes before that should have come before it.

    Args:
        cell: The module's class.
        plan: Its stages.
        stage: The stage that is fitted.
        trained: Stages that were fitted, loaded or planted.
    """
    names = [one.name for one in plan]
    before = names[: names.index(stage.name)] if stage.name in names else []
    skipped = [name for name in before if name not in trained]
    if skipped:
        rank_zero_warn(
            f"{cell}: stage {stage.name} is trained, and {', '.join(skipped)} before it was not; "
            "tl_modules.fit(module, data, trainer) trains them in order"
        )


def role_of(loaders: Any, index: int, split: str, cell: str, tasks: Mapping[str, Task], stage: Stage | None) -> str:
    """Return whose batches a loader gives: the one it is named for, and the target's where it is the only one.

    Args:
        loaders: The loaders as the Trainer has them.
        index: Which of them.
        split: `train`, `val`, `test` or `predict`.
        cell: The module's class, for the error.
        tasks: Task by role.
        stage: The stage whose roles must be among them; None where any will do.

    Raises:
        ValueError: If loaders in a list could be either role's, or a plain one is not of the role that is needed.
    """
    if isinstance(loaders, Mapping):
        name = list(named_loaders(loaders))[index][0]
        if not set(name.split("+")) <= set(tasks):
            raise ValueError(f"{split}_dataloaders: {name!r} is no role of {cell}; allowed: {', '.join(tasks)}")
        return name
    several = isinstance(loaders, Sequence) and len(loaders) > 1
    need = stage.learn or stage.see if stage is not None else ("target",)
    if len(tasks) > 1 and (several or "target" not in need or (split == "train" and len(need) > 1)):
        what = "a list does not say whose they are" if several else "a plain loader is the target's"
        at = f"stage {stage.name} of {cell} learns {' and '.join(need)}, and " if stage is not None else ""
        named = ", ".join(f'"{role}": ...' for role in (need if stage is not None else tasks))
        raise ValueError(f"{split}_dataloaders: {at}{what}; name them: {{{named}}}")
    return "target"


def named_loaders(loaders: Any, name: str | None = None) -> Iterator[tuple[str, Any]]:
    """Yield each loader of a collection with the name that stands for it, as the Trainer counts them.

    Args:
        loaders: A mapping by name, whose loaders may be several; a list; or one.
        name: The name so far.
    """
    if isinstance(loaders, Mapping):
        for key, one in loaders.items():
            yield from named_loaders(one, name or str(key))
    elif isinstance(loaders, list | tuple):
        for one in loaders:
            yield from named_loaders(one, name)
    else:
        yield name or "target", loaders


def check_loaders(loaders: Any, split: str, cell: str, tasks: Mapping[str, Task], stage: Stage | None) -> None:
    """Check that loaders are those of the roles that are trained or scored, before a batch is read.

    Args:
        loaders: As the Trainer has them.
        split: `train`, `val` or `test`.
        cell: The module's class.
        tasks: Task by role.
        stage: The stage whose roles must each have a loader; None where any may.

    Raises:
        ValueError: If a role of the stage has none, one is of another role or is empty, or its dataset's `classes` are
            the task's labels in another order.
    """
    named = list(named_loaders(loaders))
    if isinstance(loaders, Mapping) and stage is not None:
        roles = {role for name, _ in named for role in name.split("+")}
        wanted = ", ".join(f'"{role}": ...' for role in stage.roles)
        for role in [*sorted(roles - set(stage.roles)), *(role for role in stage.roles if role not in roles)]:
            what = "has no loader" if role in stage.roles else f"is not in stage {stage.name}"
            raise ValueError(f"{split}_dataloaders: {role} {what}; {cell} needs {{{wanted}}} in stage {stage.name}")
    for name, loader in named:
        if isinstance(loader, Sized) and _length(loader) == 0:
            raise ValueError(f"{split}_dataloaders: the loader of {name} has no batch (it is empty, or drops the last)")
        task, classes = tasks.get(name), _classes(loader)
        if task is not None and classes != list(task.labels) and sorted(classes) == sorted(task.labels):
            raise ValueError(
                f"{name}: the module's labels {_said(task.labels)} and the data's {_said(classes)} differ in "
                f"their order; build the module with labels={classes}"
            )


def _length(loader: Sized) -> int | None:
    try:
        return len(loader)
    except (TypeError, NotImplementedError):  # an iterable dataset has none
        return None


def _classes(loader: Any) -> list[str]:
    """Return the names that a loader's dataset says its labels are indices of, as torchvision's do; none by default."""
    dataset: Any = getattr(loader, "dataset", None)
    while isinstance(dataset, Subset):  # what else wraps a dataset may give its labels other indices
        dataset = dataset.dataset
    classes = getattr(dataset, "classes", None)
    return list(classes) if isinstance(classes, list | tuple) and all(isinstance(one, str) for one in classes) else []


class Supervision:
    """Whether the roles whose batches come to be learned or scored bring their targets.

    Args:
        tasks: Task by role.
    """

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        self.tasks = tasks
        self.begin()

    def begin(self) -> None:
        """Forget what came."""
        self.fields: dict[str, set[str]] = {}
        self.found: set[str] = set()
        self.batches = 0

    def note(self, role: str, batch: Batch, found: bool) -> None:
        """Keep which fields a role's batch has.

        Args:
            role: The role.
            batch: The batch.
            found: Whether its targets are among them.
        """
        self.fields.setdefault(role, set()).update(batch)
        if found:
            self.found.add(role)

    def check(self, where: str, anywhere: Callable[[bool], bool] = bool) -> None:
        """Refuse roles that came without a single target, and begin anew.

        Args:
            where: What came, for the error.
            anywhere: Tells whether something is true in any of the processes.

        Raises:
            ValueError: If there is one; the text names the field that was expected and those that were there.
        """
        fields, found = self.fields, self.found
        self.begin()
        for role, task in self.tasks.items():
            came, with_targets = anywhere(role in fields), anywhere(role in found)  # each process asks both
            if came and not with_targets:
                there = ", ".join(sorted(name for name in fields.get(role, ()) if name not in ("id", "role")))
                raise ValueError(
                    f"{where}: no batch of the {role} has the field {task.key!r}, which task {task.name!r} "
                    f"({task.kind}) learns from; it has {there}; rename the field or set key= of the task"
                )
