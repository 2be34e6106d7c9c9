"""What a sweep is told beside its options: the direction in which to look, and which options do not vary; no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import OmegaConf

from tl_run.cli import MULTIRUN, checked, settled
from tl_run.options import LOWER_IS_BETTER, METRICS
from tl_run.paths import CONFIG_NAME, composing, config_dir
from tl_run.rules.facts import selection_metric
from tl_run.schema import ConfigError

OPTUNA = "hydra/sweeper=optuna"
OPTION = "hydra.sweeper.direction"
NOTE = "hydra.job.config.override_dirname.exclude_keys"
MAXIMIZE, MINIMIZE = "maximize", "minimize"
DECIDE = ("dataset@target", "selection.metric", "optimized_metric")  # what the direction is a function of


def returned(cfg: Mapping[str, Any]) -> str | None:
    """Return the metric that a run returns to a sweeper; None where a kind of one's own has its own choice."""
    metric = selection_metric(cfg)
    return cfg["optimized_metric"] or (metric and f"val/target/{metric}")


def direction_of(cfg: Mapping[str, Any]) -> str | None:
    """Return whether a run's metric is to `maximize` or to `minimize`; None where only its head knows.

    Args:
        cfg: The composed configuration.
    """
    name = (returned(cfg) or "").rpartition("/")[2]
    if not any(name in metrics for metrics in METRICS.values()):
        return None
    return MINIMIZE if name in LOWER_IS_BETTER else MAXIMIZE


def with_direction(arguments: Sequence[str]) -> list[str]:
    """Return a command line with, for a sweep by Optuna, the metric's direction: Optuna's own default is to minimise.

    Args:
        arguments: The command line after the program's name.

    Raises:
        ConfigError: If a direction was given that contradicts the metric, or the sweep has several metrics.
    """
    if OPTUNA not in arguments or not any(flag in arguments for flag in MULTIRUN):
        return list(arguments)
    found = {returned(cfg): direction_of(cfg) for cfg in _swept(arguments)}
    if len(found) > 1:
        both = {MAXIMIZE, MINIMIZE} <= set(found.values())
        several = "maximize and minimize" if both else "compare values of several metrics"
        raise ConfigError(f"{OPTUNA}: one sweep cannot {several}; it has {', '.join(map(str, found))}")
    (metric, direction), given = next(iter(found.items())), [a for a in arguments if a.startswith(f"{OPTION}=")]
    if given:
        _hold(given[-1].partition("=")[2].strip("[]'\""), direction, metric)
        return list(arguments)
    if direction is None:
        raise ConfigError(f"{OPTION}= is missing: whether the target's metric is better higher or lower is not known")
    return [*arguments, f"{OPTION}={direction}"]


def naming_what_varies(arguments: Sequence[str]) -> list[str]:
    """Return a sweep's command line with a note of which options do not vary, for the names of its folders.

    Args:
        arguments: The command line after the program's name.
    """
    if not any(flag in arguments for flag in MULTIRUN) or any(argument.startswith(NOTE) for argument in arguments):
        return list(arguments)
    given = [one for one in arguments if "=" in one and not one.startswith(("-", "hydra"))]
    fixed = [o.get_key_element() for o in OverridesParser.create().parse_overrides(given) if not o.is_sweep_override()]
    quoted = ",".join(f"'{key.lstrip('+~')}'" for key in fixed)
    return [*arguments, f"{NOTE}=[{quoted}]"]


def check_direction(hydra: Any, cfg: Mapping[str, Any]) -> None:
    """Check, in a sweep's job, that the sweeper looks in the metric's direction, wherever it was configured.

    Args:
        hydra: Hydra's own configuration of the job.
        cfg: The composed configuration.

    Raises:
        ConfigError: If it looks in the other.
    """
    if hydra.mode == RunMode.MULTIRUN:
        _hold(asked_of(OmegaConf.to_container(hydra.sweeper, resolve=False)), direction_of(cfg), returned(cfg))


def asked_of(sweeper: Any) -> str | None:
    """Return the direction in which a sweeper is configured to look: Optuna's, Ax's or Nevergrad's; None for others."""
    node: Mapping[str, Any] = sweeper or {}
    given = node.get("direction")
    if given is not None:
        one = given[0] if isinstance(given, list) and len(given) == 1 else given
        return str(getattr(one, "name", one))
    minimize = ((node.get("ax_config") or {}).get("experiment") or {}).get("minimize")
    maximize = (node.get("optim") or {}).get("maximize")
    if minimize is None and maximize is None:
        return None
    return MAXIMIZE if maximize or minimize is False else MINIMIZE


def _hold(given: str | None, direction: str | None, metric: str | None) -> None:
    if None not in (given, direction) and given != direction:
        raise ConfigError(f"{OPTION}={given}: contradicts {metric}, which is to {direction}; set {OPTION}={direction}")


def _swept(arguments: Sequence[str]) -> list[dict[str, Any]]:
    """Return checked configurations of a sweep, one per combination of what decides the direction, else the first.

    Values that are drawn from an interval stay at their default.
    """
    _, rest = config_dir(arguments)
    rest = [a for a in rest if a not in MULTIRUN and not a.startswith(("hydra.", "hydra/"))]
    with composing(arguments) as more:
        loader = GlobalHydra.instance().config_loader()
        choices = []
        for one in OverridesParser.create(config_loader=loader).parse_overrides(rest):
            name = one.get_key_element()
            if not one.is_sweep_override():
                choices.append([str(one.input_line)])
            elif one.is_discrete_sweep():
                values = [f"{name}={value}" for value in one.sweep_string_iterator()]
                choices.append(values if name in DECIDE else values[:1])
        jobs = [list(job) for job in product(*choices)]
        return [checked(settled(compose(CONFIG_NAME, [*job, *more]), job)) for job in jobs]
