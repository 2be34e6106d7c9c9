"""Where the configuration files are: ours, and those of `--config-dir`; no torch."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra import initialize_config_dir

# Inside the package where it was installed from a wheel, else beside it.
CONF = next(
    path
    for path in (Path(__file__).resolve().parent / "conf", Path(__file__).resolve().parents[1] / "conf")
    if path.is_dir()
)
CONFIG_NAME = "train"
CONFIG_DIR = ("--config-dir", "-cd")


def config_dir(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Return the folder of a `--config-dir`, and the arguments without it.

    Args:
        arguments: A command line after the program's name.
    """
    found, rest, waiting = None, [], False
    for argument in arguments:
        name, sign, value = argument.partition("=")
        if waiting:
            found, waiting = argument, False
        elif name in CONFIG_DIR and sign:
            found = value
        elif argument in CONFIG_DIR:
            waiting = True
        else:
            rest.append(argument)
    return None if found is None else Path(found).resolve(), rest


def folders(arguments: Sequence[str] | None = None) -> list[Path]:
    """Return the folders of configuration files that a command line reads, ours first.

    Args:
        arguments: The command line after the program's name; by default this program's.
    """
    own = config_dir(sys.argv[1:] if arguments is None else arguments)[0]
    return [CONF, *([own] if own is not None and own.is_dir() else [])]


@contextmanager
def composing(arguments: Sequence[str] | None = None) -> Iterator[list[str]]:
    """Make `hydra.compose` read the folders of a command line; give the overrides that it needs for that.

    Args:
        arguments: The command line after the program's name; by default this program's.
    """
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield searched(arguments)


def searched(arguments: Sequence[str] | None = None) -> list[str]:
    """Return the override with which `hydra.compose` reads the folders of a command line beside ours."""
    own = folders(arguments)[1:]
    quoted = [str(folder).replace("\\", "\\\\").replace("'", "\\'") for folder in own]
    return [f"hydra.searchpath=['file://{folder}']" for folder in quoted]


def import_from_here() -> None:
    """Let classes of one's own be imported from the folder that the program is called in, after all others."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
