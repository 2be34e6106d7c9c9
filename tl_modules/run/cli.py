"""The command line around Hydra: everything is checked before the first run starts, and errors are short."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tl_modules.cube import cell_for
from tl_modules.found import torchvision_networks
from tl_modules.run import networks
from tl_modules.run.defaults import chosen
from tl_modules.run.errors import RunError
from tl_modules.run.options import NETWORKS
from tl_modules.run.schema import ConfigError, check, options_of
from tl_modules.run.words import near, plain

CONF = Path(__file__).resolve().parents[2] / "conf"
CONFIG_NAME = "train"
ORDERS = ("sequential", "simultaneous")
MULTIRUN = ("-m", "--multirun")
BAD_CONFIG, FAILED = 2, 1


def run(main: Callable[[], Any], prepared: Callable[[Sequence[str]], list[str]] = list) -> None:
    """Call a function decorated by `hydra.main`; on bad input print a line a problem and exit with status 2.

    A sweep's configurations are all checked before its first run starts. A run that fails exits with status 1 and its
    one line.

    Args:
        main: The decorated function; it reads the command line.
        prepared: What else is done to the arguments.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # documented: Hydra then raises instead of printing and exiting
    try:
        sys.argv[1:] = prepared(with_resumed(sys.argv[1:]))
        check_ahead(sys.argv[1:])
        main()
    except InstantiationException as error:
        if not isinstance(error.__cause__, ValueError):
            raise
        _leave(str(error.__cause__).splitlines()[:1], BAD_CONFIG)
    except (ConfigError, HydraException, OmegaConfBaseException) as error:
        _leave(lines(error), BAD_CONFIG)
    except RunError as error:
        _leave(str(error).splitlines(), FAILED)
    except OSError as error:
        given = [argument for argument in sys.argv[1:] if argument.startswith(("hydra.run.dir=", "hydra.sweep.dir="))]
        where = given[-1] if given else f"the folder {Path.cwd()}"
        _leave([f"{where}: cannot be written ({error.strerror or error})"], FAILED)


def checked(cfg: DictConfig) -> dict[str, Any]:
    """Return a composed configuration as plain values that were checked.

    Args:
        cfg: As Hydra composed it.

    Raises:
        ConfigError: If it cannot run.
    """
    values: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    values.pop("hydra", None)
    check(values)
    return {**values, "precision": str(values["precision"]), "by_rule": chosen(cfg)}


def settled(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Return a composed configuration in which `cell=auto` is settled: composed anew with the cell that fits.

    The cell's default source does not count then: the pair that was asked for stays.

    Args:
        cfg: As Hydra composed it.
        overrides: What it was composed from.

    Raises:
        ConfigError: If `order` is missing, or given with a cell of its own name.
    """
    order = cfg.get("order")
    if cfg.cell.name != networks.AUTO:
        if order is not None:
            raise ConfigError(f"order={plain(order)}: is for cell=auto; cell={cfg.cell.name} has its own order")
        return cfg
    if order not in ORDERS:
        raise ConfigError(f"order={plain(order)}: cell=auto needs one of {', '.join(ORDERS)}")
    source, target = cfg.source, cfg.target
    same = (source.task, source.kind) == (target.task, target.kind), source.domain == target.domain
    cell = cell_for(*same, sequential=order == "sequential")
    kept = [line for line in overrides if line.partition("=")[0] not in ("cell", "order", "dataset@source")]
    return compose(CONFIG_NAME, [f"cell={cell}", f"dataset@source={source.name}", *kept])


def announced(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Return what `settled` does, and say which cell `cell=auto` became."""
    made = settled(cfg, overrides)
    if made is not cfg:
        source, target = made.source, made.target
        tasks = "same task" if source.task == target.task and source.kind == target.kind else "different tasks"
        domains = "same domain" if source.domain == target.domain else "different domains"
        print(
            f"cell=auto: {tasks} ({source.task}, {target.task}), {domains} ({source.domain}, {target.domain}), ", end=""
        )
        print(f"{cfg.order}: this is cell={made.cell.name}")
    return made


def with_resumed(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with, for `resume=<run folder>`, those of the run to go on with, and its folder.

    Args:
        arguments: The command line after the program's name.

    Raises:
        ConfigError: If the folder is not a run's, or other options are given that the run did not have.
    """
    given = [argument for argument in arguments if argument.startswith("resume=")]
    value = given[-1].partition("=")[2].strip("'\"") if given else "null"
    if value == "null":
        return list(arguments)
    if any(flag in arguments for flag in MULTIRUN):
        raise ConfigError(f"resume={value}: goes on with one run; leave out -m")
    recorded = Path(value) / ".hydra" / "overrides.yaml"
    if not recorded.is_file():
        raise ConfigError(f"resume={value}: must be the folder of a run, but {recorded} is missing")
    before = [str(line) for line in OmegaConf.load(recorded)]
    before = [line for line in before if not line.startswith(("resume=", "hydra."))]
    others = [a for a in arguments if a not in before and not a.startswith(("resume=", "hydra.", "trainer.progress="))]
    if others:
        raise ConfigError(f"resume={value}: goes on with the run's own options; leave out {' '.join(others)}")
    folder = str(Path(value)).replace("'", "\\'")
    return [*before, *arguments, f"hydra.run.dir='{folder}'"]


def check_ahead(arguments: Sequence[str]) -> None:
    """Compose and check what a command line asks for, a sweep's every run included, before anything is written.

    Left to the runs themselves where Hydra is asked for something else (`--help`, another config), or where a sweeper
    other than the basic one chooses the values.

    Args:
        arguments: The command line after the program's name.

    Raises:
        ConfigError: If a configuration cannot run.
    """
    sweep = any(flag in arguments for flag in MULTIRUN)
    rest = [argument for argument in arguments if argument not in MULTIRUN]
    if any(argument.startswith("-") for argument in rest) or any("hydra/sweeper" in argument for argument in rest):
        return
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(rest)
        swept = [override for override in parsed if override.is_sweep_override()]
        if swept and not sweep:
            raise ConfigError(f"{swept[0].input_line}: several values need a sweep; add -m")
        if not all(override.is_discrete_sweep() for override in swept):
            return
        jobs = BasicSweeper.split_arguments(parsed, None)[0] if sweep else [rest]
        for job in jobs:
            asked = [line for line in job if not line.startswith("hydra.")]
            checked(settled(compose(CONFIG_NAME, asked), asked))


def lines(error: Exception) -> list[str]:
    """Return an error of the configuration as lines to show, one for each of Hydra's and OmegaConf's errors.

    Args:
        error: What was raised.
    """
    if isinstance(error, ConfigError):
        return str(error).splitlines()
    text = str(error)
    if isinstance(error, OverrideParseException):
        return [f"{error.override}: cannot be read; expected option=value"]
    for pattern, says in PATTERNS:
        found = re.search(pattern, f"{text} {error.__cause__ or ''}")
        if found:
            return [says(*found.groups())]
    return [" ".join(text.split()) or type(error).__name__]


def group_options(group: str) -> list[str]:
    """Return all options of a config group, those in folders below it with their path.

    Args:
        group: Such as `cell` or `dataset`.
    """
    folder = CONF / group
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def _missing_option(file: str) -> str:
    group = next((name for name in _groups() if file.startswith(f"{name}/")), file.rpartition("/")[0])
    given, allowed = file[len(group) + 1 :], group_options(group)
    known = [*allowed, *({networks.GROUP: torchvision_networks(), "cell": networks.UNLISTED_CELLS}.get(group, ()))]
    allowed = [*allowed, *({networks.GROUP: NETWORKS, "cell": networks.UNLISTED_CELLS}.get(group, ()))]
    asked = f"{group}={given}"
    for argument in sys.argv[1:]:
        name = argument.partition("=")[0]
        if name.partition("@")[0] == group and given in argument:
            asked = f"{name}={given}"
    if not allowed:
        return f"{file}: no such option; groups: {', '.join(_groups())}"
    return f"{asked}: {near(given, known)}allowed: {', '.join(allowed)}"


def _no_choice(group: str) -> str:
    more = networks.UNLISTED_CELLS if group == "cell" else ()
    return f"{group}= is missing; choose one of {', '.join([*group_options(group), *more])}"


def _no_group(group: str) -> str:
    roles = [f"dataset@{role}" for role in ("source", "target")]
    allowed = [name for name in _groups() if name != "dataset"] + roles
    hint = f"did you mean {' or '.join(roles)}? " if group.startswith("dataset") else near(group, allowed)
    return f"{group}=: no such group of options; {hint}allowed: {', '.join(allowed)}"


def _no_key(key: str) -> str:
    allowed = options_of(key, _dataset_class(key.partition(".")[0]))
    given = next((a for a in sys.argv[1:] if a.lstrip("+~").partition("=")[0] == key), key)
    shown = f"; {near(key.split('.')[-1], allowed)}allowed: {', '.join(allowed)}" if allowed else ""
    return f"{given}: unknown option{shown}"


def _dataset_class(role: str) -> str | None:
    """Return the class that the dataset chosen for a role is made by, as far as the command line tells."""
    chosen = [a.partition("=")[2] for a in sys.argv[1:] if a.startswith(f"dataset@{role}=")] or [
        "scenes/textured_classify"
    ]
    path = CONF / "dataset" / f"{chosen[-1]}.yaml"
    while path.is_file():
        node: Any = OmegaConf.load(path)
        if "_target_" in node:
            return str(node["_target_"])
        path = CONF / "dataset" / f"{str(node['defaults'][0]).partition('@')[0]}.yaml"
    return None


def _groups() -> list[str]:
    return sorted(path.name for path in CONF.iterdir() if path.is_dir())


def _no_value(key: str, where: str) -> str:
    path = key if "." in key else where
    group = "dataset" if path.partition(".")[0] in ("source", "target") else path.partition(".")[0]
    return f"{path}= is missing; the {group}'s file in conf/ says what it is"


def _refers_to_itself(key: str) -> str:
    if "dataset@target=second_input" in sys.argv:
        return "dataset@target=second_input: has no data to learn; it is for dataset@source="
    return f"{key}: its value refers to itself"


PATTERNS: tuple[tuple[str, Callable[..., str]], ...] = (
    (r"Missing mandatory value: (\S+)\s+full_key: (\S+)", _no_value),
    (r"Recursive interpolation detected\s+full_key: (\S+)", _refers_to_itself),
    (r"Could not find '([^']+)'", _missing_option),
    (r"You must specify '([^']+)'", _no_choice),
    (r"Could not override '([^'@]+)'\.\s*(?:No match in the defaults list|Did you mean)", _no_group),
    (r"(?s)Could not override .*full_key: (\S+)", _no_key),
    (r"Could not override '([^']+)'", _no_key),
)


def one_line(error: RunError) -> RunError | SystemExit:
    """Return what to raise for a run that failed, so that one line is all that is shown.

    In a sweep that is the error itself: Hydra says which run it was and goes on with the others.

    Args:
        error: What ended the run.
    """
    if any(flag in sys.argv[1:] for flag in MULTIRUN):
        return error
    print(error, file=sys.stderr)
    return SystemExit(FAILED)


def _leave(said: Sequence[str], status: int) -> None:
    for line in said:
        print(line, file=sys.stderr)
    sys.exit(status)
