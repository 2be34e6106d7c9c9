"""One run of one cell: its stages, one test, and what is to be known of them."""

from __future__ import annotations

import io
import json
import math
import pickle
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers.logger import Logger

from tl_modules.forward import inputs_of
from tl_modules.health import Diverged
from tl_modules.staged import fit, load_weights, settle
from tl_modules.stages import Stage
from tl_modules.task import UNION
from tl_modules.weights.files import read_weights
from tl_modules.weights.runs import damage, digest_of
from tl_run import lineage
from tl_run.attached import callbacks_of, further, loggers_for, remarks
from tl_run.build import build_data, build_module, check_kinds
from tl_run.callbacks.cache import CachedFeatures
from tl_run.callbacks.checkpoints import Checkpoints
from tl_run.callbacks.choosing import NEVER, ValidateAt, validation_steps
from tl_run.callbacks.crossing import UnionTables
from tl_run.callbacks.judging import SampleTables
from tl_run.callbacks.plateau import Plateau
from tl_run.callbacks.progress import StageProgress
from tl_run.check_data import prepare
from tl_run.cost import Cost
from tl_run.defaults import told
from tl_run.folder import (
    append_rows,
    finite,
    first_process,
    last_validation,
    rows_of,
    write_json,
    write_whole,
)
from tl_run.frozen import SharedFeatures
from tl_run.journal import FAILED, METRICS, RESULTS, Journal
from tl_run.outcome import Outcome
from tl_run.own import import_own
from tl_run.precision import resolve
from tl_run.report import pictures
from tl_run.report.table import show_results
from tl_run.rules.cells import judged
from tl_run.rules.facts import is_pretrained
from tl_run.saving import CheckpointFiles, MetricsFile
from tl_run.stopping import Stopping
from tl_run.store import WEIGHTS, Store, address
from tl_run.strategy import Watched

SETTLED = "settled.ckpt"  # weights that a finetuning chose after the last stage
OF_TRAINING = ("optimizer_states", "lr_schedulers", "callbacks", "loops")  # what only a resumed stage needs
PLACING = ("num_nodes", "strategy", "sync_batchnorm")  # options of the Trainer that the test has too


class Current(NamedTuple):
    """What belongs to the stage that is being fitted."""

    steps: int
    reached: int
    kept: Checkpoints
    plateau: Plateau | None
    cost: Cost


class Run(Outcome):
    """One run of one cell in one folder.

    Args:
        config: The composed configuration.
        journal: The journal of the run's folder.
        stopping: Tells whether it is asked to stop.
    """

    def __init__(self, config: dict[str, Any], journal: Journal, stopping: Stopping) -> None:
        self.config, self.journal, self.stopping = config, journal, stopping
        self.folder = journal.folder
        self.store = Store(config["store"]["gigabytes"])
        self.began = time.perf_counter()
        self.records: list[dict[str, Any]] = []
        self.found: dict[str, dict[str, Any] | None] = {}  # by stage, the generation to go on from
        self.earlier_seconds = 0.0  # of stages, and parts of one, that were trained before the run was resumed
        self.precision, self.channels_last = resolve(config["precision"], config["trainer"]["accelerator"])
        import_own(config)
        self.data = build_data(config)
        prepare(self.data, self.folder)
        check_kinds(config, self.data)
        self.earlier = lineage.compare(config, self.data)
        self.module = build_module(config, self.data)
        if self.channels_last:
            self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        processes = config["trainer"]["devices"] * (config["trainer"].get("num_nodes") or 1)
        self.steps = config["steps"] or config["epochs"] * self.data.steps_per_pass(processes)

    def run(self) -> float:
        """Do what is not yet done and return the value of `optimized_metric`."""
        if first_process():  # for people: what counts is in the journal
            write_whole(self.folder / "config.yaml", self.journal.content["config"].encode())
        for line in [*judged(self.config), *told(self.config), *remarks(self.config)] if first_process() else ():
            print(line)
        loaded = self.module.parts.report
        if (loaded.loaded or loaded.adapted) and first_process():
            given = self.config["source"] if is_pretrained(self.config) else self.config["backbone"]
            print(f"weights {given.get('weights')}: {loaded}")
        self.plant_source()
        if first_process():
            pictures.samples(self.data, self.folder / "samples.png")
            cut = {role: data.splits() for role, data in self.data.data.items() if hasattr(data, "splits")}
            if cut:
                write_whole(self.folder / "splits.json", json.dumps(cut).encode())
        try:
            fit(self.module, self.data, self.begin, steps=self.steps, resume=self.last, chosen=self.end)
        except pickle.UnpicklingError as error:
            holds = "a checkpoint in it holds more than tensors and plain values, which could run code"
            raise ValueError(f"{self.folder}: {holds}") from error
        records = self.records
        tested = self.test()
        used = tuple(f"test/{role}/" for role in (*self.in_use(), UNION))  # an old skill may be lost in any way
        wrong = {name: value for name, value in tested.items() if name.startswith(used) and not math.isfinite(value)}
        if wrong:
            said = ", ".join(f"{name} is {value}" for name, value in wrong.items())
            raise Diverged(f"diverged in the test: {said}", records[-1]["name"], records[-1]["steps"])
        results = self.results(records, tested)
        value = self.optimized(results)  # before anything is written: of what the run has not it fails
        if first_process():
            with torch.autocast(self.module.device.type, torch.bfloat16, enabled=self.precision == "bf16-mixed"):
                for role in self.tested():  # as the test was run
                    name = "predictions.png" if role == "target" else f"predictions_{role}.png"
                    pictures.predictions(self.module, self.data, role, self.folder / name)
            pictures.curves(self.folder / METRICS, self.folder / "curves.png")
            write_json(self.folder / RESULTS, results)
            show_results(results, self.folder)
            for line in self.undefined(results):
                print(line)
        return value

    def plant_source(self) -> None:
        """Let an earlier run stand in for the source's stage where `source_checkpoint` names one."""
        given = self.config["source_checkpoint"]
        if given is None:
            return
        report = self.module.plant(read_weights(Path(given)))
        print(f"source_checkpoint={given}: {report}")
        self.module.enter(self.module.plan[0].name)
        self.module.plan = self.module.plan[1:]

    def begin(self, stage: Stage, steps: int | None) -> Trainer | None:
        """Return the Trainer of a stage; None where the stage is done already."""
        if self.done(stage) is not None:
            return None
        if self.module.taken.loaded or self.module.taken.adapted:
            print(f"{stage.name}: taken over from the source: {self.module.taken}")
        assert steps is not None
        generation = self.generation(stage)
        if generation is None and self.taken_from_store(stage, steps):
            return None
        reached = 0 if generation is None else int(generation["step"])
        monitor, mode = self.module.monitor
        patience = self.config["trainer"]["patience"]
        plateau = None if patience is None else Plateau(monitor, mode, patience)
        minutes = self.config["checkpoint"]["minutes"]
        kept = Checkpoints(self.journal, stage.name, monitor, mode, self.stopping, minutes)
        self.current = Current(steps, reached, kept, plateau, Cost())
        callbacks = [*([plateau] if plateau else []), kept, self.current.cost]
        return self.trainer(stage.name, steps, monitor, callbacks, reached)

    def taken_from_store(self, stage: Stage, steps: int) -> bool:
        """Take a source stage that was trained before, if there is one; see `store`."""
        if not self.config["store"]["gigabytes"]:
            return False
        key = address(self.config, self.data, self.module, stage, steps)
        found = None if key is None else self.store.take(key)
        if found is None:
            return False
        record = found.record
        weights = torch.load(io.BytesIO(found.files[WEIGHTS]), map_location="cpu", weights_only=True)
        self.module.plant(weights, "source", "source")
        place = self.journal.place(stage.name)
        carried: dict[str, Any] = {"state_dict": self.module.state_dict(), "global_step": record["steps"]}
        self.module.on_save_checkpoint(carried)
        content = io.BytesIO()
        torch.save(carried, content)
        write_whole(place / record["checkpoint"], content.getvalue())
        append_rows(self.folder / METRICS, stage.name, found.files[METRICS])
        digest = digest_of(content.getvalue())
        record = {**record, "from_store": True, "digest": digest}
        self.journal.finish(stage.name, record, {record["checkpoint"]: digest})
        print(f"{stage.name}: was trained before with the same options; its weights and record are taken over")
        return True

    def done(self, stage: Stage) -> dict[str, Any] | None:
        """Return the record of a stage that is over, if its checkpoint is as it was written."""
        record: dict[str, Any] | None = self.journal.stage(stage.name)["done"]
        if record is None:
            return None
        wrong = damage(self.journal.place(stage.name) / record["checkpoint"], record.get("digest"))
        if wrong is None:
            return record
        names = [one.name for one in self.module.plan]
        again = names[names.index(stage.name) :]  # what comes after it began from it
        self.say_lost(wrong, f"stage {' and '.join(again)} {'is' if len(again) == 1 else 'are'} trained again")
        for name in again:
            self.journal.stage(name).update(done=None, checkpoints=[])
        return None

    def generation(self, stage: Stage) -> dict[str, Any] | None:
        """Return the newest generation of a stage that is whole, and say what became of others."""
        if stage.name not in self.found:
            whole, wrong = self.journal.newest(stage.name)
            for one in wrong:
                instead = f"goes on from step {whole['step']}" if whole else "begins anew"
                self.say_lost(one, f"stage {stage.name} {instead}")
            if whole and first_process():
                print(f"{stage.name}: goes on from step {whole['step']}")
            self.found[stage.name] = whole
        return self.found[stage.name]

    def say_lost(self, wrong: str, then: str) -> None:
        """Say that a file of the folder cannot be used, and what is done."""
        if first_process():
            print(f"{wrong}: {then}", file=sys.stderr)

    def last(self, stage: Stage) -> Path | None:
        """Return the checkpoint to go on from in a stage that was begun before, if any."""
        generation = self.generation(stage)
        return None if generation is None else self.journal.place(stage.name) / generation["file"]

    def end(self, stage: Stage, trainer: Trainer | None) -> Path:
        """Keep a stage's record and return the checkpoint that it chose."""
        if trainer is None:
            record = self.journal.stage(stage.name)["done"]
            for file, digest in self.journal.stage(stage.name).get("files", {}).items():
                if file != record["checkpoint"] and (wrong := damage(self.journal.place(stage.name) / file, digest)):
                    self.say_lost(wrong, f"{record['checkpoint']}, which counts, is whole")
            self.earlier_seconds += record["seconds"]
        else:
            self.earlier_seconds += self.current.cost.before
            record = self.record(stage, trainer)
            if stage == self.module.plan[-1] and stage.tuned and self.module.finetuning.settles:
                record |= self.settle(stage, trainer, record)
            if first_process():
                self.keep(stage, record)
            trainer.strategy.barrier()
        self.records.append({key: value for key, value in record.items() if key != "digest"})
        if trainer is None and stage == self.module.plan[-1]:
            self.check_metrics()
        return self.journal.place(stage.name) / str(record["checkpoint"])

    def settle(self, stage: Stage, trainer: Trainer, record: Mapping[str, Any]) -> dict[str, Any]:
        """Let the finetuning choose what the last stage leaves, and return what that changes of the stage's record."""
        best = self.current.kept.best if record["checkpoint"] == "best.ckpt" else None
        place = self.journal.place(stage.name)
        if first_process():  # which alone keeps the journal
            newest = self.journal.stage(stage.name)["checkpoints"][-1]["file"]
            file = newest if best is None else self.current.kept.files[best["step"]]
        path = place / trainer.strategy.broadcast(file if first_process() else "")
        self.module.leave()
        load_weights(self.module, path)
        settle(self.module, self.validated)
        found = self.module.settled
        carried = torch.load(path, map_location="cpu", weights_only=True) | {"state_dict": self.module.state_dict()}
        content = io.BytesIO()
        torch.save({key: value for key, value in carried.items() if key not in OF_TRAINING}, content)
        if first_process():
            write_whole(place / SETTLED, content.getvalue())
            print(f"{stage.name}: {self.module.finetuning.name} chose {found['chosen']:g} of {self.module.monitor[0]}")
        score = dict(zip(found["coefficients"], found["target"], strict=True))[found["chosen"]]
        return {
            "checkpoint": SETTLED,
            "digest": digest_of(content.getvalue()),
            "score": score,
            "loss": None,
            "settled": found,
        }

    def validated(self) -> dict[str, float]:
        """Return the scores of the module as it is on the validation sets of both roles."""
        trainer = Trainer(logger=False, enable_checkpointing=False, **self.machine())
        metrics = trainer.validate(self.module, self.data.whole("val", list(self.module.tasks)), verbose=False)
        return {key: value for part in metrics for key, value in part.items()}

    def keep(self, stage: Stage, record: dict[str, Any]) -> None:
        """Name the checkpoint that a stage chose, and its last one, and note that the stage is over."""
        newest = self.journal.stage(stage.name)["checkpoints"][-1]
        best = self.current.kept.best
        self.journal.keep_as(stage.name, newest["file"], "last.ckpt")
        if best is not None:
            self.journal.keep_as(stage.name, self.current.kept.files[best["step"]], "best.ckpt")
        files = {"last.ckpt": newest["files"][newest["file"]]}
        if best is not None:
            files["best.ckpt"] = newest["files"][self.current.kept.files[best["step"]]]
        record.setdefault("digest", files.get(record["checkpoint"]))
        files[record["checkpoint"]] = record["digest"]
        self.journal.finish(stage.name, record, files)
        if self.store.lock is not None:
            weights = (self.journal.place(stage.name) / record["checkpoint"]).read_bytes()
            self.store.put({WEIGHTS: weights, METRICS: rows_of(self.folder / METRICS, stage.name)}, record)

    def record(self, stage: Stage, trainer: Trainer) -> dict[str, Any]:
        """Return what is to be known of a stage that has just been fitted.

        Raises:
            Diverged: If what it is chosen by is not a finite number.
        """
        now, monitor = self.current, self.module.monitor
        won = now.kept.best if self.config["selection"]["rule"] == "best" else None
        known = last_validation(self.folder / METRICS, stage.name)
        score = known.get(monitor[0]) if won is None else float(won["score"])
        loss = known.get(now.kept.loss) if won is None else float(won["loss"])
        if score is not None and not math.isfinite(score):
            raise Diverged(f"diverged in stage {stage.name}: {monitor[0]} is {score}", stage.name, trainer.global_step)
        trainable = sum(p.numel() for p in self.module.parameters() if p.requires_grad)
        return {
            "name": stage.name,
            "steps": trainer.global_step,
            "most_steps": now.steps,
            "ended": self.ended(trainer),
            **now.cost.record(trainer, self.module.stage.roles),
            "resumed_at": now.reached,
            "trainable_parameters": trainable,
            "monitor": monitor[0],
            "selection": "last" if won is None else " ".join(monitor),
            "score": finite(score),
            "loss": finite(loss),
            "stopped": self.module.health.told(),
            "from_store": False,
            "checkpoint": "last.ckpt" if won is None else "best.ckpt",
        }

    def ended(self, trainer: Trainer) -> str:
        """Return what ended the stage that has just been fitted."""
        now = self.current
        if trainer.global_step >= now.steps or (now.plateau is not None and now.plateau.says() != "all steps"):
            return now.plateau.says() if now.plateau else "all steps"
        by = [type(one).__name__ for one in trainer.callbacks if getattr(one, "stopped_epoch", 0)]  # type: ignore[attr-defined]
        return f"stopped by {', '.join(by)}" if by else "stopped by the Trainer"

    def trainer(self, name: str, steps: int, monitor: str, callbacks: list[Any], reached: int = 0) -> Trainer:
        """Return a fresh Trainer for one stage."""
        options = self.config["trainer"]
        earlier = [record["name"] for record in self.records]
        loggers: list[Logger] = [MetricsFile(self.folder / METRICS, name, reached, earlier)]
        self.check_metrics(self.found.get(name))
        loggers += loggers_for(self.config, self.folder, name)
        shown: list[Callback] = [StageProgress(name, monitor, steps, self.passes)] if options["progress"] else []
        if self.config["datamodule"]["cache"]:
            shared = SharedFeatures(self.config, self.channels_last) if self.config["store"]["gigabytes"] else None
            shown.insert(0, CachedFeatures(steps, shared=shared))
        due = validation_steps(steps, options["validations"])
        shown.insert(0, ValidateAt(due, options["accumulate"]))
        own = {
            "max_steps": steps,
            "val_check_interval": NEVER,
            "check_val_every_n_epoch": None,
            "accumulate_grad_batches": options["accumulate"],
            "log_every_n_steps": max(1, min(50, steps // 20)),
            "logger": loggers,
            "callbacks": [*callbacks, *callbacks_of(self.config, self.module.monitor), *shown],
        }
        return Trainer(**{**own, **self.machine(), **{key: options[key] for key in further(options)}})

    def check_metrics(self, generation: Mapping[str, Any] | None = None) -> None:
        """Say so where rows of `metrics.csv` are not those that were written up to a checkpoint.

        Args:
            generation: The one that is gone on from; None for the end of the stage before.
        """
        before = self.journal.stage(self.records[-1]["name"]) if self.records else {}
        expected = (before if generation is None else generation).get("metrics")
        if first_process() and expected not in (None, self.journal.metrics()):
            self.say_lost(f"{self.folder / METRICS}: differs from what was written", "earlier rows are lost")

    def passes(self) -> float:
        """Return how often the training set that the stage is watched by was passed through in it."""
        role = self.module.monitor[0].split("/")[1]
        return self.current.cost.samples.get(role, 0) / max(1, len(self.data.split(role, "train")))

    def machine(self) -> dict[str, Any]:
        """Return the Trainer's options on where and how it runs."""
        options = self.config["trainer"]
        one_role_a_step = self.config["datamodule"]["mode"] in ("proportional", "temperature")
        one_role_a_step = one_role_a_step or any(stage.replay for stage in self.module.plan)
        # A trunk's layers behind its last map get no gradient from a head that reads maps, a pyramid in it none from a
        # head that reads none, and an encoder none from a batch without its input.
        reads_maps = any(self.module.head(role).needs_maps for role in self.module.tasks)
        reads_maps = reads_maps or any(getattr(trunk, "heads", None) for trunk in self.module.parts.trunk.values())
        unused = one_role_a_step or reads_maps or any(inputs_of(stem) for stem in self.module.parts.stem.values())
        unused = unused or any(True for _ in self.module.objective.parameters())  # of a role without a loss in a step
        placed = {key: options[key] for key in PLACING if key in options}
        several = options["devices"] * placed.get("num_nodes", 1) > 1
        return {
            "accelerator": options["accelerator"],
            "devices": options["devices"],
            "strategy": Watched(unused, self.lost) if several else "auto",
            **placed,
            "precision": self.precision,
            "use_distributed_sampler": False,
            "num_sanity_val_steps": 0,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": self.folder,
            "plugins": [CheckpointFiles()],
        }

    def lost(self, line: str) -> None:
        """Note that the run ends because a process of it is lost."""
        self.journal.write(status=FAILED, holder=None)
        write_json(self.folder / "error.json", {"schema": 1, "error": line, "type": "ConnectionError"})

    def test(self) -> dict[str, float]:
        """Test once."""
        tables = [SampleTables(self.folder), UnionTables(self.folder)]
        trainer = Trainer(logger=False, callbacks=tables, **self.machine())
        self.device, self.processes = trainer.strategy.root_device, trainer.world_size
        loaders = self.data.whole("test", self.tested())
        metrics = trainer.test(self.module, loaders, verbose=False)
        return {key: value for part in metrics for key, value in part.items()}
