"""The check of each group of options by itself; no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tl_modules.discovery import TIMM, timm_networks, torchvision_networks
from tl_run.messages import near, plain, says, value_of
from tl_run.options import (
    BACKBONES,
    FROM_FILES,
    GROUPS,
    NETWORKS,
    OBJECTIVES,
    Group,
    HuggingFace,
    Network,
    Root,
    backbone_model,
    objective_model,
)


def check_root(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yield the problems of the options outside of any group, and groups that are unknown."""
    known = [*GROUPS, *Root.model_fields]
    for key in cfg:
        if key not in known:
            yield f"{key}={plain(cfg[key])}: unknown; {near(key, known)}allowed: {', '.join(known)}"
    yield from check_group("", {key: value for key, value in cfg.items() if key in Root.model_fields}, Root)


def check_group(prefix: str, node: Any, model: type[Group]) -> Iterator[str]:
    """Yield the problems of a group's node.

    Args:
        prefix: Its path.
        node: Its content.
        model: What it is held to.
    """
    if node is None:
        yield f"{prefix}=null: must be one of the options of its group in conf/"
        return
    if prefix == "backbone" and isinstance(node, Mapping) and backbone_model(node.get("name")) is None:
        yield f"backbone.name={_no_backbone(node.get('name'))}"
        return
    if prefix == "objective" and isinstance(node, Mapping) and objective_model(node.get("name")) is None:
        name, allowed = plain(node.get("name")), ", ".join([*OBJECTIVES, "the import path of an Objective"])
        yield f"objective.name={name}: {near(name, OBJECTIVES)}allowed: {allowed}"
        return
    if prefix == "selection" and node in ("best", "last"):  # as it was written before it had two options
        yield f"selection={node}: must be a mapping; write selection.rule={node}"
        return
    try:
        model.model_validate(node)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            inner = [str(part) for part in problem["loc"] if part != "[key]"]
            path = ".".join([prefix, *inner] if prefix else inner)
            shown = path if "[key]" in problem["loc"] else f"{path}={plain(value_of(problem, node))}"
            yield f"{shown}: {says(problem, model)}"


def check_backbone(path: str, given: Any) -> list[str]:
    """Return the problems of a backbone given by name or as a mapping."""
    node: Any = {"name": given} if isinstance(given, str) else given
    name = node.get("name") if isinstance(node, Mapping) else None
    model = backbone_model(name)
    if model is None:
        return [f"{path}={_no_backbone(name)}"]
    problems = [*check_group(path, node, model)]
    weights = node.get("weights")
    if not problems and "." in str(name) and model is not Network:
        return problems
    if not problems and model is Network:
        problems += _check_network(path, str(name), weights)
    elif not problems and model is HuggingFace:
        problems += _check_huggingface(path, node)
    elif not problems and name in torchvision_networks("detection"):
        problems += _check_detector(path, str(name), weights)
    elif not problems and weights is not None and not Path(weights).exists():
        problems.append(f"{path}.weights={weights}: allowed: null, {FROM_FILES}")
    if not problems and name == "document":
        for key, encoder in node.get("encoders", {}).items():
            problems += check_backbone(f"{path}.encoders.{key}", encoder)
    return problems


def _no_backbone(name: object) -> str:
    allowed = ", ".join([*sorted(BACKBONES), *NETWORKS])
    return f"{plain(name)}: {near(name, [*BACKBONES, *torchvision_networks()])}allowed: {allowed}"


def _check_huggingface(path: str, node: Mapping[str, Any]) -> Iterator[str]:
    model, weights = node["model"], node.get("weights")
    if find_spec("transformers") is None:
        yield f'{path}=huggingface: transformers is not installed; pip install -e ".[text]"'
    elif (model.startswith((".", "/", "~")) or model.count("/") > 1) and not (Path(model) / "config.json").is_file():
        yield f"{path}.model={model}: must be an encoder's name on the hub, or the folder that holds its config.json"
    elif weights not in (None, "DEFAULT") and not Path(weights).exists():
        yield f"{path}.weights={weights}: allowed: null, DEFAULT, {FROM_FILES}"


def _check_detector(path: str, name: str, weights: str | None) -> Iterator[str]:
    allowed = ("DEFAULT", *torchvision_networks("detection")[name])
    enum, _, member = str(weights).rpartition(".")
    known = member in allowed and enum.lower() in ("", f"{name}_weights")
    if weights is not None and not known and not Path(weights).exists():
        yield f"{path}.weights={weights}: {near(weights, allowed)}allowed: null, {', '.join(allowed)}, {FROM_FILES}"


def _check_network(path: str, name: str, weights: str | None) -> Iterator[str]:
    if not name.startswith(TIMM):
        allowed = ("DEFAULT", *torchvision_networks()[name])
        if weights not in (None, *allowed) and not Path(str(weights)).exists():
            yield f"{path}.weights={weights}: {near(weights, allowed)}allowed: null, {', '.join(allowed)}, {FROM_FILES}"
        return
    known, model = timm_networks(), name.removeprefix(TIMM).partition(".")[0]
    if known is None:
        yield f'{path}={name}: timm is not installed; pip install -e ".[timm]"'
    elif model not in known:
        close = get_close_matches(model, known, n=3, cutoff=0.6)
        yield f"{path}={name}: timm has no such model{'; did you mean ' + ' or '.join(close) + '?' if close else ''}"
    elif weights not in (None, "DEFAULT") and not Path(str(weights)).exists():
        yield f"{path}.weights={weights}: allowed: null, DEFAULT, {FROM_FILES}; a tag of timm's stands in the name"
