"""Hold a run's folder, run what is not yet done in it, and say how it ended."""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from tl_modules.health import Diverged
from tl_modules.weights.runs import damage, digest_of
from tl_run.errors import RunError
from tl_run.folder import (
    finite,
    first_process,
    write_json,
    write_whole,
)
from tl_run.journal import COMPLETE, DIVERGED, FAILED, INTERRUPTED, RESULTS, Journal
from tl_run.plain_cli import program
from tl_run.resuming import recorded
from tl_run.run import Run
from tl_run.stopping import Interrupted, Stopping

log = logging.getLogger(__name__)
# Options that say how a run is started and saved, not what it is, as a folder has them.
NOT_HELD = {"resume": None, "trust": False, "allow_targets": None}
Config = dict[str, Any]


def execute(config: Config, folder: Path) -> float:
    """Train, test and write a run's folder.

    Args:
        config: The composed and checked configuration, plain values.
        folder: The run's folder; stages that are done in it are skipped, an unfinished one goes on from the newest
            checkpoint that is whole, and a run that is complete gives its value back.

    Returns:
        The value of `optimized_metric`.

    Raises:
        RunError: If the run fails; the traceback is in the folder's `error.log`.
        Interrupted: If it was stopped by a signal; what was trained is saved.
    """
    quiet()
    try:
        journal = Journal(folder)
        with journal.held(), Stopping() as stopping:
            return _execute(config, journal, stopping)
    except (ValueError, OSError) as error:  # the folder cannot be held, so nothing is written into it
        raise RunError(" ".join(str(error).split())) from error


def _execute(config: Config, journal: Journal, stopping: Stopping) -> float:
    folder = journal.folder
    _hold_to(config, journal)
    value = journal.content.get("value")
    if journal.content["status"] == COMPLETE and value is not None:
        wrong = damage(folder / RESULTS, journal.content.get("results"))
        if wrong is None:
            print(f"{folder}: is complete; nothing to do")
            return float(value)
        print(f"{wrong}: the test is run again", file=sys.stderr)
    try:
        journal.begin(OmegaConf.to_yaml(OmegaConf.create({**config, **NOT_HELD})))
        if first_process():
            (folder / "error.json").unlink(missing_ok=True)
        run = Run(config, journal, stopping)
        try:
            value = run.run()
        finally:
            run.store.leave()
        results = digest_of((folder / RESULTS).read_bytes()) if first_process() else None
        journal.write(status=COMPLETE, holder=None, value=finite(value), results=results)
        return value
    except Interrupted as error:
        if journal.content["status"] != COMPLETE:  # it may come when all is done
            journal.write(status=INTERRUPTED, holder=None)
        if first_process():
            print(f"stopped by {error}; all is saved, go on with: {program()} resume={folder}", file=sys.stderr)
        raise
    except (Exception, KeyboardInterrupt) as error:
        line = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, Diverged) and (good := journal.before(error.stage, error.step)) is not None:
            line = f"{line}; the last checkpoint before it is {good}"
        stopped = isinstance(error, KeyboardInterrupt)
        status = INTERRUPTED if stopped else DIVERGED if isinstance(error, Diverged) else FAILED
        try:
            if first_process():
                write_whole(folder / "error.log", traceback.format_exc().encode())
                write_json(folder / "error.json", {"schema": 1, "error": line, "type": type(error).__name__})
            journal.write(status=status, holder=None)
        except OSError:
            log.debug("the folder %s cannot be written", folder)
        if stopped:
            raise
        expected = isinstance(error, (ValueError, OSError, Diverged))
        line = line if expected else f"{type(error).__name__}: {line}; see {folder / 'error.log'}"
        raise RunError(line) from error


def _hold_to(config: Config, journal: Journal) -> None:
    """Refuse to go on with a run under other options than it was started with.

    Raises:
        ValueError: If it was started with others.
    """
    if not journal.started:
        return
    before, now = _held(recorded(journal.folder)), _held(config)
    changed = sorted(key for key in now if now[key] != before.get(key))
    if changed:
        verb = "differ" if len(changed) > 1 else "differs"
        raise ValueError(f"{', '.join(changed)} {verb} from what the run in {journal.folder} was started with")


def quiet() -> None:
    """Silence what Lightning says of things that are meant."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning", "huggingface_hub", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # names in scripts that a font has not
    for text in (".*eval mode.*", ".*does not have many workers.*", ".*`weights_only`.*", ".*Checkpoint directory.*"):
        warnings.filterwarnings("ignore", message=text)
    warnings.filterwarnings("ignore", message=".*litlogger.*|.*litmodels.*|.*srun.*|.*lr_scheduler.step.*")
    warnings.filterwarnings("ignore", category=UserWarning, module="lightning.*")
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message="Detected pickle protocol")  # such a checkpoint is refused in a line


def _held(config: Any) -> Config:
    """Return what a resumed run is held to: the options, but for how its progress is shown."""
    trainer = {key: value for key, value in config["trainer"].items() if key != "progress"}
    free = (*NOT_HELD, "by_rule", "checkpoint", "store")
    return {**{key: value for key, value in config.items() if key not in free}, "trainer": trainer}
