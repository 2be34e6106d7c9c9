"""The folders of runs: by the time, or, with `resume=auto`, by what the run is."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from omegaconf import DictConfig, OmegaConf

AUTO = "auto"
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


def job_name(otherwise: str, *, _root_: DictConfig) -> str:
    """Return the folder of a sweep's run below the sweep's."""
    if _root_.get("resume") != AUTO:
        return otherwise
    from tl_run.defaults import settled_cell

    return f"{settled_cell(_root_)}/{identity(_root_)}"
