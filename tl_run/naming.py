"""The folders of runs: by the time, or, with `resume=auto`, by what the run is."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

AUTO = "auto"
LONGEST, MOST = 40, 4  # characters of a part of a folder's name, and such parts
SHOWN = ("resume", "trust", "allow_targets", "checkpoint", "store", "logger")  # options that make no other run


def identity(root: DictConfig) -> str:
    """Return a short hash of what a composed configuration says of a run, whatever says how it is started and shown.

    Args:
        root: As Hydra composed it, with or without the `hydra` node.
    """
    plain: Any = OmegaConf.to_container(OmegaConf.masked_copy(root, [str(key) for key in root if key != "hydra"]))
    kept = {key: value for key, value in plain.items() if key not in SHOWN}
    kept["trainer"] = {key: value for key, value in (kept.get("trainer") or {}).items() if key != "progress"}
    return hashlib.blake2b(json.dumps(kept, sort_keys=True, default=str).encode(), digest_size=6).hexdigest()


def run_name(otherwise: str, *, _root_: DictConfig) -> str:
    """Return the name of a run's folder: `otherwise`, or with `resume=auto` what tells the run from all others."""
    return identity(_root_) if _root_.get("resume") == AUTO else otherwise


def sweep_name(otherwise: str, *, _root_: DictConfig) -> str:
    """Return a sweep's folder; with `resume=auto` its runs lie where they would by themselves."""
    return "outputs" if _root_.get("resume") == AUTO else otherwise


def job_name(number: int, cell: str, seed: int, *, _root_: DictConfig) -> str:
    """Return the folder of a sweep's run below the sweep's: its number, its cell, what varies, and its seed."""
    if _root_.get("resume") != AUTO:
        hydra = _root_.hydra
        fixed = list(hydra.job.config.override_dirname.exclude_keys)
        return "_".join([str(number), cell, *varying(list(hydra.overrides.task), fixed), f"seed{seed}"])
    from tl_run.defaults import settled_cell

    return f"{settled_cell(_root_)}/{identity(_root_)}"


def varying(overrides: Sequence[str], fixed: Sequence[str]) -> list[str]:
    """Return what a sweep varies beside cell and seed, as parts of a folder's name.

    Args:
        overrides: The options of one of its runs, such as `target.labelled=32`.
        fixed: Options that are the same in all of them.
    """
    pairs = [line.lstrip("+~").partition("=")[::2] for line in overrides if "=" in line]
    told = {key: value for key, value in pairs if key not in ("cell", "seed", *fixed)}
    last = [_last(key) for key in told]
    names = [one if last.count(one) == 1 else re.sub(r"\W+", "-", key) for key, one in zip(told, last, strict=True)]
    parts = [f"{name}={value}" for name, value in zip(names, told.values(), strict=True)]
    return [re.sub(r"[^\w.=+-]+", "-", part).strip("-")[:LONGEST] for part in parts][:MOST]


def _last(key: str) -> str:
    """Return the last word of an option: `labelled` of `target.labelled`, `source` of `dataset@source`."""
    return re.split(r"[.@/]", key)[-1]
