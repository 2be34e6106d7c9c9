"""`resume=`: going on with a run, from nothing but the journal in its folder; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from omegaconf import OmegaConf

from tl_modules.weights.runs import read_journal
from tl_run.naming import AUTO
from tl_run.paths import config_dir
from tl_run.schema import ConfigError, check

OPTION = "resume="
FREE = (OPTION, "trainer.progress=", "checkpoint.minutes=", "trust=", "allow_targets=")


def asked(arguments: Sequence[str]) -> Path | None:
    """Return the folder that `resume=` names on a command line; None where there is none, or it is `auto`."""
    given = [argument.partition("=")[2].strip("'\"") for argument in arguments if argument.startswith(OPTION)]
    return None if not given or given[-1] in ("null", AUTO) else Path(given[-1])


def recorded(folder: Path, option: str = OPTION) -> Any:
    """Return the configuration that a run was started with, as it stands in its folder.

    Args:
        folder: The run's folder.
        option: The option that names the folder, for messages.

    Raises:
        ConfigError: If the folder is not a run's, or what is in it cannot be read.
    """
    try:
        journal = read_journal(folder)
    except ValueError as error:
        raise ConfigError(f"{option}{folder}: {error}") from error
    path = folder / "config.yaml"  # of a run from before there were journals
    text = None if journal is None else journal["config"]
    try:
        text = path.read_text() if text is None else text
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            raise ValueError("has aliases, which no run writes, and which may grow without end")
        return OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except FileNotFoundError:
        raise ConfigError(f"{option}{folder}: must be the folder of a run, but it has no journal") from None
    except Exception as error:  # YAML may fail in any way
        where = path if journal is None or journal["config"] is None else f"the journal in {folder}"
        raise ConfigError(f"{where}: cannot be read as a configuration") from error


def resumed(folder: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """Return the configuration of the run to go on with, checked; no class that it names is imported here.

    Args:
        folder: The run's folder.
        arguments: The command line after the program's name.

    Raises:
        ConfigError: If the folder is not a run's, options are given that would change it, or it uses code that is not
            ours and not trusted.
    """
    given = f"{OPTION}{folder}"
    _, rest = config_dir(arguments)
    if any(flag in rest for flag in ("-m", "--multirun")):
        raise ConfigError(f"{given}: goes on with one run; leave out -m")
    config = recorded(folder)
    others = [a for a in rest if not a.startswith(FREE) and not _as_recorded(a, config)]
    if others:
        raise ConfigError(f"{given}: goes on with the run's own options; leave out {' '.join(others)}")
    if not isinstance(config, dict) or not isinstance(config.get("trainer"), dict):
        raise ConfigError(f"{given}: holds no configuration of a run")
    config = {**config, "resume": str(folder)}
    config = {"checkpoint": {"minutes": None}, "store": {"gigabytes": 0}, **config}
    for argument in rest:
        name, _, value = argument.partition("=")
        if argument.startswith(FREE) and not argument.startswith(OPTION):
            made: Any = OmegaConf.to_container(OmegaConf.from_dotlist([f"{name}={value}"]))
            for key, one in made.items():
                config[key] = {**config[key], **one} if isinstance(one, dict) else one
    check(config)
    return config


def _as_recorded(argument: str, config: Any) -> bool:
    """Tell whether an option says what the run was started with anyway."""
    name, sign, value = argument.partition("=")
    try:
        now = OmegaConf.select(OmegaConf.create(config), name)
        made = OmegaConf.select(OmegaConf.from_dotlist([argument]), name)
    except Exception:  # whatever was typed
        return False
    if not sign:
        return False
    if OmegaConf.is_config(now) and now.get("name") == value:  # a group's choice, such as cell=multitask
        return True
    return bool(now == made)
