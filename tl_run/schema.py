"""The check of a composed configuration: types, ranges, unknown keys, and what does not go together; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tl_modules.cube import BY_NAME, SCRATCH_PATH
from tl_modules.task import INPUTS
from tl_run.derive import Group
from tl_run.options import (
    DATASETS,
    GROUPS,
    OF_THE_DATA,
    OF_THE_RUN,
    AugmentOptions,
    Cell,
    Dataset,
    Root,
    Small,
    augment_model,
    backbone_model,
    finetuning_model,
    names,
    objective_model,
    own_model,
)
from tl_run.rules import check_together
from tl_run.single import check_backbone, check_group, check_root


class ConfigError(ValueError):
    """A configuration that cannot run; its text has one line per problem."""


def check(cfg: Mapping[str, Any]) -> None:
    """Check a composed configuration.

    Args:
        cfg: Plain values, interpolations resolved, without the `hydra` node.

    Raises:
        ConfigError: If it cannot run; one line per problem, such as `cell.lr=-1: must be greater than 0`.
    """
    cfg = {key: value for key, value in cfg.items() if key != "by_rule"}  # written by the check of the command line
    problems = [*check_root(cfg)]
    for name in GROUPS:
        if name in cfg and cfg[name] is None and name == "finetuning":
            continue
        problems += check_group(name, cfg.get(name), model_of(name, cfg.get(name)))
    for role in ("source", "target"):
        node = cfg.get(role) if isinstance(cfg.get(role), Mapping) else {}
        own, augment = (node or {}).get("backbone"), (node or {}).get("augment")
        problems += [] if own is None else check_backbone(f"{role}.backbone", own)
        problems += [] if augment is None else check_group(f"{role}.augment", augment, augment_model(augment))
    if not problems:
        problems = [*check_backbone("backbone", cfg["backbone"]), *check_together(cfg)]
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))


def model_of(name: str, node: Any) -> type[Group]:
    """Return the model that a group's node is held to.

    Args:
        name: The group's name.
        node: Its content.
    """
    given = node if isinstance(node, Mapping) else {}
    if name == "backbone":
        return backbone_model(given.get("name")) or Small
    if name in ("source", "target"):
        path = str(given.get("_target_"))
        return DATASETS[path] if path in DATASETS else own_model(path, Dataset, OF_THE_DATA)
    if name == "finetuning":
        return finetuning_model(given.get("name"))
    if name == "objective":
        return objective_model(given.get("name")) or GROUPS[name]
    if name == "cell":
        ours = {cell.path for cell in BY_NAME.values()} | {SCRATCH_PATH}
        path = str(given.get("_target_"))
        return Cell if path in ours else own_model(path, Cell, OF_THE_RUN)
    return GROUPS[name]


def options_of(path: str, chosen: str | None = None) -> list[str]:
    """Return the options that stand beside the last name of a dotted path, for a hint; empty where unknown.

    Args:
        path: Such as `cell.lrr`.
        chosen: What the group was chosen to be; where the path begins with a role, the class of the role's dataset.
    """
    above = path.split(".")[:-1]
    if not above:
        return [*GROUPS, *Root.model_fields]
    if above[0] in ("source", "target") and above[1:] in ([], ["augment"]):
        return names(AugmentOptions if above[1:] else DATASETS.get(str(chosen), Dataset))
    if above[0] in ("finetuning", "objective") and chosen is not None and not above[1:]:
        return names(model_of(above[0], {"name": chosen}))
    if above == ["backbone", "encoders"]:
        return list(INPUTS)
    return names(GROUPS[above[0]]) if above[0] in GROUPS and not above[1:] else []
