"""A look at what an arm's runs will be, before any is started: whether they can run, and what a step costs."""

from __future__ import annotations

import contextlib
import math
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from datamodules.pair import PairedData
from tl_modules.health import Diverged
from tl_modules.module import TransferModule
from tl_modules.staged import fit
from tl_modules.stages import Stage
from tl_run.build import build_data, build_module, check_kinds
from tl_run.check_data import found_in, prepare
from tl_run.own import import_own
from tl_run.precision import resolve
from tl_run.rules.facts import is_pretrained
from tl_run.runner import quiet
from tl_run.store import address

STEPS, UNTIMED = 6, 2  # of a probe, and those of them that only warm up
FORWARD = 1 / 3  # of a training step's time; the backward pass takes about twice as long as the forward pass
MIB = 1024**2


class StageCost(NamedTuple):
    """What a stage will cost.

    Args:
        name: The stage's name.
        steps: Its steps.
        seconds: What they take, with its validations.
        shared: What tells the stage from others in the store of source stages; None where it is not kept.
    """

    name: str
    steps: int
    seconds: float
    shared: str | None


class Probe(NamedTuple):
    """What was found.

    Args:
        stages: The stages' costs.
        test_seconds: What the test takes.
        memory: The peak in MiB, of the GPU where there is one, else of this process with all its data.
        wiring: What tells the arm from one that would do the same under another name.
        found: What was found in the data, in lines.
    """

    stages: list[StageCost]
    test_seconds: float
    memory: float
    wiring: str
    found: tuple[str, ...] = ()


class Clock(Callback):
    """Time the steps of a probe."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Note the time."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.marks.append(time.perf_counter())

    @property
    def step(self) -> float:
        """Seconds of a step, the shortest seen after the first ones: others may have had to wait."""
        kept = self.marks[UNTIMED:] if len(self.marks) > UNTIMED + 1 else self.marks
        return min((after - before for before, after in pairwise(kept)), default=0.0)


def probe(config: Mapping[str, Any]) -> Probe:
    """Build an arm's data and module, and time a few steps of each stage; nothing is kept.

    Args:
        config: The checked configuration of one run.

    Raises:
        ValueError: If the arm cannot run on the data.
        OSError: If the data cannot be read.
    """
    quiet()
    cfg = dict(config)
    import_own(cfg)
    data = build_data(cfg)
    with tempfile.TemporaryDirectory() as folder:
        prepare(data, Path(folder))
        check_kinds(cfg, data)
        timed = Timed(cfg, data, build_module(cfg, data), folder)
        every = cfg["steps"] or cfg["epochs"] * data.epoch_steps
        with contextlib.suppress(Diverged):  # at this rate; what becomes of its runs is theirs to say
            fit(timed.module, data, timed.begin, steps=every, chosen=timed.end)
    tested = timed.clock.step * sum(timed.batches(role, "test") for role in data.data) * FORWARD
    return Probe(list(timed.found.values()), tested, _peak(), wiring(cfg, timed.module), tuple(found_in(data)))


class Timed:
    """The stages of an arm while a few steps of each are timed.

    Args:
        config: The checked configuration.
        data: The data, set up.
        module: The module.
        folder: A folder for the Trainers.

    Attributes:
        found: What was found, by stage.
        clock: Of the stage that was timed last.
    """

    def __init__(self, config: Mapping[str, Any], data: PairedData, module: TransferModule, folder: str) -> None:
        self.config, self.data, self.module, self.folder = config, data, module, folder
        self.found: dict[str, StageCost] = {}
        self.clock = Clock()

    def begin(self, stage: Stage, steps: int | None) -> Trainer:
        """Return the Trainer of a few steps."""
        assert steps is not None
        trainer, stored = self.config["trainer"], self.config["store"]["gigabytes"]
        key = address(self.config, self.data, self.module, stage, steps) if stored else None
        self.found[stage.name] = StageCost(stage.name, steps, 0.0, key)
        self.clock = Clock()
        precision, _ = resolve(self.config["precision"], trainer["accelerator"])
        return Trainer(
            accelerator=trainer["accelerator"],
            devices=1,
            precision=precision,  # type: ignore[arg-type]
            max_steps=max(1, min(STEPS, steps)),
            accumulate_grad_batches=trainer["accumulate"],
            limit_val_batches=0,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            logger=False,
            callbacks=[self.clock],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=self.folder,
        )

    def end(self, stage: Stage, trainer: Trainer | None) -> None:
        """Note what the whole stage will take, from what a batch took."""
        options, steps = self.config["trainer"], self.found[stage.name].steps
        validated = self.batches(self.module.monitor[0].split("/")[1], "val")
        batches = steps * options["accumulate"] + min(options["validations"], steps) * validated * FORWARD
        self.found[stage.name] = self.found[stage.name]._replace(seconds=self.clock.step * batches)

    def batches(self, role: str, split: str) -> int:
        """Return the batches of a split."""
        return math.ceil(len(self.data.split(role, split)) / int(self.config["datamodule"]["batch_size"]))


def wiring(config: Mapping[str, Any], module: TransferModule) -> str:
    """Return what tells an arm from one that would do the same under another name.

    Args:
        config: Its configuration.
        module: Its module.
    """
    said = {
        # With weights for a source there is nothing that the parts could be shared with.
        "wires": module.parts.wires if len(module.tasks) > 1 else is_pretrained(config),
        "stages": module.plan,
        **{key: config[key] for key in ("datamodule", "finetuning", "objective", "backbone")},
        "cell": {key: value for key, value in config["cell"].items() if key not in ("_target_", "name")},
        "source": {key: value for key, value in config["source"].items() if key not in ("task", "domain")},
        "merged": module.merged,
    }
    return repr(said)


def _peak() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / MIB
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / MIB if sys.platform == "darwin" else most / 1024
