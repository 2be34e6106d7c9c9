"""Which cell goes with which pair of datasets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tl_modules.cube import BY_NAME, SCRATCH_PATH, check_pair, relation, suggested
from tl_run.options import PRETRAINED
from tl_run.rules.facts import NO_ROOT, at_once, inputs_of, is_pretrained, is_second_input, read_by
from tl_run.single import check_backbone


class RoleTask(NamedTuple):
    """What the options of a role say of its task."""

    name: str
    kind: str
    domain: str


def role_tasks(cfg: Mapping[str, Any]) -> list[RoleTask]:
    """Return what the options of source and target say of their tasks."""
    return [RoleTask(*(cfg[role][key] for key in ("task", "kind", "domain"))) for role in ("source", "target")]


def judged(cfg: Mapping[str, Any]) -> list[str]:
    """Return a line where the tasks and domains that are declared suggest another cell than the run's."""
    name = cfg["cell"]["name"]
    if name not in BY_NAME:
        return []
    roles = role_tasks(cfg)
    fits = suggested(name, *roles)
    return [] if fits == name else [f"cell={name}: source and target have {relation(*roles)}, which suggests {fits}"]


def check_cell(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yield where a cell is not the class that its name says, or cannot serve the pair."""
    name, path = cfg["cell"]["name"], cfg["cell"]["_target_"]
    for cell in BY_NAME.values():
        if (cell.path == path and cell.name != name) or (path == SCRATCH_PATH and name == cell.name):
            yield f"cell._target_={path}: is not {name}; choose the cell with cell={name}"
            return
    if name in BY_NAME:
        try:
            check_pair(name, *role_tasks(cfg))
        except ValueError as error:
            yield str(error)


def check_pretrained(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yield where weights that stand for a source cannot."""
    if cfg["target"]["_target_"] == PRETRAINED:
        yield "dataset@target=pretrained: has no data to learn; it is for dataset@source="
    if not is_pretrained(cfg):
        return
    name, weights = cfg["cell"]["name"], cfg["source"]["weights"]
    if weights.startswith(NO_ROOT):
        yield f"data_root=null: must be the folder that holds {weights.removeprefix(NO_ROOT)}"
    elif at_once(cfg):
        yield f"dataset@source=pretrained: has no data, and {name} learns source and target at once"
    elif cfg["source_checkpoint"] is not None:
        yield f"source_checkpoint={cfg['source_checkpoint']}: excludes dataset@source=pretrained; give one of the two"
    elif cfg["backbone"].get("weights") is not None:
        yield f"backbone.weights={cfg['backbone']['weights']}: excludes source.weights={weights}; give one of the two"
    else:
        lines = check_backbone("backbone", {**cfg["backbone"], "weights": weights})
        yield from (line.replace("backbone.weights=", "source.weights=", 1) for line in lines)


def check_second_input(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yield where a second input cannot stand for the source."""
    if not is_second_input(cfg):
        return
    name, backbone = cfg["cell"]["name"], cfg["backbone"]
    if name != "weight_sharing":  # for the eight, the cube says so
        yield from () if name in BY_NAME else [f"dataset@source=second_input: is for cell=weight_sharing, not {name}"]
    elif backbone["name"] != "document" or len(read_by(backbone)) < 2:
        yield f"backbone={backbone['name']}: dataset@source=second_input needs backbone=document with two encoders"
    elif len(inputs_of(cfg["target"])) == 1:
        yield f"dataset@source=second_input: needs samples with two inputs, and target={cfg['target']['name']} has one"
