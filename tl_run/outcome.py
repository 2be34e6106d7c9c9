"""What `results.json` says of a run, and the value that the run gives back."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch

from datamodules.collate import as_sample
from datamodules.pair import PairedData
from datamodules.readers.published import PublishedData
from tl_modules.cube import BASELINES
from tl_modules.module import TransferModule
from tl_modules.stages import FINETUNINGS
from tl_modules.task import UNION
from tl_run.baselines import backbone_of, baseline_key, weights_in
from tl_run.defaults import as_scratch
from tl_run.folder import finite
from tl_run.journal import COMPLETE, METRICS
from tl_run.machine import described
from tl_run.rules.facts import is_pretrained
from tl_run.unlabelled import chosen_without_labels

MOST_LOOKED_AT = 100


class Outcome:
    """The part of a `Run` that tells what came of it.

    Attributes:
        config: The composed configuration.
        folder: Its folder.
        data: The paired data.
        module: The module, trained.
        precision: Lightning's precision.
        channels_last: Whether images lay channels last.
        steps: Optimiser steps that were planned.
        earlier: What was found of the runs that it starts from; see `lineage.compare`.
        began: When it began, by the performance counter.
        earlier_seconds: What it took before it was resumed.
        device: Where it was tested.
        processes: How many tested it.
    """

    config: dict[str, Any]
    folder: Path
    data: PairedData
    module: TransferModule
    precision: Any
    channels_last: bool
    steps: int
    earlier: dict[str, Any]
    began: float
    earlier_seconds: float
    device: torch.device
    processes: int

    def tested(self) -> list[str]:
        """Return the roles that are tested: the target, and the source where it is in use to the end or shares a trunk.

        A source whose head is out of use is tested by it as it was left: what is kept of the old skill.
        """
        wires, used = self.module.parts.wires, self.in_use()
        return [role for role in wires if role in used or (wires[role][1] == wires["target"][1] and self.kept(role))]

    def in_use(self) -> list[str]:
        """Return the roles whose heads are in use to the end."""
        heads, learn = {role: names[2] for role, names in self.module.parts.wires.items()}, self.module.plan[-1].learn
        return [role for role in heads if role in ("target", *learn) or heads[role] == heads["target"]]

    def kept(self, role: str) -> bool:
        """Tell whether a role's head that is out of use can be tested: it learned in this run, and has test samples."""
        test = self.data.split(role, "test")
        found = (as_sample(test[i], self.data.tasks[role], str(i)) for i in range(min(len(test), MOST_LOOKED_AT)))
        return self.config["source_checkpoint"] is None and any(self.data.tasks[role].key in one for one in found)

    def results(self, records: list[dict[str, Any]], tested: Mapping[str, float]) -> dict[str, Any]:
        """Return what `results.json` holds."""
        config, last = self.config, records[-1]
        name = config["cell"]["name"]
        return {
            "schema": 1,
            "status": COMPLETE,
            "cell": name,
            "seed": config["seed"],
            "mode": config["datamodule"]["mode"],
            "finetuning": config["finetuning"] and config["finetuning"]["name"],
            **self.finetuned(last),
            "objective": config["objective"]["name"],
            "normalisation": config["cell"].get("normalisation"),
            "loss_weights": {role: self.module.weights.get(role, 1.0) for role in self.module.tasks},
            "source_share": {
                "steps": self.module.source_share if records[0]["name"] == "source" else None,
                "batch": self.data.batch_share(),
                **({"replay": config["cell"]["replay"]} if config["cell"].get("replay") else {}),
            },
            "absent": {role: task.absent for role, task in self.module.tasks.items()} if self.module.merged else None,
            "precision": self.precision,
            "source": None if name in BASELINES else self.describe("source"),
            "target": self.describe("target"),
            "overlap": {**(self.data.overlaps or {}), **({"earlier": self.earlier} if self.earlier else {})},
            **self.start(),
            "source_checkpoint": config["source_checkpoint"],
            "steps": sum(record["steps"] for record in records),
            "batch_size": self.data.batch_size,
            "lr": config["cell"]["lr"],
            "baseline_key": self.baseline_key(),
            "selection": last["selection"],
            "without_labels": chosen_without_labels(records, self.folder / METRICS, self.module),
            "val": {last["monitor"].removeprefix("val/"): last["score"]},
            "test": {key.removeprefix("test/"): finite(value) for key, value in tested.items()},
            "stages": [{key: value for key, value in record.items() if key != "settled"} for record in records],
            "parameters": sum(p.numel() for p in self.module.parameters()),
            "flops": sum(record["flops"] for record in records),
            "seconds": round(time.perf_counter() - self.began + self.earlier_seconds, 2),
            "machine": described(self.device, self.processes, self.precision, self.channels_last),
            "versions": {"torch": torch.__version__, "lightning": lightning.__version__},
        }

    def finetuned(self, last: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is to be known of a finetuning beside its name: its options, and what it chose in the end.

        Args:
            last: The last stage's record.
        """
        options = dict(self.config["finetuning"] or {})
        name = options.pop("name", None)
        if name in (None, *FINETUNINGS):
            return {}
        chosen = {name.rpartition(".")[2]: last["settled"]} if "settled" in last else {}
        return {"finetuning_options": options, **chosen}

    def baseline_key(self) -> str:
        """Return by what the run finds its baseline."""
        sizes = {split: len(self.data.split("target", split)) for split in ("train", "val", "test")}
        published = getattr(self.data.data["target"], "fingerprint", None)
        target = {"labels": list(self.data.tasks["target"].labels), "sizes": sizes, "published": published}
        return baseline_key(as_scratch(self.config), self.steps, self.precision, target)

    def start(self) -> dict[str, Any]:
        """Return the target's backbone and the weights it starts from: one name, or one per encoder."""
        path, backbone = backbone_of(self.config)
        weights = weights_in(path, backbone)
        if is_pretrained(self.config):
            weights = {f"{path}.weights": str(self.config["source"]["weights"])}
        one = set(weights) == {f"{path}.weights"}
        name = backbone if isinstance(backbone, str) else backbone["name"]
        return {"backbone": name, "weights": next(iter(weights.values())) if one else weights or None}

    def describe(self, role: str) -> dict[str, Any]:
        """Return what `results.json` says of a role's dataset."""
        if role not in self.data.tasks:  # weights stand for its data
            source = self.config[role]
            return {"dataset": source["name"], **{k: source.get(k) for k in ("task", "domain", "weights")}}
        task = self.data.tasks[role]
        sizes = {f"{split}_size": len(self.data.split(role, split)) for split in ("train", "val", "test")}
        test = self.data.split(role, "test")
        samples = (as_sample(test[i], task, str(i)) for i in range(min(len(test), MOST_LOOKED_AT)))
        image = next((list(sample["image"].shape) for sample in samples if "image" in sample), None)
        named = {
            "dataset": self.config[role]["name"],
            "task": task.name,
            "domain": task.domain,
            "labels": list(task.labels),
        }
        learned = any(role in stage.learn for stage in self.module.plan)
        earlier = role == "source" and self.config["source_checkpoint"] is not None
        if earlier and not learned:  # the earlier run did
            return {**named, "checkpoint": self.config["source_checkpoint"], "image": image}
        labelled = self.data.labelled(role)
        if not any(role in stage.learn for stage in self.module.plan):
            labelled = dict.fromkeys(labelled, 0)  # its targets are read by the test alone
        data = self.data.data[role]
        cutting = data.cutting() if isinstance(data, PublishedData) else {}
        return {**named, **sizes, **cutting, "labelled": labelled, "image": image}

    def optimized(self, results: Mapping[str, Any]) -> float:
        """Return the value of `optimized_metric`, by default the target's selection metric on validation.

        It is NaN, which sweepers take for no result, where the metric is undefined on the run's samples.

        Raises:
            ValueError: If the run has no such metric.
        """
        values = {f"{split}/{key}": value for split in ("val", "test") for key, value in results[split].items()}
        wanted = self.wanted(results)
        if wanted not in values and wanted not in self.reported():
            raise ValueError(f"optimized_metric={wanted!r} is not measured by this run; it has {', '.join(values)}")
        value = values.get(wanted)
        return math.nan if value is None else float(value)

    def wanted(self, results: Mapping[str, Any]) -> str:
        """Return the name of the metric that the run gives back."""
        return str(self.config["optimized_metric"] or results["stages"][-1]["monitor"])

    def reported(self) -> set[str]:
        """Return the metrics of the test that the heads report where they are defined."""
        ways = ("", *(f"{name}_alone/" for name in self.module.alone_scores))
        known = {role: self.module.head(role).reported(self.module.tasks[role].labels) for role in self.tested()}
        own = {f"test/{role}/{way}{metric}" for role, metrics in known.items() for way in ways for metric in metrics}
        union = self.module.head("target").reported(self.module.task_of(self.module.usual).labels)
        return own | ({f"test/{UNION}/{metric}" for metric in union} if self.module.merged else set())

    def undefined(self, results: Mapping[str, Any]) -> list[str]:
        """Return a line for each metric that was to choose or to be given back, and is undefined on its samples."""
        lines = []
        for stage in results["stages"]:
            if stage["score"] is None:
                when = "never" if self.config["selection"]["rule"] == "best" else "not at the last validation"
                lines.append(f"{stage['monitor']} was {when} defined on the validation set: the last checkpoint counts")
        wanted = self.wanted(results)
        if wanted.startswith("test/") and math.isnan(self.optimized(results)):
            lines.append(f"{wanted} is not defined on the test set: nothing is given back for optimized_metric")
        return lines
