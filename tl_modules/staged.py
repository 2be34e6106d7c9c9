"""The staged runner: a module's stages one after the other, each with a Trainer of its own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.model_helpers import is_overridden

from tl_modules.checks import check_data, check_hooks
from tl_modules.module import TransferModule
from tl_modules.stages import Stage, split_steps
from tl_modules.weights.transfer import Report

# Arguments of a Trainer that say where and how it runs.
PLACING = ("accelerator", "devices", "num_nodes", "strategy", "precision", "plugins", "use_distributed_sampler")


class Trained(NamedTuple):
    """What became of a stage.

    Args:
        stage: The stage.
        steps: The steps it was given, None where its Trainer alone says how long it trains.
        trainer: The Trainer that fitted it; None where nothing was left to do.
        taken: What the target took over from the source when the stage was entered.
        monitor: The metric that its checkpoints are chosen by.
        checkpoint: The checkpoint whose weights the module has since; None where it keeps the last step's.
    """

    stage: Stage
    steps: int | None
    trainer: Trainer | None
    taken: Report
    monitor: str
    checkpoint: Path | None


def fit(
    module: TransferModule,
    data: Any,
    trainer: Mapping[str, Any] | Callable[[Stage, int | None], Trainer | None] | None = None,
    *,
    steps: int | None = None,
    resume: Callable[[Stage], str | Path | None] | str | Path | None = None,
    chosen: Callable[[Stage, Trainer | None], Path | None] | None = None,
) -> list[Trained]:
    """Train a module's stages in order; after each one the module has the weights of its best checkpoint.

    Args:
        module: The module.
        data: A paired DataModule (`datamodules.pair`), a LightningDataModule for the target alone, or by role a
            LightningDataModule or loaders: `{"source": ..., "target": ...}` of DataModules, of training loaders, or of
            `{"train": loader, "val": loader}`.
        trainer: Arguments of the `Trainer` that each stage gets, or what makes it from the stage and its steps; None
            from there for a stage that is done. With arguments, `callbacks` are copied for each stage, or are what
            makes them from the stage, the metric that it is chosen by and `max` or `min`; and a checkpoint per stage is
            kept where the stage is validated and `enable_checkpointing` is not False.
        steps: Optimiser steps of all stages together, divided by their shares; else `max_steps` of the arguments are
            divided so, and `max_epochs` are each stage's.
        resume: A checkpoint to go on from, whose stage is not begun anew and before which no stage is trained; or what
            tells it by stage.
        chosen: What tells the checkpoint whose weights a stage leaves behind; by default the best of the Trainer's
            `ModelCheckpoint` that has a monitor.

    Returns:
        A record per stage.

    Raises:
        ValueError: If the data lack a role that a stage needs, or the checkpoint's stage is none of the module's.
        KeyboardInterrupt: If a stage was interrupted.

    Example:
        >>> from datamodules.pair import SequentialData
        >>> from datamodules.synthetic.scenes import Scenes
        >>> from tl_modules import TaskFineTuning, fit
        >>> source = Scenes("textured", "classify", role="source", train_size=16, val_size=8)
        >>> target = Scenes("textured", "classify", train_size=16, val_size=8)
        >>> module = TaskFineTuning(target=target.task, source=source.task)
        >>> quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        >>> records = fit(module, SequentialData(target, source, 8), {**quiet, "enable_checkpointing": False}, steps=4)
        >>> [(one.stage.name, one.steps) for one in records]
        [('source', 2), ('target', 2)]
    """
    given = None if callable(trainer) else dict(trainer or {})
    if given is not None and steps is None and given.get("max_steps", -1) > 0:
        steps = given["max_steps"]
    counts: list[int | None] = [None] * len(module.plan) if steps is None else [*split_steps(steps, module.plan)]
    begin = _stage_of(module, resume) if isinstance(resume, str | Path) else None
    names = [stage.name for stage in module.plan]
    fed = Fed(data, module)
    settles = chosen is None and module.plan[-1].tuned and module.finetuning.settles
    if settles and isinstance(data, Mapping):
        fed.validation()
    records = []
    for stage, count in zip(module.plan, counts, strict=True):
        if begin is not None and names.index(stage.name) < names.index(begin):
            module.trained.add(stage.name)  # its outcome is in the checkpoint
            continue
        fed.enter(stage)
        taken = module.enter(stage.name)
        options = {**fed.usual, **(given or {})}
        made = trainer(stage, count) if callable(trainer) else made_trainer(options, stage, count, module)
        if made is not None:
            before = resume(stage) if callable(resume) else resume if stage.name == begin else None
            path = None if before is None else str(before)
            made.fit(module, **fed.arguments(stage), ckpt_path=path, weights_only=None if path is None else True)
            if made.interrupted:
                raise KeyboardInterrupt
        best = (chosen or best_of)(stage, made)
        module.leave()
        if best is not None:
            load_weights(module, best)
        records.append(Trained(stage, count, made, taken, module.monitor[0], best))
    if settles:
        settle(module, lambda: validated(module, fed.validation(), {**fed.usual, **(given or {})}))
    return records


def made_trainer(given: Mapping[str, Any], stage: Stage, steps: int | None, module: TransferModule) -> Trainer:
    """Return a stage's Trainer from arguments that all stages share.

    Args:
        given: The arguments.
        stage: The stage.
        steps: Its steps.
        module: The module, which has entered the stage; it says what the best checkpoint is chosen by.
    """
    options = dict(given)
    if steps is not None:
        options |= {"max_steps": steps}
        options.setdefault("max_epochs", -1)
    callbacks = options.pop("callbacks", None) or []
    if callable(callbacks):
        callbacks = callbacks(stage, *module.monitor)
    callbacks = list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
    callbacks = copy.deepcopy(callbacks)  # what one stage left in them is nothing to the next
    validated = options.get("limit_val_batches") != 0 and not any(isinstance(one, ModelCheckpoint) for one in callbacks)
    if options.get("enable_checkpointing", True) is not False and validated:
        monitor, mode = module.monitor
        folder = Path(options.get("default_root_dir") or Path.cwd()) / "checkpoints" / stage.name
        callbacks.append(ModelCheckpoint(folder, monitor=monitor, mode=mode, auto_insert_metric_name=False))
    return Trainer(**options, callbacks=callbacks)


def best_of(stage: Stage, trainer: Trainer | None) -> Path | None:
    """Return the best checkpoint of a Trainer's callback that has a monitor, None where there is none."""
    kept = [one for one in (trainer.checkpoint_callbacks if trainer else []) if isinstance(one, ModelCheckpoint)]
    found = [one.best_model_path for one in kept if one.monitor is not None and one.best_model_path]
    return Path(found[0]) if found else None


def load_weights(module: TransferModule, path: str | Path) -> None:
    """Load a checkpoint's weights into a module that has entered its stage."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    module.on_load_checkpoint(checkpoint)
    module.load_state_dict(checkpoint["state_dict"])


def settle(module: TransferModule, validate: Callable[[], Mapping[str, float]]) -> None:
    """Let the finetuning choose by validation what the last stage leaves; the module's `settled` tells what it found.

    Args:
        module: The module, with the weights of the stage's chosen checkpoint.
        validate: Returns the scores of the module as it is.
    """
    monitor = {role: module.monitor_of(role)[0] for role in module.tasks}
    module.settled = module.finetuning.settle(module.parts, validate, {**monitor, "direction": module.monitor[1]})


def validated(module: TransferModule, loaders: Any, options: Mapping[str, Any]) -> dict[str, float]:
    """Return a module's scores on validation sets.

    Args:
        module: The module.
        loaders: As `Trainer.validate` takes them.
        options: Arguments of a Trainer, of which those count that say where it runs.
    """
    placing = {name: options[name] for name in PLACING if name in options}
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(**{**placing, **quiet})
    found = trainer.validate(module, loaders, verbose=False)
    return {name: value for part in found for name, value in part.items()}


def _stage_of(module: TransferModule, path: str | Path) -> str:
    stage = torch.load(path, map_location="cpu", weights_only=True).get("transfer", {}).get("stage")
    names = [one.name for one in module.plan]
    if stage not in names:
        raise ValueError(f"resume={path}: is of stage {stage!r}; {type(module).__name__} has {', '.join(names)}")
    return str(stage)


class Fed:
    """What a stage's `Trainer.fit` is given, from whatever the data come as.

    Args:
        data: See `fit`.
        module: The module.

    Raises:
        ValueError: If the data lack a role that a stage needs, or name another.
    """

    def __init__(self, data: Any, module: TransferModule) -> None:
        self.data, self.module, self.one = data, module, isinstance(data, LightningDataModule)
        # Our samplers divide the samples among the processes themselves.
        self.usual: dict[str, Any] = {"use_distributed_sampler": False} if hasattr(data, "enter") else {}
        need = list(dict.fromkeys(role for stage in module.plan for role in stage.roles))
        if self.one:
            if not hasattr(data, "enter") and need != ["target"]:
                one = f"{type(data).__name__} is one dataset's, and {type(module).__name__} learns {' and '.join(need)}"
                raise ValueError(f'data: {one}; give {{"source": ..., "target": ...}} or a paired DataModule')
            return
        if any(stage.replay for stage in module.plan):
            raise ValueError("data: replay needs a paired DataModule, which says whose step it is")
        if not isinstance(data, Mapping):
            raise ValueError(f"data: must be a DataModule or a mapping by role, not {type(data).__name__}")
        known = {*need, *(role for stage in module.plan for role in stage.validated)}
        wrong = [str(role) for role in data if role not in known] or [role for role in need if role not in data]
        if wrong:
            needs = f"{type(module).__name__} needs {' and '.join(need)}"
            raise ValueError(f"data: {wrong[0]} is {'not there' if wrong[0] in need else 'unknown'}; {needs}")
        for role, one in self.data.items():
            if isinstance(one, LightningDataModule):
                check_hooks(one, role)
                one.prepare_data()
                one.setup("fit")
                check_data(module.tasks, one, role)
                continue
            unknown = sorted(set(one) - {"train", "val"}) if isinstance(one, Mapping) else []
            parts = list(one.values()) if isinstance(one, Mapping) else [one]
            if unknown or any(isinstance(part, list | tuple) for part in parts):
                found = f"the key {unknown[0]!r}" if unknown else "a list"
                wants = 'a training loader, {"train": loader, "val": loader} or a LightningDataModule'
                raise ValueError(f"data: {role} must be {wants}; it has {found}")

    def enter(self, stage: Stage) -> None:
        """Make a stage the current one."""
        if hasattr(self.data, "enter"):
            self.data.enter(stage)

    def arguments(self, stage: Stage) -> dict[str, Any]:
        """Return the arguments of `Trainer.fit` that say what is trained on."""
        if self.one:
            return {"datamodule": self.data}
        train = {role: self._loader(role, "train") for role in stage.roles}
        val = {role: self._loader(role, "val") for role in stage.validated if role in self.data}
        val = {role: loader for role, loader in val.items() if loader is not None}
        return {"train_dataloaders": train, "val_dataloaders": val or None}

    def validation(self) -> Any:
        """Return the validation loaders of all roles that have one.

        Raises:
            ValueError: If the target has none.
        """
        roles = list(self.module.tasks)
        if self.one:
            return self.data.whole("val", roles) if hasattr(self.data, "whole") else self.data.val_dataloader()
        found = {role: self._loader(role, "val") for role in roles if role in self.data}
        if found.get("target") is None:
            name = self.module.finetuning.name
            raise ValueError(f"data: finetuning={name} chooses by validation, and the target has no validation loader")
        return {role: loader for role, loader in found.items() if loader is not None}

    def _loader(self, role: str, split: str) -> Any:
        one = self.data[role]
        if isinstance(one, LightningDataModule):
            given = split == "train" or is_overridden("val_dataloader", one)
            return getattr(one, f"{split}_dataloader")() if given else None
        if isinstance(one, Mapping):
            return one.get(split)
        return one if split == "train" else None
