"""The baselines: what they start from, what they learn, and by what a run finds its own; no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tl_modules.cube import BASELINES, FINETUNE, PROBE, SCRATCH
from tl_run.attached import further
from tl_run.messages import plain
from tl_run.options import CUT, METRICS, augment_model
from tl_run.single import check_backbone

FINETUNINGS = {FINETUNE: "full", PROBE: "linear_probe"}
FROZEN = {"stem", "trunk"}
LONGER = 10  # times the budget at most, for training until nothing gets better
SELDOM, ENOUGH = 4, 10  # validations with which that is not seen, and those that it has then
# Options of the Trainer, and callbacks, that only show what a run does.
OF_DISPLAY = ("enable_model_summary", "profiler", "log_every_n_steps", "num_sanity_val_steps", "detect_anomaly")
WATCH = ("LearningRateMonitor", "DeviceStatsMonitor", "ModelSummary", "RichModelSummary", "ThroughputMonitor")
# Options of a dataset that say what it is called, where it lies and what is refused; its sizes are counted instead.
NAMES = ("_convert_", "name", "task", "domain", "root", "download", "duplicates")
LABELS_STAYED = ("ImageFolder", "PageTable")  # readers whose labels had their own names before there was an option
NO_EFFECT = (*NAMES, "train_size", "val_size", "labelled", "weight", "absent", "augment", "backbone")


def until_plateau(steps: int, validations: int) -> list[str]:
    """Return the options that train a baseline until nothing gets better.

    It is validated as often as with its budget, so that no more checkpoints are there to choose from, unless that is
    too seldom; half of the validations without anything better end the training.

    Args:
        steps: Its budget.
        validations: How often it is validated with that.
    """
    often = [] if validations >= SELDOM else [f"trainer.validations={ENOUGH}"]
    patience = (validations if validations >= SELDOM else ENOUGH) // 2
    return [f"steps={LONGER * steps}", "cell.schedule=constant", *often, f"trainer.patience={patience}"]


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
    freeze = frozen_kinds(cfg)
    named = cfg["finetuning"] or {"name": None}
    given = f"finetuning.freeze={plain(freeze)}" if "freeze" in named else f"finetuning={named['name']}"
    if name == FINETUNE and freeze:
        yield f"{given}: in cell={FINETUNE} all parts learn; cell={PROBE} freezes stem and trunk"
    if name == PROBE and set(freeze) != FROZEN:
        yield f"{given}: cell={PROBE} freezes stem and trunk; in cell={FINETUNE} all parts learn"


def frozen_kinds(cfg: Mapping[str, Any]) -> list[str]:
    """Return the kinds of part that stay as they are in all stages after a source."""
    return list((cfg["finetuning"] or {}).get("freeze") or ())


def baseline_key(cfg: Mapping[str, Any], steps: int, precision: str, target: Mapping[str, Any]) -> str:
    """Return a hash of all that shapes what `scratch` gives for a run's target, and of nothing else.

    Runs with one key, and one seed, have one baseline. Out of it are the source and how it is used, the weights (a
    baseline on pretrained ones is told by `cell` and `weights` beside the key), names of tasks and domains, and what
    changes where and how fast a run goes but not what it gives: logger, progress, workers, caching, where data lie,
    and devices where devices times batch size stay.

    Args:
        cfg: The composed configuration.
        steps: Optimiser steps of the run.
        precision: Lightning's precision, as resolved.
        target: What is known of the target's data: `labels`, `sizes` by split, and `published`, a digest of the
            samples before they are cut into splits, or None.
    """
    node, cell, trainer = cfg["target"], cfg["cell"], cfg["trainer"]
    known = ("group_by", "ungrouped") if target["published"] is not None else ()  # its digest tells the groups
    data = {key: value for key, value in node.items() if key not in (*NO_EFFECT, *known)}
    data = {key: value for key, value in data.items() if key not in ("bits", *CUT) or value is not None}
    if node.get("labels") is None and node["_target_"].rpartition(".")[2] in LABELS_STAYED:
        data.pop("labels", None)
    root = node.get("root")
    if root is not None and "download" not in node:  # a set that is downloaded is the same everywhere
        data["root"] = root if target["published"] is None else Path(root).name
    usual = METRICS.get(node["kind"], (None,))[0]
    shared = {
        "target": {**data, **target},
        "augment": augment_model(node["augment"]).model_validate(node["augment"] or {}).model_dump(),
        "backbone": unweighted(backbone_of(cfg)[1]),
        "cell": {key: cell[key] for key in ("lr", "weight_decay", "clip", "skip_nonfinite", "schedule")},
        "steps": steps,
        "batch_size": cfg["datamodule"]["batch_size"] * trainer["devices"] * trainer.get("num_nodes", 1),
        "trainer": {key: trainer[key] for key in ("accumulate", "validations", "patience")},
        "selection": {"rule": cfg["selection"]["rule"], "metric": cfg["selection"]["metric"] or usual},
        "precision": precision,
    }
    alone = {"num_nodes": trainer.get("num_nodes"), "sync_batchnorm": False}  # in the batch size, or as it is without
    more = {key: trainer[key] for key in further(trainer) if key not in OF_DISPLAY}
    more = {key: value for key, value in more.items() if key not in alone or value != alone[key]}
    callbacks = [one for one in (cfg["callbacks"] or {}).values() if one["_target_"].rpartition(".")[2] not in WATCH]
    shared |= {"further": more} if more else {}
    shared |= {"callbacks": callbacks} if callbacks else {}
    return hashlib.blake2b(json.dumps(shared, sort_keys=True).encode(), digest_size=8).hexdigest()


def unweighted(backbone: Any) -> dict[str, Any]:
    """Return a backbone's options as a mapping, without its weights and its encoders'."""
    node: dict[str, Any] = {"name": backbone} if isinstance(backbone, str) else dict(backbone)
    node.pop("weights", None)
    if node.get("encoders"):
        node["encoders"] = {name: unweighted(one) for name, one in node["encoders"].items()}
    return node
