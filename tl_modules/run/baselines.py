"""The baselines: what they start from, what they learn, and by what a run finds its own; no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tl_modules.cube import BASELINES, FINETUNE, PROBE, SCRATCH
from tl_modules.run.single import check_backbone
from tl_modules.run.words import plain

FINETUNINGS = {FINETUNE: "full", PROBE: "linear_probe"}
FROZEN = {"stem", "trunk"}


def backbone_of(cfg: Mapping[str, Any], role: str = "target") -> tuple[str, Any]:
    """Return a role's backbone and the option that says it: the role's own where it has one."""
    own = cfg[role].get("backbone")
    return ("backbone", cfg["backbone"]) if own is None else (f"{role}.backbone", own)


def weights_in(path: str, backbone: Any) -> dict[str, str]:
    """Return the weights that a backbone and its encoders start from, by option; empty where all are random.

    Args:
        path: The option that says the backbone.
        backbone: Its name or options.
    """
    node = backbone if isinstance(backbone, Mapping) else {}
    found = {} if node.get("weights") is None else {f"{path}.weights": str(node["weights"])}
    for name, encoder in (node.get("encoders") or {}).items():
        found |= weights_in(f"{path}.encoders.{name}", encoder)
    return found


def check_baseline(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a baseline is not: `scratch` has no weights, `finetune` and `probe` have, and freeze as they say."""
    name = cfg["cell"]["name"]
    path, backbone = backbone_of(cfg)
    if name not in BASELINES or check_backbone(path, backbone):
        return
    found = weights_in(path, backbone)
    if name == SCRATCH:
        for option, weights in found.items():
            other = f"cell={FINETUNE} (all parts learn) or cell={PROBE} (the head alone)"
            yield f"{option}={weights}: cell={SCRATCH} starts from random weights; with these the baseline is {other}"
        return
    if f"{path}.weights" not in found and (name == PROBE or not found):
        instead = f"a name of the library's, a file of weights or the folder of a run; from random ones it is {SCRATCH}"
        frozen = ", which it keeps frozen" if name == PROBE else ""
        yield f"{path}.weights=null: cell={name} needs pretrained weights{frozen}: {instead}"
    finetuning = cfg["finetuning"] or {"freeze": []}
    freeze = finetuning["freeze"]
    if name == FINETUNE and freeze:
        yield f"finetuning.freeze={plain(freeze)}: in cell={FINETUNE} all parts learn; cell={PROBE} freezes stem and trunk"
    if name == PROBE and set(freeze) != FROZEN:
        yield f"finetuning.freeze={plain(freeze)}: cell={PROBE} freezes stem and trunk; in cell={FINETUNE} all parts learn"
