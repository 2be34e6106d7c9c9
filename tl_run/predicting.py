"""Predictions of a trained run on files: as a table, as JSON, and drawn."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.utils import get_class
from PIL import Image
from rich.progress import track
from torch import Tensor

from datamodules.collate import collate
from datamodules.readers.folders import PICTURES
from datamodules.readers.resize import BITS, MOST_BITS, fitted
from tl_modules.cube import BY_NAME, SCRATCH_PATH
from tl_modules.forward import inputs_of
from tl_modules.heads import Placement, head_of
from tl_modules.module import TransferModule
from tl_modules.task import Task
from tl_modules.weights.runs import chosen_checkpoint
from tl_run.folder import write_whole
from tl_run.own import import_own, own_paths
from tl_run.report import pictures
from tl_run.resuming import recorded
from tl_run.runner import quiet

UNREADABLE = "unreadable.csv"


class Unread(NamedTuple):
    """An input that cannot be read: its name, and why."""

    name: str
    error: str


class Sample(NamedTuple):
    """An input: its name, what the module reads, and for pictures the file and how it was fitted."""

    name: str
    inputs: dict[str, Any]
    path: Path | None = None
    placed: Placement = Placement()
    place: str = ""  # of the file among the inputs, as a file's name


def predict(
    run: Path, input: list[Path], out: Path, role: str, cell: str | None, trust: bool, draw: int, batch: int
) -> None:
    """Write `predictions.csv`, `predictions.json` and the drawn pictures, and of what cannot be read `unreadable.csv`.

    Boxes and masks are given in the pixels of the pictures as they are shown (their EXIF orientation applied).

    Args:
        run: Folder of a finished run.
        input: Pictures, or one text file. A run that reads documents takes either, and a picture's text from a file of
            the same name with the ending `.txt`.
        out: Folder to write to.
        role: `target` or `source`; of two merged datasets also `union`.
        cell: For a cell of one's own, its class.
        trust: Whether what else the run names of one's own is imported.
        draw: How many pictures are drawn.
        batch: Inputs at a time.

    Raises:
        ValueError: If none of the inputs can be read, or the run takes other inputs.
    """
    quiet()
    module = load(run, cell, trust)
    task, head = module.task_of(role), module.head(role)
    through = module.through(role)
    results = json.loads((run / "results.json").read_text())
    shape = results[through].get("image")
    texts = input[0].suffix.lower() not in PICTURES
    documents = "text" in inputs_of(module.parts.of(through, "stem"))
    if texts != (shape is None) and not (texts and documents):
        wants = "pictures" if shape else "a text file, one text a line"
        raise ValueError(f"input={input[0]}: this run takes {wants}")
    bits = bits_of(run, through)
    samples = read_texts(input[0]) if texts else read_pictures(input, shape, task, documents, bits)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    module.to(device)
    rows: list[dict[str, Any]] = []
    unread: list[Unread] = []
    out.mkdir(parents=True, exist_ok=True)
    number = len(input) if not texts else None
    with torch.inference_mode():
        for part in batches(readable(track(samples, "predicting", total=number, transient=True), unread), batch):
            batch_of = collate([{"id": sample.name, **sample.inputs} for sample in part])
            given = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch_of.items()}
            found = head.predict(module.outputs(module.features(given, role), role))
            several = (part, head.named(found, task.labels), head.drawn(found, task.labels))
            for sample, named, shown in zip(*several, strict=True):
                drawn = len(rows) < draw
                rows.append({"input": sample.name, **finish(sample, named, shown, task, out, drawn, bits)})
    (out / UNREADABLE).unlink(missing_ok=True)
    if unread:
        write_whole(out / UNREADABLE, as_csv([Unread._fields, *unread]).encode())
    if not rows:
        raise ValueError(
            f"input={Path(os.path.commonpath(input))}: none of {len(unread)} can be read; the first: {unread[0].error}"
        )
    write_whole(out / "predictions.json", (json.dumps(rows, indent=1) + "\n").encode())
    write_whole(out / "predictions.csv", table(rows, task).encode())
    print(f"{len(rows)} predictions of {task.name} are in {out}")
    if unread:
        print(f"{len(unread)} of {len(rows) + len(unread)} cannot be read, see {out / UNREADABLE}: {unread[0].error}")


def bits_of(run: Path, role: str) -> int:
    """Return how many bits the values of a run's 16-bit pictures had, as its `data_report.json` says."""
    try:
        found = json.loads((run / "data_report.json").read_text(encoding="utf-8"))["roles"][role]["bits"]
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    return found if found in BITS else MOST_BITS


def readable(samples: Iterable[Sample | Unread], unread: list[Unread]) -> Iterator[Sample]:
    """Yield the samples that were read.

    Args:
        samples: All of them.
        unread: Where those are put that were not.
    """
    for sample in samples:
        if isinstance(sample, Unread):
            unread.append(sample)
        else:
            yield sample


def load(run: Path, cell: str | None, trust: bool = False) -> TransferModule:
    """Return a run's module with the weights that its last stage chose.

    Args:
        run: Its folder.
        cell: The class of a cell of one's own; others are found by the cell's name, never by a path in the folder.
        trust: Whether heads, backbones and the like that the folder names by import path are imported.

    Raises:
        ValueError: If the run needs what is not imported without trust, or a class cannot be imported.
    """
    plain = recorded(run, "run=")
    own = sorted({path for _, path in own_paths(plain)})
    if own and not trust:
        raise ValueError(f"run={run}: uses {', '.join(own)}, which is code of one's own; trust=true imports it")
    import_own(plain)
    name = plain["cell"]["name"]
    path = cell or (BY_NAME[name].path if name in BY_NAME else SCRATCH_PATH)
    try:
        made = get_class(path)
    except Exception as error:
        raise ValueError(f"cell={cell}: cannot be imported ({' '.join(str(error).split())})") from error
    if not issubclass(made, TransferModule):
        raise ValueError(f"cell={cell}: must be a TransferModule")
    module = made.load_from_checkpoint(chosen_checkpoint(run), map_location="cpu", weights_only=True)
    return module.eval()


def read_texts(path: Path) -> Iterator[Sample]:
    """Yield the lines of a text file that are not empty."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"input={path}: is neither a picture nor a text file in UTF-8") from error
    found = [Sample(f"{path.name}:{i}", {"text": line}) for i, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise ValueError(f"input={path}: has no text")
    yield from found


def read_pictures(
    paths: Sequence[Path], shape: Sequence[int], task: Task, documents: bool, bits: int = MOST_BITS
) -> Iterator[Sample | Unread]:
    """Yield pictures at the run's size: whole with a border where places count or pages are read, else their middle.

    Args:
        paths: The files.
        shape: Channels, height and width of the run's images.
        task: The task.
        documents: Whether they are pages, whose text stands in a file of the same name with the ending `.txt`, if any.
        bits: Of the values of 16-bit pictures.
    """
    channels, height, width = shape
    common = Path(os.path.commonpath([path.resolve().parent for path in paths]))
    taken: set[str] = set()
    whole = documents or head_of(task.kind).in_place
    for path in paths:
        beside = path.with_suffix(".txt")
        try:
            found = fitted(path, channels, (height, width), whole, bits)
            inputs: dict[str, Any] = {"image": found.image}
            if documents and beside.is_file():
                inputs["text"] = beside.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            yield Unread(str(path), f"{beside}: is no text file in UTF-8")
            continue
        except ValueError as error:
            yield Unread(str(path), str(error))
            continue
        place = path.resolve().relative_to(common.parent)
        name = unlike("_".join([*place.parent.parts, place.stem, place.suffix[1:]]), taken)
        yield Sample(str(path), inputs, path, Placement(found.scale, found.offset, found.size), name)


def unlike(name: str, taken: set[str]) -> str:
    """Return a file's name, with a number where another file has it, whatever the case of its letters.

    Args:
        name: The name.
        taken: The names that are taken in small letters; this one is added.
    """
    numbered = (f"{name}_{number}" for number in count(2))
    free = next(one for one in chain([name], numbered) if one.lower() not in taken)
    taken.add(free.lower())
    return free


def batches(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    """Yield samples in lists."""
    part: list[Sample] = []
    for sample in samples:
        part.append(sample)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


def finish(
    sample: Sample, named: dict[str, Any], found: Any, task: Task, out: Path, drawn: bool, bits: int
) -> dict[str, Any]:
    """Return a sample's prediction in its own picture's pixels; write its mask and draw it."""
    if sample.path is None:
        return named
    shown = head_of(task.kind).on_file(named, found, task.labels, sample.placed)
    if isinstance(named.get("mask"), Tensor):
        (out / "masks").mkdir(exist_ok=True)
        mask, named["mask"] = named["mask"], f"masks/{sample.place}.png"
        Image.fromarray(mask.to(torch.uint8).numpy()).save(out / named["mask"])
    if drawn:
        image = Image.fromarray(fitted(sample.path, 3, None, bits=bits).image.permute(1, 2, 0).numpy())
        pictures.prediction(image, shown, task, out / "drawn" / f"{sample.place}.png")
    return named


def table(rows: Sequence[dict[str, Any]], task: Task) -> str:
    """Return predictions as CSV, in the lines that the task's head makes of them."""
    return as_csv(head_of(task.kind).table(rows, task.labels))


def as_csv(lines: Iterable[Sequence[Any]]) -> str:
    """Return lines of values as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
