"""Classes of one's own that a configuration names by import path; no torch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from importlib import import_module
from typing import Any

from tl_modules.discovery import TIMM


def own_paths(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield option and import path of kinds, backbones, objective, finetuning and augmentations from elsewhere.

    Cells and datasets are not among them: they are made by Hydra from their `_target_`.

    Args:
        config: The composed configuration.
    """
    yield from _named("objective.name", config.get("objective"))
    yield from _named("finetuning.name", config.get("finetuning"))
    yield from _backbones("backbone", config.get("backbone"))
    for role in ("source", "target"):
        node = config.get(role) or {}
        if "." in str(node.get("kind")):
            yield f"{role}.kind", str(node["kind"])
        yield from _named(f"{role}.augment.name", node.get("augment"))
        yield from _backbones(f"{role}.backbone", node.get("backbone"))


def foreign_paths(config: Mapping[str, Any], ours: Collection[str]) -> list[str]:
    """Return all import paths in a configuration that are neither ours nor Lightning's.

    Args:
        config: The composed configuration.
        ours: Paths of our cells and datasets.
    """
    found = [path for _, path in own_paths(config)]
    nodes = [config.get(group) for group in ("cell", "source", "target")]
    nodes += [*(config.get("callbacks") or {}).values()]
    loggers = config.get("logger")
    nodes += loggers if isinstance(loggers, list) else [loggers]
    found += [str(node["_target_"]) for node in nodes if isinstance(node, Mapping) and "_target_" in node]
    return sorted({path for path in found if path not in ours and not path.startswith(("lightning.", "tl_run."))})


def import_own(config: Mapping[str, Any]) -> None:
    """Import the modules of what a configuration names, since whoever gave the configuration chose them.

    Raises:
        ValueError: If one cannot be imported; the text names the option.
    """
    for option, path in own_paths(config):
        module = path.rpartition(".")[0]
        try:
            import_module(module)
        except ImportError as error:
            said = " ".join(str(error).split())
            raise ValueError(f"{option}={path}: {module} cannot be imported ({said})") from error


def _named(option: str, node: Any) -> Iterator[tuple[str, str]]:
    name = node if isinstance(node, str) else (node or {}).get("name")
    if "." in str(name) and not str(name).startswith(TIMM):
        yield option, str(name)


def _backbones(option: str, node: Any) -> Iterator[tuple[str, str]]:
    yield from _named(f"{option}.name", node)
    encoders = node.get("encoders") if isinstance(node, Mapping) else None
    for name, encoder in (encoders or {}).items():
        yield from _backbones(f"{option}.encoders.{name}", encoder)
