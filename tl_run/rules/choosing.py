"""What a checkpoint may be chosen by, and what a sweeper may be given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tl_modules.cube import BASELINES, BY_NAME
from tl_modules.task import UNION
from tl_run.messages import near, plain
from tl_run.options import METRICS, OBJECTIVES, SOURCE_RULE
from tl_run.rules.facts import adapts, read_by, selection_metric, with_data


def check_selection(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yield where checkpoints would be chosen by a metric that the kind does not have."""
    given, kind = cfg["selection"]["metric"], cfg["target"]["kind"]
    if given is not None and given not in METRICS.get(kind, (given,)):
        allowed = METRICS[kind]
        yield f"selection.metric={given}: {near(given, allowed)}allowed for {kind}: null, {', '.join(allowed)}"


def check_unlabelled(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yield where a rule of choosing without labels has no effect."""
    given = cfg["selection"]["without_labels"]
    if given == SOURCE_RULE or cfg["cell"]["name"] not in (*BY_NAME, *BASELINES):
        return
    at, kind = f"selection.without_labels={given}", cfg["target"]["kind"]
    if kind in METRICS and kind != "classification":
        yield f"{at}: is for classification; with target.kind={kind} it must be {SOURCE_RULE}"
    elif cfg["selection"]["rule"] == "last":
        yield f"{at}: has no effect with selection.rule=last"
    elif cfg["objective"]["name"] in OBJECTIVES and not adapts(cfg):
        yield f"{at}: has no effect with objective={cfg['objective']['name']} here, which reads the target's labels"


def check_metric(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yield where a sweeper would be given what does not exist, or a test metric unasked."""
    given, said_twice = cfg["optimized_metric"], cfg["optimize_on_test"]
    if given is not None and given.startswith("test/") and not said_twice:
        why = "the test set is not for choosing; leave it out, or say optimize_on_test=true too"
        yield f"optimized_metric={given}: {why}"
        return
    if said_twice and not (given or "").startswith("test/"):
        yield f"optimize_on_test=true: has no effect with optimized_metric={plain(given)}, which is not of the test set"
    if given is None or any(cfg[role]["kind"] not in METRICS for role in with_data(cfg)):
        return
    allowed = [f"val/target/{selection_metric(cfg)}"]
    inputs = read_by(cfg["backbone"])
    alone = [f"{name}_alone/" for name in inputs] if len(inputs) > 1 else []
    for role in with_data(cfg)[::-1]:
        allowed += [f"test/{role}/{which}{metric}" for which in ("", *alone) for metric in METRICS[cfg[role]["kind"]]]
    if cfg["datamodule"]["mode"] == "merged":
        allowed += [f"test/{UNION}/{metric}" for metric in METRICS[cfg["target"]["kind"]]]
    if given not in allowed:
        yield f"optimized_metric={given}: {near(given, allowed)}allowed: {', '.join(allowed)}"
