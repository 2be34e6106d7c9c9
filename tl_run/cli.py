"""The command line around Hydra: everything is checked before the first run starts, and errors are short."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tl_modules.cube import BY_NAME
from tl_modules.discovery import torchvision_networks
from tl_run import networks
from tl_run.defaults import chosen, settled_cell
from tl_run.errors import RunError
from tl_run.messages import RENAMED, near, plain
from tl_run.options import NETWORKS, Root
from tl_run.paths import CONFIG_NAME, composing, config_dir, folders, import_from_here, searched
from tl_run.resuming import asked, resumed
from tl_run.schema import ConfigError, check, options_of

MADE = "scenes/"  # data that come with the project
ORDERS = ("sequential", "simultaneous")
MULTIRUN = ("-m", "--multirun")
HELP = ("-h", "--help")
CLEAR = "--clear-store"
SLURM = "hydra/launcher=submitit"
EXTRAS = {"joblib": "joblib", "optuna": "optuna", "ray": "ray", "submitit_slurm": "slurm", "submitit_local": "slurm"}
BAD_CONFIG, FAILED = 2, 1


def run(
    main: Callable[[], Any],
    prepared: Callable[[Sequence[str]], list[str]] = list,
    go_on: Callable[[Path, dict[str, Any]], Any] | None = None,
) -> None:
    """Call a function decorated by `hydra.main`; on bad input print a line per problem and exit with status 2.

    A sweep's configurations are all checked before its first run starts. A run that fails exits with status 1 and its
    one line.

    Args:
        main: The decorated function; it reads the command line.
        prepared: What else is done to the arguments.
        go_on: What goes on with the run in a folder, by its checked configuration, where `resume=` names one.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # documented: Hydra then raises instead of printing and exiting
    if CLEAR in sys.argv[1:]:
        from tl_run.store import clear

        print(clear())
        return
    if any(flag in sys.argv[1:] for flag in HELP) and not any(a.startswith("cell=") for a in sys.argv[1:]):
        print(usage())
        return
    import_from_here()
    flags = [argument for argument in sys.argv[1:] if argument in MULTIRUN]  # argparse takes options in one row
    sys.argv[1:] = [*flags, *(argument for argument in sys.argv[1:] if argument not in MULTIRUN)]
    try:
        folder = asked(sys.argv[1:])
        if folder is not None and go_on is not None:
            go_on(folder, resumed(folder, sys.argv[1:]))
            return
        sys.argv[1:] = prepared(sys.argv[1:])
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
    except BrokenPipeError:  # whoever read the output has enough
        sys.stderr.close()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
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
    source, cell = cfg.source, settled_cell(cfg)
    kept = [line for line in overrides if line.partition("=")[0] not in ("cell", "order", "dataset@source")]
    return compose(CONFIG_NAME, [f"cell={cell}", f"dataset@source={source.name}", *kept, *searched()])


def announced(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Return what `settled` does, and say which cell `cell=auto` became."""
    made = settled(cfg, overrides)
    if made.cell.name in BY_NAME and target_alone(overrides) is not None:
        print(f"dataset@source= is not given: the source is {made.source.name}, the default of cell={made.cell.name}")
    if made is not cfg:
        source, target = made.source, made.target
        tasks = "same task" if source.task == target.task and source.kind == target.kind else "different tasks"
        domains = "same domain" if source.domain == target.domain else "different domains"
        print(
            f"cell=auto: {tasks} ({source.task}, {target.task}), {domains} ({source.domain}, {target.domain}), ", end=""
        )
        print(f"{cfg.order}: this is cell={made.cell.name}")
    return made


def target_alone(given: Sequence[str]) -> str | None:
    """Return the target of one's own that options name without a source, for which a made one stands; None for none."""
    chosen = dict(line.lstrip("+").partition("=")[::2] for line in given)
    target = chosen.get("dataset@target", MADE)
    return None if target.startswith(MADE) or {"dataset@source", "experiment"} & chosen.keys() else target


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
    own, rest = config_dir([argument for argument in arguments if argument not in MULTIRUN])
    if own is not None and not own.is_dir():
        raise ConfigError(f"--config-dir {own}: must be a folder that exists")
    if any(argument.startswith("-") for argument in rest) or any("hydra/sweeper" in argument for argument in rest):
        return
    with composing(arguments) as more:
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
            config = checked(settled(compose(CONFIG_NAME, [*asked, *more]), asked))
            if sweep and config["trainer"]["devices"] > 1 and not any(SLURM in line for line in rest):
                given = f"trainer.devices={config['trainer']['devices']}"
                raise ConfigError(f"{given}: a run of a sweep has one device; start it by itself, or on SLURM")


def usage() -> str:
    """Return what `--help` shows: what can be chosen, and how to see every option of a choice."""
    program = Path(sys.argv[0]).name
    program = f"python {program}" if program.endswith(".py") else program
    cells = ", ".join([*group_options("cell"), *networks.UNLISTED_CELLS])
    shown = {group: ", ".join(group_options(group)) for group in _groups() if group not in ("cell", "dataset")}
    datasets = ", ".join(group_options("dataset"))
    choices = "\n".join(f"  {group}=  {options}" for group, options in shown.items())
    return f"""\
{program} cell=<cell> [option=value ...]

  cell=  {cells}
  dataset@source=, dataset@target=  {datasets}
{choices}
  backbone= also takes {" and ".join(NETWORKS)}

Beside these: {", ".join(key for key in Root.model_fields)}

  {program} cell=<cell> --help      every option of that cell's run with its value
  {program} -m cell=a,b seed=0,1,2  a sweep
  {program} --config-dir <folder>   configuration files of one's own, in folders named as above
  {program} resume=<run folder>     go on with a run that was stopped
  {program} --clear-store           remove what is kept for other runs: source stages, features
  {program} cell=<cell> resume=auto begin, or go on with, the run of these options"""


def lines(error: Exception) -> list[str]:
    """Return an error of the configuration as lines to show, one for each of Hydra's and OmegaConf's errors.

    Args:
        error: What was raised.
    """
    if isinstance(error, ConfigError):
        return str(error).splitlines()
    text = str(error)
    if isinstance(error, OverrideParseException):
        name, _, value = str(error.override).partition("=")
        quoted = f"; quote a value that has such characters: {name}=\"'{value}'\"" if SPECIAL & set(value) else ""
        return [f"{error.override}: cannot be read{quoted or '; expected option=value'}"]
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
    places = [folder / group for folder in folders()]
    return sorted({path.relative_to(at).with_suffix("").as_posix() for at in places for path in at.rglob("*.yaml")})


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


def _no_plugin(group: str, name: str) -> str:
    if name in EXTRAS:
        return f'hydra/{group}={name}: is not installed; pip install "tl-modules[{EXTRAS[name]}]"'
    known = sorted({"basic", *EXTRAS, *group_options(f"hydra/{group}")})
    return f"hydra/{group}={name}: {near(name, known)}no such {group}; one has to be installed, or be in --config-dir"


def _no_choice(group: str) -> str:
    more = networks.UNLISTED_CELLS if group == "cell" else ()
    return f"{group}= is missing; choose one of {', '.join([*group_options(group), *more])}"


def _no_group(group: str) -> str:
    roles = [f"dataset@{role}" for role in ("source", "target")]
    allowed = [name for name in _groups() if name != "dataset"] + roles
    hint = f"did you mean {' or '.join(roles)}? " if group.startswith("dataset") else near(group, allowed)
    return f"{group}=: no such group of options; {hint}allowed: {', '.join(allowed)}"


def _no_key(key: str) -> str:
    allowed = options_of(key, _chosen(key.partition(".")[0]))
    given = next((a for a in sys.argv[1:] if a.lstrip("+~").partition("=")[0] == key), key)
    if key.split(".")[-1] in RENAMED:
        return f"{given}: {RENAMED[key.split('.')[-1]]}"
    inside = (
        [] if "." in key else [f"{one}.{key}" for one in allowed if key in options_of(f"{one}.{key}", _chosen(one))]
    )
    if inside:
        return f"{given}: unknown option; did you mean {' or '.join(inside)}?"
    shown = f"; {near(key.split('.')[-1], allowed)}allowed: {', '.join(allowed)}" if allowed else ""
    return f"{given}: unknown option{shown}"


def _chosen(group: str) -> str | None:
    """Return what a group was chosen to be on the command line, of a role the class of its dataset."""
    if group in ("source", "target"):
        return _dataset_class(group)
    return next((a.partition("=")[2] for a in reversed(sys.argv[1:]) if a.startswith(f"{group}=")), None)


def _dataset_class(role: str) -> str | None:
    """Return the class that the dataset chosen for a role is made by, as far as the command line tells."""
    chosen = [a.partition("=")[2] for a in sys.argv[1:] if a.startswith(f"dataset@{role}=")] or [
        "scenes/textured_classify"
    ]
    name: str | None = chosen[-1]
    while name is not None:
        paths = [folder / "dataset" / f"{name}.yaml" for folder in folders()]
        node: Any = next((OmegaConf.load(path) for path in paths if path.is_file()), {})
        if "_target_" in node:
            return str(node["_target_"])
        name = str(node["defaults"][0]).partition("@")[0] if "defaults" in node else None
    return None


def _groups() -> list[str]:
    found = {path.name for folder in folders() for path in folder.iterdir() if path.is_dir()}
    return sorted(found - {"arm", "hydra"})


def _no_value(key: str, where: str) -> str:
    path = key if "." in key else where
    group = "dataset" if path.partition(".")[0] in ("source", "target") else path.partition(".")[0]
    return f"{path}= is missing; the {group}'s file in conf/ says what it is"


def _refers_to_itself(key: str) -> str:
    if "dataset@target=second_input" in sys.argv:
        return "dataset@target=second_input: has no data to learn; it is for dataset@source="
    return f"{key}: its value refers to itself"


SPECIAL = set("()~&#?!^%; ")  # what Hydra reads in a value that is quoted alone
PATTERNS: tuple[tuple[str, Callable[..., str]], ...] = (
    (r"Missing mandatory value: (\S+)\s+full_key: (\S+)", _no_value),
    (r"Recursive interpolation detected\s+full_key: (\S+)", _refers_to_itself),
    (r"Could not (?:find|load) 'hydra/(launcher|sweeper)/([^']+)'", _no_plugin),
    (r"Could not find '([^']+)'", _missing_option),
    (r"You must specify '([^']+)'", _no_choice),
    (r"Could not override '((?:dataset@)?[^'@]+)'\.\s*(?:No match in the defaults list|Did you mean)", _no_group),
    (r"(?s)Could not override .*full_key: (\S+)", _no_key),
    (r"Could not override '([^']+)'", _no_key),
)


def one_line(error: RunError, status: int = FAILED) -> RunError | SystemExit:
    """Return what to raise for a run that failed, so that one line is all that is shown.

    In a sweep that is the error itself: Hydra says which run it was and goes on with the others.

    Args:
        error: What ended the run.
        status: The exit status of a single run.
    """
    job = HydraConfig.get().mode if HydraConfig.initialized() else None  # in a launcher's process sys.argv is another's
    if job == RunMode.MULTIRUN or any(flag in sys.argv[1:] for flag in MULTIRUN):
        return error
    print(error, file=sys.stderr)
    return SystemExit(status)


def _leave(said: Sequence[str], status: int) -> None:
    for line in said:
        print(line, file=sys.stderr)
    sys.exit(status)
