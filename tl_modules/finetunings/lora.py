"""Low-rank additions to the trunk's weights, which stay as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from tl_modules.finetunings.base import Finetuning
from tl_modules.parts import Parts
from tl_modules.ranges import Above, AtLeast
from tl_modules.seeding import seeded
from tl_modules.stages import Stage

HINT = 'finetuning=lora: peft is not installed; pip install "tl-modules[lora]"'
KEY, NAME = "adapted", "default"
# Layers that read the weights of those in them themselves, past their forward.
DIRECT = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


class Lora(Finetuning):
    """LoRA (Hu et al. 2022, equation 3) by `peft`: `W + alpha / rank B A` in the trunk's linear and convolution layers.

    Only `A`, `B` and the head learn; stem and trunk are frozen, their running statistics too. `B` starts at zero, so
    that the first step sees what was there. Checkpoints hold the sums `W + alpha / rank B A` as plain weights, which
    load, export and transfer without peft, and beside them what a resumed stage needs. Left alone are grouped
    convolutions and layers of derived classes, and what `nn.MultiheadAttention` and `nn.TransformerEncoderLayer` hold.

    Args:
        rank: Of each addition.
        alpha: Its scale is `alpha / rank`.
        lr: Factors on the learning rate of `trunk`, where that is of the additions, and `head`; 1 where absent.

    Raises:
        ValueError: If a number is out of range.
    """

    keeps_statistics: ClassVar[bool] = True

    def __init__(
        self,
        rank: Annotated[int, AtLeast(1)] = 8,
        alpha: Annotated[float, Above(0)] = 16.0,
        lr: dict[Literal["trunk", "head"], float] | None = None,
    ) -> None:
        super().__init__(freeze=("stem",), lr=lr)  # type: ignore[arg-type]
        if "stem" in self.lr:
            raise ValueError(f"finetuning.lr.stem={self.lr['stem']}: has no effect, lora leaves the stem as it is")
        if rank < 1:
            raise ValueError(f"finetuning.rank={rank}: must be at least 1")
        if not alpha > 0:
            raise ValueError(f"finetuning.alpha={alpha}: must be greater than 0")
        self.rank, self.alpha = rank, alpha
        self.place = ""  # the adapted trunk among the parts, empty where none is

    def begin(self, parts: Parts, stage: Stage, seed: int) -> None:
        """Put the additions in.

        Raises:
            ValueError: If peft is missing, or the trunk has no layer for them.
        """
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError as error:
            raise ValueError(HINT) from error
        trunk = parts.of("target", "trunk")
        names = adaptable(trunk)
        if not names:
            said = "has no linear or convolution layer that it can add to"
            raise ValueError(f"finetuning=lora: the trunk of this backbone {said}")
        trunk.requires_grad_(False)
        chosen = "|".join(map(re.escape, names))
        config = LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules=chosen)  # type: ignore[arg-type]
        with seeded(seed, "init", "lora"):
            inject_adapter_in_model(config, trunk, NAME)  # type: ignore[arg-type]
        del trunk.peft_config
        self.place = parts.path("target", "trunk")

    def leave(self, parts: Parts) -> None:
        """Add the additions to the weights, and take them out."""
        if self.place:
            self._take_out(parts)
            self.place = ""

    @contextmanager
    def merged(self, parts: Parts) -> Iterator[None]:
        """Let the parts be as after `leave` for a while."""
        taken = self._take_out(parts) if self.place else []
        try:
            yield
        finally:
            for parent, leaf, layer, weight in taken:
                layer.get_base_layer().weight.data = weight
                setattr(parent, leaf, layer)

    def _take_out(self, parts: Parts) -> list[tuple[nn.Module, str, Any, Tensor]]:
        """Put plain layers in place of the adapted ones; return these with where they were and their own weights."""
        trunk = parts.get_submodule(self.place)
        taken: list[tuple[nn.Module, str, Any, Tensor]] = []
        for name, layer in adapted(trunk):
            above, _, leaf = name.rpartition(".")
            parent, base = trunk.get_submodule(above), layer.get_base_layer()
            taken.append((parent, leaf, layer, base.weight.data))
            base.weight.data = summed(base.weight.data, *factors(layer), self.alpha / self.rank)
            setattr(parent, leaf, base)
        return taken

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Put the sums in place of the additions in the checkpoint's weights, and keep the additions beside."""
        if not self.place:
            return
        state: dict[str, Tensor] = checkpoint["state_dict"]
        inside = f"parts.{self.place}."
        checkpoint["transfer"][KEY] = {name: value for name, value in state.items() if name.startswith(inside)}
        plain = {}
        for name, value in state.items():
            if ".lora_" in name and name.startswith(inside):
                continue
            above, _, leaf = name.rpartition(".base_layer.")
            if above and name.startswith(inside):
                if leaf == "weight":
                    low, high = (state[f"{above}.lora_{which}.{NAME}.weight"] for which in "AB")
                    value = summed(value, low, high, self.alpha / self.rank)
                name = f"{above}.{leaf}"
            plain[name] = value
        checkpoint["state_dict"] = plain

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Take the additions back into the checkpoint's weights, where the trunk is adapted."""
        kept = checkpoint.get("transfer", {}).get(KEY)
        if not (self.place and kept):
            return
        inside = f"parts.{self.place}."
        others = {name: value for name, value in checkpoint["state_dict"].items() if not name.startswith(inside)}
        checkpoint["state_dict"] = {**others, **kept}


def adaptable(trunk: nn.Module) -> list[str]:
    """Return the names of the layers that an addition can be made to."""
    direct = [f"{name}." for name, module in trunk.named_modules() if isinstance(module, DIRECT)]
    found = []
    for name, module in trunk.named_modules():
        convolution = type(module) is nn.Conv2d and module.groups == 1 and module.padding_mode == "zeros"
        if (convolution or type(module) is nn.Linear) and not name.startswith(tuple(direct)):
            found.append(name)
    return found


def adapted(trunk: nn.Module) -> list[tuple[str, Any]]:
    """Return the adapted layers by name."""
    return [(name, module) for name, module in trunk.named_modules() if hasattr(module, "lora_A")]


def factors(layer: Any) -> tuple[Tensor, Tensor]:
    """Return the two factors of a layer's addition, `A` and `B`."""
    return layer.lora_A[NAME].weight.data, layer.lora_B[NAME].weight.data


@torch.no_grad()
def summed(weight: Tensor, low: Tensor, high: Tensor, scale: float) -> Tensor:
    """Return a weight with its addition.

    Args:
        weight: `(O, I)` of a linear layer, or `(O, I, h, w)` of a convolution.
        low: `A`, `(rank, I)` or `(rank, I, h, w)`.
        high: `B`, `(O, rank)` or `(O, rank, 1, 1)`.
        scale: Factor on their product.
    """
    return weight + scale * (high.flatten(1) @ low.flatten(1)).view_as(weight)
