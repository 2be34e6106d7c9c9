"""Between the start and what was learned."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from tl_modules.finetunings.base import Curve
from tl_modules.finetunings.lp_ft import probe_stage
from tl_modules.finetunings.starting import FromStart
from tl_modules.parts import Parts
from tl_modules.ranges import Above, AtLeast, Below
from tl_modules.stages import PART_KINDS, Stage


class WiseFt(FromStart):
    """WiSE-FT (Wortsman et al. 2022, equation 1): `(1 - c) * start + c * fine-tuned`, `c` chosen by validation.

    All learn, and when they have, the weights on the line between both ends are validated. Of equally good ones that
    with the lower validation loss is chosen, then that nearer to the start. Where the target keeps the source's head,
    the start is what the source left; a new head would be random there, so it learns alone first, and the start is what
    comes of that. Running statistics lie between those of the ends.

    Args:
        points: How many coefficients, evenly from 0 to 1, both among them.
        probe_share: The share of the target's steps in which a new head learns alone, a fraction.
        probe_lr: Factor on its learning rate then.
        lr: Factors on the learning rate by kind of part in the stage of all; 1 where absent.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> [stage.name for stage in WiseFt().stages()]
        ['target_probe', 'target']
    """

    adapts: ClassVar[bool] = False

    def __init__(
        self,
        points: Annotated[int, AtLeast(2)] = 11,
        probe_share: Annotated[float, Above(0), Below(1)] = 0.5,
        probe_lr: Annotated[float, Above(0)] = 10.0,
        lr: dict[Literal[PART_KINDS], float] | None = None,  # type: ignore[valid-type]
    ) -> None:
        super().__init__(lr=lr)
        if points < 2:
            raise ValueError(f"finetuning.points={points}: must be at least 2")
        if not 0 < probe_share < 1:
            raise ValueError(f"finetuning.probe_share={probe_share}: must be between 0 and 1")
        if not probe_lr > 0:
            raise ValueError(f"finetuning.probe_lr={probe_lr}: must be greater than 0")
        self.coefficients = [point / (points - 1) for point in range(points)]
        self.probe_share, self.probe_lr = probe_share, probe_lr

    def stages(self, share: float = 1.0) -> list[Stage]:
        """Return the stage of all, and before it that of the head where it is new."""
        if self.keeps_head:
            return super().stages(share)
        rest = super().stages(share * (1 - self.probe_share))
        return [probe_stage(share * self.probe_share, self.probe_lr), *rest]

    def settle(self, parts: Parts, validate: Callable[[], Mapping[str, float]], monitor: Mapping[str, str]) -> Curve:
        """Validate all coefficients, and give the parts the weights of the best."""
        end = {name: value.detach().clone() for name, value in parts.state_dict().items()}
        found = []
        for coefficient in self.coefficients:
            parts.load_state_dict(self.between(end, coefficient))
            found.append(dict(validate()))
        sign = 1 if monitor["direction"] == "max" else -1
        loss = f"{monitor['target'].rpartition('/')[0]}/loss"

        def rank(place: int) -> tuple[float, float]:
            score, cost = found[place].get(monitor["target"], math.nan), found[place].get(loss, math.inf)
            return -math.inf if math.isnan(score) else sign * score, -math.inf if math.isnan(cost) else -cost

        places = range(len(found))
        best = max(places, key=rank) if any(math.isfinite(rank(place)[0]) for place in places) else places[-1]
        parts.load_state_dict(self.between(end, self.coefficients[best]))
        metric = {role: monitor.get(role) for role in ("target", "source")}
        curves = {role: [finite(one.get(name)) for one in found] for role, name in metric.items() if name}
        return {
            "coefficients": self.coefficients,
            "target": curves["target"],
            "source": curves["source"] if any(one is not None for one in curves.get("source", ())) else None,
            "chosen": self.coefficients[best],
            "metric": metric,
        }

    def between(self, end: Mapping[str, Tensor], coefficient: float) -> dict[str, Tensor]:
        """Return the state on the line between the start and an end; whole numbers are the end's.

        Args:
            end: State of all parts.
            coefficient: 0 for the start, 1 for the end, both to the bit.
        """
        mixed = {}
        for name, value in end.items():
            start = self.start[name].to(value.device)
            mixed[name] = torch.lerp(start, value, coefficient) if value.is_floating_point() else value
        return mixed


def finite(value: float | None) -> float | None:
    """Return a number that JSON has; None for one that is undefined."""
    return None if value is None or not math.isfinite(value) else float(value)
