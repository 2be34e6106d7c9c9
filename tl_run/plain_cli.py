"""Command lines without Hydra: checked before torch is imported, and errors are one line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from tl_run.errors import RunError

BAD, FAILED = 2, 1
Asked = TypeVar("Asked")


def answered(
    arguments: Sequence[str] | None,
    usage: str,
    read: Callable[[Sequence[str]], Asked],
    act: Callable[[Asked], None],
) -> None:
    """Do what a command line asks for; exit with 2 on wrong options and 1 where it cannot be done.

    Args:
        arguments: The command line after the program's name; None for this program's.
        usage: What `--help` shows, with `{program}` for its name.
        read: Checks the arguments and returns what they ask for.
        act: Does it.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or any(argument in ("-h", "--help") for argument in given):
        print(usage.format(program=program()))
        sys.exit(0 if given else BAD)
    try:
        asked = read(given)
    except ValueError as error:
        print(error, file=sys.stderr)
        sys.exit(BAD)
    try:
        act(asked)
    except (RunError, ValueError, OSError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        sys.exit(FAILED)


def program() -> str:
    """Return what the program was called as."""
    name = Path(sys.argv[0]).name
    return f"python {name}" if name.endswith(".py") else name
