"""What a module learns by: a step's losses and their objective, the optimiser, and the clipping of gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from tl_modules.batch import Batch, annotated, size_of, targets_of
from tl_modules.checks import not_entered
from tl_modules.features import Features
from tl_modules.forward import by_trunk, features_of
from tl_modules.gradient_cosine import GradientCosine
from tl_modules.health import Island
from tl_modules.judging import Judging
from tl_modules.objectives import Objective
from tl_modules.objectives.base import summed
from tl_modules.optim import SCHEDULES, named_groups, steps_of, whole
from tl_modules.precision import full_precision
from tl_modules.processes import anywhere, together
from tl_modules.seeding import generator, seed_of, undisturbed
from tl_modules.stages import Stage
from tl_modules.task import ROLES
from tl_modules.union import union_task


class Learning(Judging):
    """The part of `TransferModule` that takes a training step.

    Attributes:
        seed: Root of everything random.
        augment: Augmentation by role.
        objective: What makes one loss of those of a step's roles.
        gradient_cosine: What watches how far the roles' gradients agree; None where nobody asked.
        weights: Weight of a role's loss, 1 where absent.
        planned: Steps of the stage that is fitted.
        lr: Highest learning rate.
        weight_decay: Decay of weights.
        schedule: A name of `optim.SCHEDULES`.
        clip: Largest gradient norm of a set of roles that share a part; None for no clipping.
        plan: All stages.
        entered: Whether a stage was entered.
    """

    seed: int
    augment: dict[str, Any]
    objective: Objective
    gradient_cosine: GradientCosine | None
    weights: dict[str, float]
    planned: int
    lr: float
    weight_decay: float
    schedule: str
    clip: float | None
    plan: list[Stage]
    entered: bool

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the objective of the roles' losses; what is random is a function of seed, step and roles alone."""
        address = (self.seed, self.trainer.fit_loop.epoch_loop.total_batch_idx, self.global_rank)
        batches = self._by_roles("train", batch, 0)
        self.supervised["train"].batches += 1
        for key, part in batches.items():
            noise = generator(*address, "augment", key, device=self.device)
            batches[key] = self.augment[key.split("+")[-1]](part, noise)
        with undisturbed():  # a loader's shuffle is its own matter
            return self._objective_of(batches, address)

    def _objective_of(self, batches: Mapping[str, Batch], address: tuple[int, int, int]) -> Tensor:
        """Return what a step minimises, with random numbers that its address alone decides."""
        losses: dict[str, Tensor] = {}
        features: dict[str, Features] = {}
        outputs: dict[str, Any] = {}
        ties = []  # DDP refuses a step whose loss does not reach the features
        for units in by_trunk(self.parts, batches):
            torch.manual_seed(seed_of(*address, [key for key, _ in units]))
            for (key, role), found in features_of(self.parts, batches, units).items():
                features[role] = found
                if self.gradient_cosine is not None:
                    found = self.gradient_cosine.watch(role, found)
                with together():
                    loss = self.loss(role, found, batches[key])
                if loss is None:
                    ties.append(found.pooled.float().sum() * 0)
                else:
                    losses[role] = loss
                    self.health.note(role, batches[key], loss)
                if role in self.stage.see and self.objective.reads_outputs:
                    outputs[role] = self.outputs(found, role)
        self._log_losses(losses)
        if self.merged and len(losses) > 1:  # of loaders by role: one mean over all samples
            sizes = {role: size_of(batches[role]) for role in losses}
            losses = {role: loss * sizes[role] / sum(sizes.values()) for role, loss in losses.items()}
        torch.manual_seed(seed_of(*address[:2], "objective"))  # the same in all processes
        if losses or not self.stage.learn:
            with together():
                ties.insert(0, self._total(losses, features, outputs))
        pull = self.finetuning.penalty(self.parts) if self.stage.tuned else None
        ties += [] if pull is None else [pull]
        return ties[0] if len(ties) == 1 else torch.stack(ties).sum()

    def _total(
        self, losses: Mapping[str, Tensor], features: Mapping[str, Features], outputs: Mapping[str, Any]
    ) -> Tensor:
        """Return what the objective makes of a step, or the sum where it has nothing to adapt to."""
        if self.objective.adapts and len(self.stage.roles) == 1 and not self.stage.see:
            return summed(self.weighted(losses))
        self.objective.progress = min(1.0, self.trainer.global_step / self.planned)
        more = {"outputs": outputs} if self.objective.reads_outputs else {}
        total: Tensor = self.objective(self.weighted(losses), features, self.stage, **more)
        if self.stage.see:
            self.log("train/objective", total.detach(), batch_size=1)
        return total

    def on_after_backward(self) -> None:
        """Log how far the roles' gradients agree, where that was asked for and the step had both."""
        cosine = None if self.gradient_cosine is None else self.gradient_cosine.take()
        if cosine is not None:
            self.log("train/gradient_cosine", cosine, batch_size=1)

    def weighted(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the roles' losses times their static weights."""
        return {role: loss * self.weights.get(role, 1.0) for role, loss in losses.items()}

    def _log_losses(self, losses: Mapping[str, Tensor]) -> None:
        """Log a step's losses; Lightning thins, and would go on writing the old loss of a role that is not there."""
        for role in self.tasks.keys() - losses.keys():
            old = getattr(self.trainer, "_results", None) or {}
            if f"training_step.train/{role}/loss" in old:
                old[f"training_step.train/{role}/loss"].reset()
        self.log_dict({f"train/{role}/loss": loss.detach() for role, loss in losses.items()}, batch_size=1)

    def loss(self, role: str, features: Features, batch: Batch) -> Tensor | None:
        """Return a role's loss on a batch with its features; None where nothing is to be learned from it."""
        head, both = self.head(role), "role" in batch
        merged = both or self.merged
        if merged and not both:
            batch = self._as_merged(role, batch)
        found = targets_of(batch, self.tasks[role], head.key)
        if merged or role in self.stage.learn:
            self.supervised["train"].note(role, batch, found is not None)
        device = features.pooled.device
        if not (merged or role in self.stage.learn) or not anywhere(found is not None, device):
            return None
        targets, rows = found or (head.no_targets(head.key, self.tasks[role].labels, features.size), None)
        if found is None:  # other processes have some
            targets = {name: one.to(device) if isinstance(one, Tensor) else one for name, one in targets.items()}
            rows = torch.zeros(0, dtype=torch.long, device=device)
        features = features if rows is None else features.take(rows)
        union = list(union_task(self.tasks).labels) if merged else None
        with self.parts.passing("head", role, *self.tasks) if both else nullcontext():
            outputs = self.outputs(features, role, labels=union)
        if union:
            targets |= {"annotated": annotated(batch, rows, self.tasks, union, device), "names": union}
            outputs = head.restrict(outputs, targets["annotated"])
        with full_precision(device):
            return head.loss(outputs, targets)

    def _as_merged(self, role: str, batch: Batch) -> Batch:
        """Return a role's batch, as loaders of one's own give it, like one that holds both roles' samples."""
        task, names = self.tasks[role], union_task(self.tasks).labels
        whose = torch.full((size_of(batch),), ROLES.index(role))
        if task.key not in batch:
            return {**batch, "role": whose}
        columns = torch.tensor([names.index(name) for name in task.labels], device=self.device)
        return {**batch, **self.head(role).to_union(batch, task.key, columns, len(names)), "role": whose}

    def beside(self) -> Iterator[tuple[str, str, nn.Module]]:
        """Yield kind, name and module of what may learn beside the parts: the objective, and what a cell adds."""
        for name, module in self.named_children():
            if module is not self.parts and any(True for _ in module.parameters()):
                yield ("objective" if module is self.objective else "beside"), name, module

    def learning(self) -> Iterator[tuple[str, str, nn.Module]]:
        """Yield kind, name and module of all that may learn.

        Raises:
            ValueError: If a parameter is in none of them.
        """
        if self._parameters:
            raise ValueError(f"{next(iter(self._parameters))}: a parameter of a cell has to stand in a module of it")
        yield from self.parts.named()
        yield from self.beside()

    def configure_optimizers(self) -> Any:
        """Return AdamW over named groups (part and decay) and the schedule over the stage's steps."""
        if not self.entered:  # a checkpoint that is resumed has entered its stage by now
            raise ValueError(not_entered(type(self).__name__, self.plan))
        split = self.finetuning.groups if self.stage.tuned else whole
        groups = named_groups(self.learning(), self.lr, self.weight_decay, self.stage.lr, split)
        optimizer = torch.optim.AdamW(groups)
        schedule = SCHEDULES[self.schedule](optimizer, steps_of(self.trainer, self.schedule))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        """Clip the gradients of each set of roles that share a part, so that no other set has a say in it.

        Raises:
            Diverged: If the gradient of the target, or of every role that learns, is not finite.
        """
        islands = [Island(roles, parts) for roles, parts in self.parts.islands()]
        islands += [Island(tuple(self.tasks), [module]) for _, _, module in self.beside()]
        self.health.check(
            islands,
            self.clip,
            self.stage.name,
            self.trainer.global_step,
            self.stage.learn or self.stage.see,
            getattr(self.trainer.precision_plugin, "scaler", None) is not None,
        )
