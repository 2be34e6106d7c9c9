"""Losses and gradients that are not finite: who stops learning, and who does not."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

SHOWN = 8
MOST_OVERFLOWS = 40  # in a row: halved so often, no scale is left


class Diverged(RuntimeError):
    """A stage whose loss or gradient is not finite; nothing was learned from that step.

    Args:
        text: What happened, in a line.
        stage: The stage.
        step: Its optimiser steps until then.
    """

    def __init__(self, text: str, stage: str, step: int) -> None:
        super().__init__(text)
        self.stage, self.step = stage, step


class Island(NamedTuple):
    """Parts that no other role goes through, and the roles that do."""

    roles: tuple[str, ...]
    parts: list[nn.Module]

    def parameters(self) -> list[nn.Parameter]:
        """Return what learns in it and has a gradient."""
        return [p for part in self.parts for p in part.parameters() if p.grad is not None]


class Health:
    """Watch each island's gradient, and keep a step that is not finite from its weights.

    An island with such a step is left as it is for that step; with more of them than may be skipped its roles stop:
    from then on its weights stay. Other islands, which share nothing with it, go on as if they were alone.

    Args:
        skip: Steps per stage that an island may leave out.
    """

    def __init__(self, skip: int = 0) -> None:
        self.skip = skip
        self.begin()

    def begin(self) -> None:
        """Begin a stage."""
        self.skipped: dict[str, int] = {}  # steps by role
        self.stopped: dict[str, dict[str, Any]] = {}  # by role: step and samples
        self.ids: dict[str, list[str]] = {}  # of the samples of the current optimiser step, by role
        self.losses: dict[str, Tensor] = {}
        self.overflows = 0  # in a row, of float16

    def note(self, role: str, batch: Mapping[str, Any], loss: Tensor) -> None:
        """Note a role's batch and loss.

        Args:
            role: The role.
            batch: Its batch.
            loss: Its loss, a scalar.
        """
        self.ids.setdefault(role, []).extend(map(str, batch.get("id", ())))
        self.losses[role] = loss.detach()

    def check(
        self,
        islands: Iterable[Island],
        clip: float | None,
        stage: str,
        step: int,
        learn: Collection[str],
        scaled: bool = False,
    ) -> None:
        """Scale each island's gradients to a norm of at most `clip`; drop those of an island whose norm is not finite.

        Args:
            islands: The islands.
            clip: The largest norm; None to leave the gradients as they are.
            stage: The stage, for messages.
            step: Its optimiser steps so far.
            learn: The roles that learn in it.
            scaled: Whether a `GradScaler` (float16) leaves out steps whose gradients overflow, and lowers its scale.

        Raises:
            Diverged: If the target, or every role that learns, has stopped.
        """
        islands = list(islands)
        if scaled and self._overflows(islands):
            return
        for island in islands:
            given = island.parameters()
            if not given:
                continue
            norm = torch.nn.utils.get_total_norm([p.grad for p in given if p.grad is not None])
            if bool(torch.isfinite(norm)) and not any(role in self.stopped for role in island.roles):
                if clip is not None:
                    torch.nn.utils.clip_grads_with_norm_(given, clip, norm)
                continue
            for parameter in given:
                parameter.grad = None
            self._leave_out(island, norm, stage, step, learn)
        self.ids.clear()

    def _overflows(self, islands: Sequence[Island]) -> bool:
        """Tell whether the gradients overflow, of finite losses and not for longer than a scale takes to fall."""
        grads = [p.grad for island in islands for p in island.parameters() if p.grad is not None]
        finite = bool(torch.isfinite(torch.nn.utils.get_total_norm(grads))) if grads else True
        self.overflows = 0 if finite else self.overflows + 1
        whole = all(bool(torch.isfinite(loss)) for loss in self.losses.values())
        return not finite and whole and self.overflows <= MOST_OVERFLOWS

    def _leave_out(self, island: Island, norm: Tensor, stage: str, step: int, learn: Collection[str]) -> None:
        for role in island.roles:
            if role in self.stopped:
                continue
            self.skipped[role] = self.skipped.get(role, 0) + 1
            if self.skipped[role] > self.skip:
                self.stopped[role] = {"step": step, "samples": self.ids.get(role, [])}
        gone = [role for role in learn if role in self.stopped]
        if "target" in gone or set(gone) == set(learn):
            raise Diverged(self._says(island, norm, stage, step), stage, step)

    def _says(self, island: Island, norm: Tensor, stage: str, step: int) -> str:
        losses = {role: float(loss) for role, loss in self.losses.items() if role in island.roles}
        wrong = {role: loss for role, loss in losses.items() if not math.isfinite(loss)}
        what = ", ".join(f"the loss of {role} is {loss}" for role, loss in wrong.items())
        what = what or f"the gradient's norm is {float(norm)}"
        samples = [name for role in wrong or island.roles for name in self.ids.get(role, [])]
        after = f" after {self.skip} that were skipped" if self.skip else ""
        return f"diverged in stage {stage} at step {step + 1}{after}: {what}; its samples: {shown(samples)}"

    def told(self) -> dict[str, Any]:
        """Return what there is to tell of the stage, by role: steps skipped, and where a role stopped."""
        told: dict[str, Any] = {}
        for role, count in self.skipped.items():
            stop = self.stopped.get(role)
            told[role] = {"skipped": count - bool(stop), **({"stopped_at": stop["step"], **stop} if stop else {})}
            told[role].pop("step", None)
        return told

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed stage needs."""
        return {"skipped": dict(self.skipped), "stopped": {role: dict(one) for role, one in self.stopped.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with what a checkpoint says."""
        self.skipped, self.stopped = dict(state.get("skipped", {})), dict(state.get("stopped", {}))


def shown(names: Sequence[str]) -> str:
    """Return some names, and how many more there are."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "") if names else "none named"
