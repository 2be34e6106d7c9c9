"""Runs of several processes: they train what one would, and end together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing

from benchmarks.cluster import equality, processes
from benchmarks.cluster.runs import CLOSE, apart
from tl_modules.features import Features
from tl_modules.heads import HEADS, Head
from tl_modules.processes import anywhere, mean, together, total
from tl_modules.selection import Unlabelled

CELLS = ["task_adaptation", "dataset_merging", "multitask"]
PARTS = (1, 4)  # samples of the two processes
SIZE = 16


def made(kind: str) -> tuple[Head, Features, dict]:
    torch.manual_seed(0)
    count = sum(PARTS)
    head = HEADS[kind](8, [8, 8, 8], [2, 4, 8], [] if kind == "regression" else ["a", "b", "c"])
    maps = {stride: torch.randn(count, 8, SIZE // stride, SIZE // stride) for stride in (2, 4, 8)}
    boxes = [torch.tensor([[2.0, 3.0, 9.0, 12.0], [1.0, 1.0, 5.0, 6.0]])[: i % 3] for i in range(count)]
    targets = {
        "classification": {"label": torch.randint(3, (count,))},
        "multilabel": {"labels": torch.randint(2, (count, 3)).float()},
        "regression": {"value": torch.randn(count)},
        "segmentation": {"mask": torch.randint(3, (count, SIZE, SIZE))},
        "detection": {"boxes": boxes, "box_labels": [torch.arange(len(one)) for one in boxes]},
    }
    return head, Features(torch.randn(count, 8), maps, (SIZE, SIZE)), targets[kind]


def gradients(head: Head) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in head.parameters()])


def part_of_a_loss(rank: int, address: str, folder: str, empty: bool) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    found = {}
    for kind in HEADS:
        head, features, targets = made(kind)
        rows = torch.arange(sum(PARTS)).split(PARTS)[rank]
        if empty and rank == 0:
            mine, rows = head.no_targets(head.key, head.labels, features.size), rows[:0]
        else:
            mine = {k: v[rows] if torch.is_tensor(v) else [v[i] for i in rows] for k, v in targets.items()}
        with together():
            loss = head.loss(head(features.take(rows)), mine)
        loss.backward()
        grad = gradients(head)
        dist.all_reduce(grad)
        found[kind] = (loss.detach(), grad / 2)  # as the strategies average it
    with together():
        assert anywhere(rank == 1, torch.device("cpu")) and not anywhere(False, torch.device("cpu"))
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("empty", [False, True])
def test_a_loss_and_its_gradient_are_those_of_the_whole_batch(empty: bool, tmp_path: Path):
    arguments = (f"file://{tmp_path}/meet", str(tmp_path), empty)
    multiprocessing.spawn(part_of_a_loss, arguments, nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    for kind in HEADS:
        head, features, targets = made(kind)
        rows = torch.arange(PARTS[0] if empty else 0, sum(PARTS))
        targets = {k: v[rows] if torch.is_tensor(v) else [v[i] for i in rows] for k, v in targets.items()}
        loss = head.loss(head(features.take(rows)), targets)
        loss.backward()
        for value, grad in (one[kind] for one in found):
            torch.testing.assert_close(value, loss.detach(), rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(grad, gradients(head), rtol=1e-4, atol=1e-6)


def seen(rows: slice) -> Unlabelled:
    noise = torch.Generator().manual_seed(0)
    found = Unlabelled()
    for role in ("source", "target"):
        features, predicted = torch.randn(40, 3, generator=noise), torch.rand(40, 4, generator=noise).softmax(1)
        labels = torch.randint(4, (40,), generator=noise)
        found.add(role, features[rows], predicted[rows], labels[rows] if role == "source" else None)
    return found


def part_of_scores(rank: int, address: str, folder: str) -> None:
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    torch.save(seen(slice(rank, None, 2)).scores(together=True), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_rules_without_labels_look_at_the_samples_of_all_processes(tmp_path: Path):
    multiprocessing.spawn(part_of_scores, (f"file://{tmp_path}/meet", str(tmp_path)), nprocs=2)
    wanted = seen(slice(None)).scores()
    assert len(wanted) == 3 and wanted != seen(slice(0, None, 2)).scores()
    for rank in (0, 1):
        assert torch.load(tmp_path / f"{rank}.pt") == wanted


def test_one_process_sums_by_itself():
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    with together():
        assert total(values) is values and anywhere(False, values.device) is False
        assert mean(values.sum(), 2).item() == 1.5 and mean(values.sum() * 0, 0).item() == 0


@pytest.mark.proof
def test_two_processes_train_what_one_does():
    one, two = (equality.weights_of(CELLS, processes, steps=3) for processes in (1, 2))
    far = {cell: apart(one[cell], two[cell]) for cell in CELLS}
    assert max(far.values()) < CLOSE, far


def test_a_killed_process_ends_the_run_with_one_line(tmp_path: Path):
    status, said, _ = processes.killed(tmp_path)
    assert status == 1 and said == ["process 1 of 2 was killed by SIGKILL; the run cannot go on without it"]
    assert '"failed"' in (tmp_path / "killed" / "journal.json").read_text()
    assert "SIGKILL" in (tmp_path / "killed" / "error.json").read_text()


@pytest.mark.proof
def test_a_run_of_two_processes_that_was_killed_goes_on_to_the_same_weights(tmp_path: Path):
    assert processes.resumed("multitask", tmp_path)
