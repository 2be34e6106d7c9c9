"""What a run is, read off its configuration: its roles, their inputs, and what reads whose labels; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tl_modules.cube import BASELINES, BY_NAME
from tl_modules.discovery import attributes, class_name
from tl_run.options import (
    BACKBONES,
    DATASETS,
    METRICS,
    OBJECTIVES,
    PRETRAINED,
    READ_IMAGES,
    READ_TEXTS,
    READERS,
    SECOND_INPUT,
    OwnDataset,
    TextTable,
)

PLURAL = {"image": "images", "text": "texts"}
NO_ROOT = "None/"  # what ${data_root}/ gives where it is null


def is_pretrained(cfg: Mapping[str, Any]) -> bool:
    """Tell whether weights stand for the source's data; a baseline has no source."""
    return cfg["cell"]["name"] not in BASELINES and cfg["source"]["_target_"] == PRETRAINED


def is_second_input(cfg: Mapping[str, Any]) -> bool:
    """Tell whether the target's second input stands for the source."""
    return cfg["cell"]["name"] not in BASELINES and cfg["source"]["_target_"] == SECOND_INPUT


def roles_of(cfg: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the roles of a run; a baseline has the target alone."""
    return ("target",) if cfg["cell"]["name"] in BASELINES else ("source", "target")


def with_data(cfg: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the roles that have a dataset."""
    return ("target",) if is_pretrained(cfg) or is_second_input(cfg) else roles_of(cfg)


def at_once(cfg: Mapping[str, Any]) -> bool:
    """Tell whether both roles are learned at once; of a cell of one's own the mode says it."""
    name = cfg["cell"]["name"]
    if name in BASELINES:
        return False
    return not BY_NAME[name].sequential if name in BY_NAME else cfg["datamodule"]["mode"] != "sequential"


def inputs_of(node: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the inputs of a dataset's samples; empty for a class from elsewhere."""
    model = DATASETS.get(node["_target_"], OwnDataset)
    if "inputs" in node:
        return tuple(node["inputs"])
    return ("text",) if model is TextTable else ("image",) if node["_target_"] in READERS else ()


def read_by(backbone: Mapping[str, Any] | str) -> tuple[str, ...]:
    """Return the inputs that a backbone reads; empty for a file of one's own."""
    options = {"name": backbone} if isinstance(backbone, str) else backbone
    if options["name"] == "document":
        return tuple(options.get("encoders", PLURAL))
    if options["name"] in READ_TEXTS:
        return ("text",)
    return ("image",) if options["name"] in READ_IMAGES or options["name"] not in BACKBONES else ()


def selection_metric(cfg: Mapping[str, Any]) -> str | None:
    """Return the target's metric that checkpoints are chosen by; None where a kind of one's own has its own choice."""
    metrics: tuple[str | None, ...] = METRICS.get(cfg["target"]["kind"], (None,))
    return cfg["selection"]["metric"] or metrics[0]


def adapts(cfg: Mapping[str, Any]) -> bool:
    """Tell whether a run reads no label of the target, its objective being one of ours."""
    given = cfg["objective"]["name"]
    said = attributes("objectives", given)[class_name(given)] if given in OBJECTIVES else {}
    return bool(said.get("adapts")) and not at_once(cfg) and len(with_data(cfg)) == 2
