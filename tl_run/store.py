"""What several runs need alike is made once: source stages here, features of frozen networks in `frozen`.

A source stage is known by all that shapes it: the source's samples, options, weights and seed, the parts it goes
through and how they are trained, the machine's arithmetic and the versions. What the target is, and what becomes of the
stage afterwards, is not among it. A run that finds it takes weights, record and metrics over, to the bit as if it had
trained it; one that is about to make what another process makes waits for that. Decoded pictures and generated data are
not kept: to make them takes no longer than some steps do.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import torch
from filelock import FileLock, Timeout
from torch import nn

from tl_modules.module import TransferModule
from tl_modules.stages import PART_KINDS, Stage
from tl_modules.weights.runs import digest_of
from tl_run.folder import write_whole

log = logging.getLogger(__name__)
RECORD, WEIGHTS, METRICS = "record.json", "stage.ckpt", "metrics.csv"
GIGA = 1024**3
# Groups and options of a run that do not shape its source stage, or are told by other parts of the address.
ELSEWHERE = (
    *("target", "finetuning", "steps", "epochs", "logger", "store", "checkpoint", "resume", "trust", "allow_targets"),
    *("by_rule", "optimized_metric", "optimize_on_test", "check_data", "data_root", "max_invalid", "selection"),
)

CELLS, NAMES = "tl_modules.cells.", ("name", "_target_")  # of a cell of ours wiring and stages say all
OF_THE_PLAN = ("source_share", "replay", "gradient_cosine")


def store_folder() -> Path:
    """Return the store's folder in the user's cache: below `XDG_CACHE_HOME`, by default `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tl-modules" / "store"


def address(config: Mapping[str, Any], data: Any, module: TransferModule, stage: Stage, steps: int) -> str | None:
    """Return what a source stage is known by; None where it cannot be told or is not worth keeping.

    Args:
        config: The run's checked configuration.
        data: Its paired data, set up.
        module: Its module, which has entered the stage.
        stage: The stage.
        steps: The stage's steps.
    """
    trainer = config["trainer"]
    alone = trainer["devices"] == 1 and trainer.get("num_nodes", 1) == 1
    if stage.roles != ("source",) or not alone or config["callbacks"]:
        return None
    files = samples_of(data.data["source"], ("train", "val"))
    if files is None:
        return None
    kept = {key: value for key, value in config.items() if key not in ELSEWHERE}
    not_said = (*OF_THE_PLAN, *(NAMES if type(module).__module__.startswith(CELLS) else ()))
    kept["cell"] = {key: value for key, value in config["cell"].items() if key not in not_said}
    if module.objective.adapts:  # later: here it learns as the sum does
        kept["objective"] = {"name": "sum"}
    kept["trainer"] = {key: value for key, value in trainer.items() if key != "progress"}
    kept["backbone"] = module.hparams.get("source_backbone") or module.hparams.get("backbone")
    weights = {str(path): _stat(Path(path)) for path in _paths(config["backbone"])}
    said = {
        **kept,
        "stage": [
            stage.name,
            sorted(stage.freeze),
            dict(stage.lr),
            steps,
            *module.monitor,
            config["selection"]["rule"],
        ],
        "wires": module.parts.wires["source"],
        "task": module.tasks["source"].to_dict(),
        "files": files,
        "weights": weights,
        "code": code_of(*(module.parts.of("source", kind) for kind in PART_KINDS), data.data["source"]),
        "arithmetic": arithmetic(),
    }
    return key_of(said)


def key_of(said: Any) -> str:
    """Return a short name for all that something depends on.

    Args:
        said: Plain values.
    """
    return hashlib.blake2b(json.dumps(said, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()


def arithmetic() -> list[Any]:
    """Return what of machine and versions the last bits of a result depend on."""
    machine = [torch.__version__, lightning.__version__, torch.get_num_threads(), platform.machine()]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return [*machine, torch.backends.cpu.get_cpu_capability(), gpu]


def code_of(*made: Any) -> dict[str, Any]:
    """Return size and time of change of the files in which the classes of some objects are written.

    Args:
        made: The objects; of a module its layers count too.
    """
    parts = [part for one in made for part in (one.modules() if isinstance(one, nn.Module) else (one,))]
    names = {kind.__module__ for part in parts for kind in type(part).__mro__} - {"builtins"}
    return {name: _stat(Path(str(getattr(sys.modules.get(name), "__file__", "")))) for name in sorted(names)}


def samples_of(data: Any, splits: Sequence[str]) -> Any:
    """Return which samples a dataset has, with size and time of change of the files they are in; None if unknown.

    Args:
        data: The DataModule, set up.
        splits: Of which splits.
    """
    if type(data).__module__.startswith("datamodules.synthetic."):
        return "generated"  # the options say all
    if not hasattr(data, "places"):
        return None
    root = Path(str(getattr(data, "root", "")))
    whole = _stat(root) if root.is_file() else [_stat(path) for path in sorted(root.glob("*")) if path.is_file()]
    places = {name: [(one, _stat(Path(one))) for one in data.places[name]] for name in splits}
    return [data.fingerprint, *(data.ids[name] for name in splits), whole, places]


def _stat(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except (OSError, ValueError):
        return None
    return state.st_size, state.st_mtime_ns


def _paths(node: Any) -> list[str]:
    """Return all texts in a node, any of which may be a file."""
    if isinstance(node, Mapping):
        return [one for value in node.values() for one in _paths(value)]
    return [node] if isinstance(node, str) else []


class Entry(NamedTuple):
    """What the store holds under a key.

    Args:
        record: What is to be known of it.
        files: Contents by the names of its files.
    """

    record: dict[str, Any]
    files: dict[str, bytes]


class Store:
    """The store, as a run uses it: `take` before something is made, then `put` after it or `leave`.

    Args:
        gigabytes: How large it may become; what was not used for longest goes first.
    """

    def __init__(self, gigabytes: float) -> None:
        self.folder, self.most = store_folder(), gigabytes * GIGA
        self.lock: FileLock | None = None
        self.key = ""

    def take(self, key: str, what: str = "source stage is being trained") -> Entry | None:
        """Return an entry, or None: then it is this process's to make, and others wait for it.

        Args:
            key: Its address.
            what: What is said while another process makes it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / f"{key}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                print(f"the {what} by another run; waiting for it")
                lock.acquire(poll_interval=0.5)
        except OSError as error:
            log.debug("the store %s cannot be used: %s", self.folder, error)
            return None
        self.lock, self.key = lock, key
        found = self._read(self.folder / key)
        if found is None:
            shutil.rmtree(self.folder / key, ignore_errors=True)
        else:
            self.leave()
        return found

    @classmethod
    def there(cls, key: str) -> Entry | None:
        """Return an entry that is there already, without a claim to make it."""
        return cls._read(store_folder() / key)

    @staticmethod
    def _read(folder: Path) -> Entry | None:
        """Return what a folder holds, all of it read here: another process may remove it next; None if not whole."""
        try:
            os.utime(folder)
            said = json.loads((folder / RECORD).read_text())
            files = {name: (folder / name).read_bytes() for name in said["digests"]}
            is_whole = all(digest_of(files[name]) == digest for name, digest in said["digests"].items())
            return Entry(said["record"], files) if is_whole else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def put(self, files: Mapping[str, bytes], record: Mapping[str, Any]) -> None:
        """Keep what was taken to be made, unless it is larger than the store may become.

        Args:
            files: Contents by the names of the entry's files.
            record: What else is to be known of it.
        """
        part = self.folder / f".{self.key}.part"
        try:
            if sum(map(len, files.values())) > self.most:
                return
            shutil.rmtree(part, ignore_errors=True)
            for name, content in files.items():
                write_whole(part / name, content)
            digests = {name: digest_of(content) for name, content in files.items()}
            write_whole(part / RECORD, json.dumps({"record": dict(record), "digests": digests}).encode())
            os.replace(part, self.folder / self.key)
            self.bound()
        except OSError as error:  # such as a full disk: the run has its own copy
            log.warning("the store %s cannot be written: %s", self.folder, error)
        finally:
            self.leave()

    def leave(self) -> None:
        """Let others have the entry."""
        if self.lock is not None:
            self.lock.release()
            self.lock = None

    def bound(self) -> None:
        """Remove what was not used for longest until the store is small enough."""
        held = sorted((path for path in self.folder.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
        sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for path in held}
        for path in held[:-1]:
            if sum(sizes.values()) <= self.most:
                return
            shutil.rmtree(path, ignore_errors=True)
            del sizes[path]


def clear() -> str:
    """Remove all that the store holds, and return a line that says how much it was."""
    folder = store_folder()
    entries = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    size = sum(file.stat().st_size for path in entries for file in path.iterdir())
    shutil.rmtree(folder, ignore_errors=True)
    return f"{folder}: {len(entries)} source stages and features of frozen networks removed, {size / 1024**2:.0f} MiB"
