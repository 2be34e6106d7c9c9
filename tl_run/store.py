"""Source stages that were trained before: what several runs need alike is trained once.

A source stage is known by all that shapes it: the source's samples, options, weights and seed, the parts it goes
through and how they are trained, the machine's arithmetic and the versions. What the target is, and what becomes of the
stage afterwards, is not among it. A run that finds it takes weights, record and metrics over, to the bit as if it had
trained it; one that is about to train what another process trains waits for that.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from filelock import FileLock, Timeout

from tl_modules.module import TransferModule
from tl_modules.stages import Stage
from tl_modules.weights.runs import damage, digest_of
from tl_run.folder import write_whole

log = logging.getLogger(__name__)
RECORD, WEIGHTS, METRICS = "record.json", "stage.ckpt", "metrics.csv"
GIGA = 1024**3
# Groups and options of a run that do not shape its source stage, or are told by other parts of the address.
ELSEWHERE = (
    *("target", "finetuning", "steps", "epochs", "logger", "store", "checkpoint", "resume", "trust", "allow_targets"),
    *("by_rule", "optimized_metric", "optimize_on_test", "check_data", "data_root", "max_invalid", "selection"),
)


def store_folder() -> Path:
    """Return the store's folder in the user's cache: below `XDG_CACHE_HOME`, by default `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tl-modules" / "stages"


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
    if stage.roles != ("source",) or not alone or config["callbacks"] or module.objective.adapts:
        return None
    files = _files(data.data["source"])
    if files is None:
        return None
    kept = {key: value for key, value in config.items() if key not in ELSEWHERE}
    kept["cell"] = {key: value for key, value in config["cell"].items() if key != "source_share"}
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
        "machine": [torch.__version__, lightning.__version__, torch.get_num_threads(), os.uname().machine],
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
    return hashlib.blake2b(json.dumps(said, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()


def _files(source: Any) -> Any:
    """Return which samples a source has, with size and time of change of the files they are in; None if unknown."""
    if type(source).__module__.startswith("datamodules.synthetic."):
        return "generated"  # the options say all
    if not hasattr(source, "places"):
        return None
    root = Path(str(getattr(source, "root", "")))
    whole = _stat(root) if root.is_file() else [_stat(path) for path in sorted(root.glob("*")) if path.is_file()]
    places = {name: [(one, _stat(Path(one))) for one in source.places[name]] for name in ("train", "val")}
    return [source.fingerprint, source.ids["train"], source.ids["val"], whole, places]


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


class Store:
    """The store, as a run uses it: `take` before a stage, then `put` after it or `leave`.

    Args:
        gigabytes: How large it may become; what was not used for longest goes first.
    """

    def __init__(self, gigabytes: float) -> None:
        self.folder, self.most = store_folder(), gigabytes * GIGA
        self.lock: FileLock | None = None
        self.key = ""

    def take(self, key: str) -> Path | None:
        """Return the folder of a stage, or None: then it is this process's to train, and others wait for it.

        Args:
            key: Its address.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / f"{key}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                print("the source stage is being trained by another run; waiting for it")
                lock.acquire(poll_interval=0.5)
        except OSError as error:
            log.debug("the store %s cannot be used: %s", self.folder, error)
            return None
        self.lock, self.key = lock, key
        found = self.folder / key
        if self._whole(found):
            os.utime(found)
            self.leave()
            return found
        shutil.rmtree(found, ignore_errors=True)
        return None

    @staticmethod
    def _whole(folder: Path) -> bool:
        try:
            record = json.loads((folder / RECORD).read_text())
            return all(damage(folder / name, record["digests"][name]) is None for name in (WEIGHTS, METRICS))
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def put(self, checkpoint: Path, record: Mapping[str, Any], metrics: bytes) -> None:
        """Keep the stage that was taken to be trained.

        Args:
            checkpoint: The checkpoint that it chose.
            record: Its record.
            metrics: Its rows of `metrics.csv`.
        """
        part = self.folder / f".{self.key}.part"
        try:
            weights = checkpoint.read_bytes()
            digests = {WEIGHTS: digest_of(weights), METRICS: digest_of(metrics)}
            shutil.rmtree(part, ignore_errors=True)
            for name, content in ((WEIGHTS, weights), (METRICS, metrics)):
                write_whole(part / name, content)
            write_whole(part / RECORD, json.dumps({"record": dict(record), "digests": digests}).encode())
            os.replace(part, self.folder / self.key)
            self.bound()
        except OSError as error:  # such as a full disk: the run has its own copy
            log.warning("the store %s cannot be written: %s", self.folder, error)
        finally:
            self.leave()

    def leave(self) -> None:
        """Let others have the stage."""
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
    return f"{folder}: {len(entries)} source stages removed, {size / 1024**2:.0f} MiB"
