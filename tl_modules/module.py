"""The base of all cells: parts, stages, one shared step, metrics per role and split, one optimiser."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, cast

from torch import nn

from tl_modules.augment import build_augment
from tl_modules.checks import (
    Supervision,
    check_absent,
    check_cell,
    check_clipping,
    check_copied,
    check_data,
    check_loaders,
    check_numbers,
    check_rule,
    check_tasks,
    warn_of_skipped,
)
from tl_modules.discovery import plain_spec
from tl_modules.finetunings import Curve, Finetuning, build_finetuning
from tl_modules.forward import inputs_of
from tl_modules.freezing import Held, hold_frozen, set_frozen
from tl_modules.gradient_cosine import GradientCosine
from tl_modules.heads import Head, build_head
from tl_modules.heads.rows import take_rows
from tl_modules.health import Health
from tl_modules.learning import Learning
from tl_modules.metrics import Scores
from tl_modules.normalisation import restart
from tl_modules.objectives import Objective, build_objective, check_objective, check_use
from tl_modules.optim import SCHEDULES, planned_steps
from tl_modules.parts import Parts, Wiring
from tl_modules.ranges import Above, AtLeast, Below
from tl_modules.seeding import seeded
from tl_modules.selection import Unlabelled
from tl_modules.stages import ADAPT, SOURCE_SHARE, Stage, after_source, check_conflict, check_shares, with_replay
from tl_modules.targets import fit_heads
from tl_modules.task import Task
from tl_modules.union import UnionScores
from tl_modules.weights.checkpoint import plant
from tl_modules.weights.files import unweighted
from tl_modules.weights.transfer import Report, transplant

OBJECTS = ("target", "source", "backbone", "source_backbone")  # arguments that need not be plain values


class TransferModule(Learning):
    """Train a target, with or without a source; by itself this class is a baseline, the target alone.

    From random weights that is `scratch`, from pretrained ones `finetune`, and with a `linear_probe` of these `probe`.

    A cell says its wiring (which parts each role goes through) and its stages; the rest is here. `enter(stage)` comes
    before each `fit`; only a module of one stage, or one that is resumed from a checkpoint, does without it.

    Args:
        target: The target's task: a `Task` or a dict with `name`, `kind`, `labels`, `domain`, ...
        source: The source's task; None where there is none.
        backbone: A name, a mapping with `name` and options, or a module of one's own (copied for each part).
        source_backbone: The source's backbone, where the cell shares no trunk; the same as the target's by default.
        finetuning: How the target goes on after a source or from weights: `full`, `linear_probe`, another name of
            `finetunings.FINETUNINGS`, the import path of one of one's own, or a mapping with `name` and options; one
            with `freeze` (kinds of part) and `lr` (factors by kind of part) needs no name. Simultaneous cells do not
            read it.
        lr: Highest learning rate of AdamW.
        weight_decay: Decay of weights; norms and biases have none (Loshchilov and Hutter 2019).
        clip: Largest gradient norm of a set of roles that share a part; None for no clipping.
        skip_nonfinite: Steps per stage without a finite gradient that a set of roles which share a part may leave out
            before it stops; see `health.Health`.
        schedule: `one_cycle`, `cosine` or `constant`.
        normalisation: Whose running statistics BatchNorm and its like keep in a part that both roles go through:
            `shared` (one set), `per_role` (each role's passes, statistics and evaluation are its own: domain-specific
            batch normalization, Chang et al. 2019), or `auto` (a role's are those of the passes that carried its
            samples: the mixture's where both share a pass, its own where they do not; one set in stages of one role).
        augment: By role, the options of `Augment`, or of a class of one's own whose import path is `name`.
        weights: Weight of a role's loss, 1 where absent; for stages that learn both roles.
        objective: What makes one loss of those of a step's roles: a name such as `sum`, `uncertainty` or `coral`, the
            import path of one of one's own, or a mapping with `name` and options; see `objectives.Objective`.
        source_share: The source's share of the steps, a fraction; read by sequential cells with a stage of the source.
        replay: The share of the steps of a sequential cell's stages of the target that go on learning the source, so
            that it is not forgotten (Rolnick et al. 2019, experience replay); a fraction.
        gradient_cosine: Whether `train/gradient_cosine` is logged: how far two roles that learn at once pull their
            shared features the same way; see `gradient_cosine.GradientCosine`.
        selection_metric: The target's metric that checkpoints are chosen by, one that its head reports; None for the
            head's own choice. A stage without the target is chosen by the same metric where its head reports it.
        without_labels: The rule that checkpoints are chosen by in a stage that reads no label of the target: `source`
            (that metric of the source), `importance_weighted`, `information_maximisation` or
            `soft_neighbourhood_density`; see `selection`.
        seed: Root of everything random.

    Raises:
        ValueError: If an argument is out of range or has no effect, or the tasks do not fit the wiring.

    Example:
        >>> import torch
        >>> module = TransferModule(target={"name": "digits", "kind": "classification", "labels": ["a", "b"]})
        >>> module(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 2])
    """

    needs_source: ClassVar[bool] = False

    def __init__(
        self,
        target: Task | dict[str, Any],
        *,
        source: Task | dict[str, Any] | None = None,
        backbone: nn.Module | dict[str, Any] | str = "small",
        source_backbone: nn.Module | dict[str, Any] | str | None = None,
        finetuning: str | dict[str, Any] | type[Finetuning] = "full",
        lr: Annotated[float, Above(0)] = 3e-3,
        weight_decay: Annotated[float, AtLeast(0)] = 1e-4,
        clip: Annotated[float, Above(0)] | None = 1.0,
        skip_nonfinite: Annotated[int, AtLeast(0)] = 0,
        schedule: Literal["one_cycle", "cosine", "constant"] = "one_cycle",
        normalisation: Literal["auto", "shared", "per_role"] = "auto",
        augment: dict[str, dict[str, Any]] | None = None,
        weights: dict[str, float] | None = None,
        objective: str | dict[str, Any] | type[Objective] = "sum",
        source_share: Annotated[float, Above(0), Below(1)] = SOURCE_SHARE,
        replay: Annotated[float, AtLeast(0), Below(1)] = 0.0,
        gradient_cosine: bool = False,
        selection_metric: str | None = None,
        without_labels: Literal[
            "source", "importance_weighted", "information_maximisation", "soft_neighbourhood_density"
        ] = "source",
        seed: int = 0,
    ) -> None:
        objective, finetuning = plain_spec(objective, "objective"), plain_spec(finetuning, "finetuning")
        if augment is not None:
            augment = {role: plain_spec(options, f"augment.{role}") for role, options in augment.items()}
        plain = {name: value for name, value in locals().items() if name not in (*OBJECTS, "self", "__class__")}
        super().__init__()
        check_numbers({"lr": lr, "clip": clip}, {"weight_decay": weight_decay, "skip_nonfinite": skip_nonfinite})
        if schedule not in SCHEDULES:
            raise ValueError(f"schedule={schedule!r} is unknown; allowed: {', '.join(SCHEDULES)}")
        self.tasks = self._tasks(source, target)
        self.finetuning, self.clip, self.seed = build_finetuning(cast(Any, finetuning)), clip, seed
        self.weights, self.source_share = dict(weights or {}), source_share
        self.lr, self.weight_decay, self.schedule = lr, weight_decay, schedule  # `Tuner.lr_find` sets lr
        bodies = {"backbone": backbone, "source_backbone": source_backbone}
        bare = {name: unweighted(value) for name, value in bodies.items() if not isinstance(value, nn.Module)}
        self.own_backbone = len(bare) < len(bodies)
        self.save_hyperparameters({**plain, **bare, **{role: task.to_dict() for role, task in self.tasks.items()}})
        self._build_augment(augment or {})
        self._build_parts(backbone, source_backbone, normalisation)
        self._build_scores(selection_metric)
        self._build_objective(objective, replay, without_labels, gradient_cosine)
        self.supervised = {split: Supervision(self.tasks) for split in ("train", "val", "test")}
        self.stage, self.entered, self.taken = self.plan[-1], False, Report()
        self.tuning = False  # whether the finetuning is ready for the stage
        self.settled: Curve = {}  # what it found where it had to choose after the last one
        self.planned = 1  # steps of the stage that is fitted
        self.trained: set[str] = set()  # stages that were fitted, or whose outcome was loaded
        self.health, self.held = Health(skip_nonfinite), Held([])
        self.momenta: dict[nn.Module, Any] = {}  # of layers whose statistics the stage takes anew
        self.parts.normalisation.enter(self.stage.roles)

    def _tasks(self, source: Task | dict[str, Any] | None, target: Task | dict[str, Any]) -> dict[str, Task]:
        """Return the tasks by role, checked against the cell."""
        if self.needs_source and source is None:
            raise ValueError(f"source=None: {type(self).__name__} learns two datasets at once and needs a source task")
        given = {"source": source, "target": target}
        tasks = {role: Task.of(task) for role, task in given.items() if task is not None}
        check_tasks(type(self), tasks)
        check_absent(type(self).__name__, tasks, self.merged)
        return tasks

    def _build_augment(self, augment: Mapping[str, dict[str, Any]]) -> None:
        """Make each role's augmentation."""
        for role in (role for role in augment if role not in self.tasks):
            raise ValueError(f"augment.{role}: is no role of this module; allowed: {', '.join(self.tasks)}")
        self.augment = {role: build_augment(augment.get(role, {})) for role in self.tasks}

    def _build_parts(self, backbone: Any, source_backbone: Any, normalisation: str) -> None:
        """Make stems, trunks and heads by the cell's wiring."""
        wires = {role: names for role, names in self.wiring().items() if role in self.tasks}
        if wires.keys() != self.tasks.keys():
            raise ValueError(
                f"source: {type(self).__name__} has no parts for it and learns the target alone; with a source "
                "(also one in a checkpoint) take the class of a cell, such as TaskFineTuning"
            )
        if source_backbone is not None and len({names[1] for names in wires.values()}) < 2:
            raise ValueError(f"source_backbone: in {type(self).__name__} both roles go through one trunk")
        bodies = {"target": backbone, "source": backbone if source_backbone is None else source_backbone}
        self.parts = Parts(wires, self.tasks, bodies, self.seed, self.new_head, normalisation)
        self.finetuning.keeps_head = len(self.parts.head) < len(wires)
        if normalisation != "auto" and self.parts.apart:
            where = f"in {type(self).__name__}" + ("" if "source" in self.tasks else " without a source")
            raise ValueError(f"normalisation={normalisation!r}: has no effect {where}, where no part is shared")
        head = self.head("target")
        if self.merged and not head.merges():
            raise ValueError(f"{type(head).__name__} does not say how targets are merged: it has no to_union")

    def _build_scores(self, selection_metric: str | None) -> None:
        """Make the metrics of each role and split, of the union, and of each input alone."""
        heads = {role: self.head(role) for role in self.tasks}
        known = heads["target"].reported(self.tasks["target"].labels)
        if selection_metric not in (None, *known):
            raise ValueError(f"selection_metric={selection_metric!r} is unknown; allowed: {', '.join(known)}")
        self.selection_metric = selection_metric
        self.val_scores, self.test_scores = Scores(heads, self.tasks), Scores(heads, self.tasks, judging=True)
        self.union_scores = UnionScores(heads["target"], self.tasks) if self.merged else None
        inputs = sorted({name for stem in self.parts.stem.values() for name in inputs_of(stem)})
        self.alone_scores = nn.ModuleDict({name: Scores(heads, self.tasks) for name in inputs})

    def _build_objective(self, objective: Any, replay: float, without_labels: str, gradient_cosine: bool) -> None:
        """Make the objective and the stages, and refuse what has no effect in them."""
        cell, kind = type(self).__name__, self.tasks["target"].kind
        name = objective if isinstance(objective, str) else str(objective["name"])
        widths = {role: int(cast(Any, self.parts.of(role, "trunk")).dim) for role in self.tasks}
        with seeded(self.seed, "init", "objective"):
            self.objective = build_objective(objective, self.tasks, widths)
        self.plan = with_replay(self.stages(), replay, cell, self.parts.wires)
        check_objective(self.objective, name, cell, self.plan, self.merged, kind, self.parts)
        check_rule(without_labels, cell, self.plan, kind)
        check_use(self.objective, name, cell, self.parts.apart, self.weights)
        check_shares(self.source_share, self.weights, self.plan, cell, self.merged)
        if gradient_cosine:
            check_conflict(cell, self.plan, self.parts.wires, self.merged)
        self.gradient_cosine = GradientCosine() if gradient_cosine else None
        self.without_labels, self.unlabelled = without_labels, Unlabelled()
        self.objective.meet(self)

    def wiring(self) -> Wiring:
        """Return the stem, trunk and head of each role by name; equal names are one part. A cell says its own."""
        return {"target": ("target", "target", "target")}

    def stages(self) -> list[Stage]:
        """Return the stages in order. A cell says its own."""
        return after_source(self.finetuning, has_source=False)

    def head_names(self) -> tuple[str, str]:
        """Return the source's and the target's head where one is kept: one part if the label names are the same.

        Else the target's head starts with the rows of the names that both have; see `heads.rows`.
        """
        same = "source" in self.tasks and self.tasks["target"].same_labels(self.tasks["source"])
        return ("shared", "shared") if same else ("source", "target")

    def adapting(self) -> dict[str, Any] | None:
        """Return what stage `adapt` is where the target is learned without its labels, else None.

        Raises:
            ValueError: If it is to be, and one head cannot serve both roles.
        """
        if not self.objective.adapts or "source" not in self.tasks:
            return None
        if not self.tasks["target"].same_labels(self.tasks["source"]):
            raise ValueError("objective: adapting without labels needs the same labels in source and target")
        return self.objective.adapting()

    def new_head(
        self,
        task: Task,
        dim: int,
        channels: list[int],
        strides: list[int],
        labels: list[str],
        made: type[Head] | None = None,
    ) -> Head:
        """Return a new head, by default its kind's; a subclass may give one of its own (see `heads.build_head`).

        `made` is given where the backbone says which head belongs to its weights.
        """
        return build_head(task, dim, channels, strides, labels, made)

    def enter(self, stage: str, tuning: bool = True) -> Report:
        """Make a stage the current one: carry over what it starts from, freeze what it freezes.

        Args:
            stage: Its name.
            tuning: Whether it is to be trained, so that the finetuning makes ready for it.

        Returns:
            What became of each tensor that the target takes over from the source without sharing it.

        Raises:
            ValueError: If the module has no such stage.
        """
        names = [s.name for s in self.plan]
        if stage not in names:
            raise ValueError(f"stage={stage!r} is unknown; {type(self).__name__} has {', '.join(names)}")
        self.leave()
        report, before = Report(), self.stage if self.entered else None
        self.stage, self.entered = self.plan[names.index(stage)], True
        self.health.begin()
        begins = before is not None and "target" in self.stage.roles and "target" not in before.roles
        if before is not None and "source" in before.learn and begins:
            for kind in ("stem", "trunk"):
                source, target = self.parts.of("source", kind), self.parts.of("target", kind)
                if source is not target:
                    with self.parts.as_role("source"):
                        state = source.state_dict()
                    report.add(transplant(target, state), f"{kind}.")
            known, new = self.head("source"), self.head("target")
            if known is not new and self.tasks["source"].same_task(self.tasks["target"]):
                report.add(take_rows(new, known.state_dict(), known.labels), "head.")
        met = [role for s in [*self.plan[: names.index(stage)], *([before] if before else [])] for role in s.roles]
        if "source" in met and "target" in self.stage.roles and "target" not in met:
            self.parts.start("target", "source")
        self.parts.normalisation.enter(self.stage.roles)
        for _, _, part in self.parts.named():
            set_frozen(part, part in self._resting())
        self.parts.hold_fixed()
        if tuning:
            self._tune()
        for layer, momentum in self.momenta.items():
            layer.momentum = momentum  # type: ignore[assignment]
        self.momenta = {layer: restart(layer) for layer in self.moving()}
        self.train(self.training)
        self.taken = report
        return report

    def _resting(self) -> list[nn.Module]:
        """Return the parts that stay as they are in the current stage."""
        used, frozen = self.parts.through(self.stage.roles), self.stage.freeze
        return [part for kind, name, part in self.parts.named() if kind in frozen or (kind, name) not in used]

    def _tune(self) -> None:
        """Let the finetuning make ready for the current stage, if that is one of its own, and was not yet."""
        if self.stage.tuned and not self.tuning:
            self.finetuning.begin(self.parts, self.stage, self.seed)
            self.tuning = True

    def leave(self) -> None:
        """Let the parts be as they are by themselves, with what was learned; `enter` and `fit` do so."""
        self.finetuning.leave(self.parts)
        self.tuning = False

    def train(self, mode: bool = True) -> TransferModule:
        """Set training mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        resting = self._resting() if self.entered else []
        statistics = self.stage.tuned and self.finetuning.keeps_statistics
        for kind, _, part in self.parts.named() if self.entered else ():
            part.eval() if part in resting else hold_frozen(part, statistics and kind == "trunk")
        for layer in self.moving():
            layer.train(mode)
        return self

    def moving(self) -> list[nn.Module]:
        """Return the layers whose running statistics are taken anew in the current stage, though they are frozen."""
        if not (self.entered and self.objective.moves_statistics and self.stage.name == ADAPT):
            return []
        return [layer for role in self.stage.see for layer in self.parts.with_statistics(role)]

    def setup(self, stage: str) -> None:
        """Enter the only stage if it was not entered before `fit`; a checkpoint that is resumed says its own."""
        check_data(self.tasks, getattr(self.trainer, "datamodule", None))
        if stage == "fit":
            check_clipping(self.trainer.gradient_clip_val, self.trainer.gradient_clip_algorithm, self.clip)
            self.health.begin()  # an earlier fit's is not this one's; a checkpoint that is resumed says its own
        if stage == "fit" and not self.entered and len(self.plan) == 1:
            self.enter(self.plan[0].name, tuning=False)
        if stage == "fit" and self.entered:
            before = len(list(self.parameters()))
            self._tune()
            check_copied(self.trainer, self.stage.name, len(list(self.parameters())) - before)
            self.train(self.training)  # what the finetuning froze
        if stage == "fit" and self.entered and not (self.parts.report.loaded or self.parts.report.adapted):
            warn_of_skipped(type(self).__name__, self.plan, self.stage, self.trained)

    def on_train_start(self) -> None:
        """Show heads their training targets where they learn for the first time; see `targets.fit_heads`."""
        check_loaders(self.trainer.train_dataloader, "train", type(self).__name__, self.tasks, self.stage)
        steps = planned_steps(self.trainer)
        self.planned = int(steps) if math.isfinite(steps) else 1  # also where the optimiser is a subclass's own
        fit_heads(self.trainer, self.parts, self.tasks, self.stage)
        self.supervised["train"].begin()
        self.held = Held(part for _, _, part in self.parts.named())

    def on_train_epoch_start(self) -> None:
        """Put the statistics of frozen layers back where a callback reset those of all layers."""
        self.held.restore()

    def on_train_epoch_end(self) -> None:
        """Refuse an epoch in which a role that learns brought no targets; one that was resumed was seen in part."""
        seen = self.supervised["train"]
        if seen.batches == self.trainer.fit_loop.epoch_loop.batch_progress.current.ready:
            seen.check("train", self.in_any_process)
        seen.begin()

    def on_train_end(self) -> None:
        """Note that the stage was fitted."""
        self.trained.add(self.stage.name)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the heads' order of names; refuse a checkpoint whose own backbone was not given again."""
        carried = checkpoint.get("transfer", {})
        check_cell(type(self), carried.get("cell"))
        if carried.get("own_backbone") and not self.own_backbone:
            raise ValueError(
                "backbone: this checkpoint was trained with a module of one's own; "
                f"pass it again: {type(self).__name__}.load_from_checkpoint(path, backbone=module)"
            )
        stage, fitting = carried.get("stage"), self._trainer is not None and self.trainer.state.fn == "fit"
        if not self.entered and (fitting or stage in [s.name for s in self.plan]):
            self.enter(stage or self.plan[-1].name, tuning=fitting)
        elif fitting and stage not in (None, self.stage.name):
            raise ValueError(
                f"this checkpoint is of stage {stage!r}, but {self.stage.name!r} was entered; "
                f"call module.enter({stage!r}) before it is resumed"
            )
        if stage == self.stage.name:
            self.health.load_state_dict(carried.get("health", {}))
            self.finetuning.load(checkpoint)
        names = [one.name for one in self.plan]
        self.trained |= set(names[: names.index(stage) + 1] if stage in names else names)
        self.parts.normalisation.complete(checkpoint.get("state_dict", {}), "parts.")
        for name, labels in carried.get("labels", {}).items():
            cast(Head, self.parts.head[name]).labels = list(labels)

    def plant(self, checkpoint: Mapping[str, Any], of: str = "target", into: str | None = None) -> Report:
        """Take the weights of a checkpoint's role for a role of this module; see `checkpoint.plant`.

        Args:
            checkpoint: A checkpoint of a TransferModule, as loaded.
            of: The checkpoint's role.
            into: This module's role; by default its source, or its target where it has no source.
        """
        self.trained.add(self.plan[0].name)
        return plant(self.parts, checkpoint, of, into or next(iter(self.parts.wires)))
