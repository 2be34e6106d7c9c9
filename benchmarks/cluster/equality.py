"""Train each cell with two processes and with one on the same global batch, and say how far apart the weights are.

`python -m benchmarks.cluster.equality [--cells multitask scratch] [--steps 4]` trains on embedded scenes, with a
backbone whose output for a sample depends on no other sample, without augmentation; some two minutes on two cores. It
ends with status 1 where a cell's weights are further apart than arithmetic explains.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from lightning.pytorch import Trainer

import benchmarks.cluster.plain  # noqa: F401  (backbones are looked up among what is imported)
from benchmarks.cluster.runs import CELLS, CLOSE, ROOT, apart, environment
from datamodules.pair import CombinedData, MergedData, PairedData, SequentialData
from datamodules.synthetic.scenes import Scenes
from tl_modules.cells.dataset_merging import DatasetMerging
from tl_modules.cells.domain_adaptation import DomainAdaptation
from tl_modules.cells.modality_transfer import ModalityTransfer
from tl_modules.cells.multitask import MultiTask
from tl_modules.cells.parallel_training import ParallelTraining
from tl_modules.cells.task_adaptation import TaskAdaptation
from tl_modules.cells.task_finetuning import TaskFineTuning
from tl_modules.cells.weight_sharing import WeightSharing
from tl_modules.cube import BY_NAME
from tl_modules.module import TransferModule
from tl_modules.staged import fit
from tl_run.runner import quiet

CLASSES = {
    "task_finetuning": TaskFineTuning,
    "domain_adaptation": DomainAdaptation,
    "task_adaptation": TaskAdaptation,
    "modality_transfer": ModalityTransfer,
    "dataset_merging": DatasetMerging,
    "weight_sharing": WeightSharing,
    "multitask": MultiTask,
    "parallel_training": ParallelTraining,
    "scratch": TransferModule,
}
GLOBAL_BATCH = 8


def data_for(cell: str, batch_size: int) -> PairedData:
    """Return scenes whose relation fits a cell: classes, and segments where the tasks differ."""
    target = Scenes("textured", "classify", "target", image_size=32, train_size=24, val_size=12)
    if cell == "scratch":
        return SequentialData(target, batch_size=batch_size)
    known = BY_NAME[cell]
    ground, kind = ("textured" if known.same_domain else "plain"), ("classify" if known.same_task else "segment")
    source = Scenes(ground, kind, "source", image_size=32, train_size=40, val_size=12)
    make = SequentialData if known.sequential else MergedData if cell == "dataset_merging" else CombinedData
    return make(target, source, batch_size=batch_size)


def trained(cell: str, processes: int, steps: int) -> dict[str, torch.Tensor]:
    """Return a cell's weights after so many steps of each stage."""
    data = data_for(cell, GLOBAL_BATCH // processes)
    data.setup()
    tasks = {role: task.to_dict() for role, task in data.tasks.items()}
    module = CLASSES[cell](**tasks, backbone="benchmarks.cluster.plain.plain")
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "limit_val_batches": 0}
    options |= {"enable_model_summary": False, "accelerator": "cpu", "use_distributed_sampler": False}
    options |= {"devices": processes, "strategy": "auto" if processes == 1 else "ddp_find_unused_parameters_true"}
    fit(module, data, lambda stage, _: Trainer(max_steps=steps, **options))
    return dict(module.state_dict())


def weights_of(cells: list[str], processes: int, steps: int) -> dict[str, dict[str, torch.Tensor]]:
    """Return the weights of some cells, trained in processes of their own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.pt"
        said = [sys.executable, "-m", "benchmarks.cluster.equality", "--cells", *cells, "--steps", str(steps)]
        said += ["--processes", str(processes), "--into", str(file)]
        done = subprocess.run(said, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=600)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        return torch.load(file, weights_only=True)


def main() -> None:
    """Read the command line, train and print a line per cell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="*", default=list(CELLS), choices=CELLS, help="which cells")
    parser.add_argument("--steps", type=int, default=4, help="steps of each stage")
    parser.add_argument("--processes", type=int, help=argparse.SUPPRESS)  # what the processes below are told
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.into is not None:
        quiet()
        found = {cell: trained(cell, given.processes, given.steps) for cell in given.cells}
        if int(environment().get("LOCAL_RANK", 0)) == 0:
            torch.save(found, given.into)
        return
    one, two = (weights_of(given.cells, processes, given.steps) for processes in (1, 2))
    far = {cell: apart(one[cell], two[cell]) for cell in given.cells}
    print("| cell | distance of the weights, as a fraction of their norm |\n|---|---|")
    for cell, value in far.items():
        print(f"| `{cell}` | {value:.1e} |")
    sys.exit(max(far.values()) >= CLOSE)


if __name__ == "__main__":
    main()
