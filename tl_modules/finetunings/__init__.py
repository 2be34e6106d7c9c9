"""Finetunings: how a target goes on from what a source, or pretrained weights, left."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from typing import Any

from tl_modules.discovery import class_name, imported, names_in
from tl_modules.finetunings.base import Curve, Finetuning
from tl_modules.stages import FINETUNINGS as PLAIN

__all__ = ["FINETUNINGS", "Curve", "Finetuning", "build_finetuning"]

FINETUNINGS = (*PLAIN, *names_in("finetunings"))


def build_finetuning(spec: str | Mapping[str, Any]) -> Finetuning:
    """Build a finetuning.

    Args:
        spec: A name of `FINETUNINGS`, the import path of a class of one's own whose module is imported, or a mapping
            with `name`, which is one of these, and its options. A mapping of any other name, or of none, has the
            options of `Finetuning` itself: `freeze` and `lr`.

    Raises:
        ValueError: If the name or an option is unknown, or a value is out of range.
    """
    options: dict[str, Any] = dict(PLAIN.get(spec, {}), name=spec) if isinstance(spec, str) else dict(spec)
    name = str(options.pop("name", ""))
    if "." in name:
        found = imported(name, "finetuning")
    elif name in names_in("finetunings"):
        found = getattr(import_module(f"{__name__}.{name}"), class_name(name))
    elif isinstance(spec, Mapping) or name in PLAIN:
        found = Finetuning
    else:
        own = "the import path of a Finetuning whose module is imported"
        raise ValueError(f"finetuning={name!r} is unknown; allowed: {', '.join(FINETUNINGS)}, or {own}")
    if not (isinstance(found, type) and issubclass(found, Finetuning)):
        raise ValueError(f"finetuning={name!r}: must be a subclass of tl_modules.finetunings.Finetuning")
    takes = list(signature(found).parameters)
    unknown = sorted(set(options) - set(takes))
    if unknown:
        raise ValueError(f"finetuning.{unknown[0]} is no option of {name or 'this'}; allowed: {', '.join(takes)}")
    made: Finetuning = found(**options)
    made.name = name or Finetuning.name
    return made
