"""A run's pictures: the datasets with their targets, predictions beside the truth, and the curves."""

from __future__ import annotations

import sys
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.text import Text
from PIL import Image
from torch import Tensor

from datamodules.pair import PairedData, fetch
from tl_modules.heads import Head, head_of
from tl_modules.heads.drawing import NOTHING
from tl_modules.module import TransferModule
from tl_modules.precision import full_precision
from tl_modules.task import Task
from tl_run.folder import read_metrics
from tl_run.report.charts import fill_matrix
from tl_run.report.crossing import Crossed
from tl_run.report.judged import Told

COLUMNS = 8
MOST_LISTED = 21  # names in a legend
# Fonts with letters of many scripts, one of which most systems have.
WIDER = (
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans", "WenQuanYi Zen Hei", "IPAexGothic", "Hiragino Sans",
    "PingFang SC", "Apple SD Gothic Neo", "Yu Gothic", "Microsoft YaHei", "Malgun Gothic", "Arial Unicode MS",
    "Noto Sans Arabic", "Noto Sans Devanagari", "Noto Sans Thai", "Nirmala UI", "Tahoma",
)  # fmt: skip


def samples(data: PairedData, path: Path) -> None:
    """Draw training samples of each role, from first to last, with their targets.

    Args:
        data: The run's data, set up.
        path: The PNG.
    """
    figure, axes = _grid(len(data.tasks))
    for row, (role, task) in enumerate(data.tasks.items()):
        dataset = data.split(role, "train")
        batch = fetch(dataset, _spread(COLUMNS, len(dataset)), task)
        truths = _truths(batch, task)
        for column, axis in enumerate(axes[row]):
            if column < len(truths):
                _sample(axis, batch, column)
                _draw(axis, truths[column], task)
        _name(axes[row], f"{role}\n{task.name}\n{task.domain}")
        _legend(figure, axes[row], task)
    _save(figure, path)


@torch.no_grad()
def predictions(module: TransferModule, data: PairedData, role: str, path: Path) -> None:
    """Draw test samples of a role, from first to last: the truth above, what the module predicts below.

    Args:
        module: The trained module.
        data: The run's data.
        role: Whose samples.
        path: The PNG.
    """
    task, dataset = data.tasks[role], data.split(role, "test")
    batch = fetch(dataset, _spread(2 * COLUMNS, len(dataset)), task)
    module.eval()
    head = module.head(role)
    on_device = {k: v.to(module.device) if isinstance(v, Tensor) else v for k, v in batch.items()}
    outputs = module.outputs(module.features(on_device, role), role)
    with full_precision(module.device):
        found = head.predict(outputs)
    made = head.drawn(found, task.labels)
    truths = _truths(batch, task)
    figure, axes = _grid(4)
    for index in range(min(2 * COLUMNS, len(truths))):
        row, column = 2 * (index // COLUMNS), index % COLUMNS
        for offset, target in ((0, truths[index]), (1, made[index])):
            axis = axes[row + offset][column]
            _sample(axis, batch, index)
            _draw(axis, target, task, compare=truths[index] if offset else None)
    for row, line in enumerate(axes):
        _name(line, ("truth", "prediction")[row % 2])
    _legend(figure, axes[0], task)
    _save(figure, path)


def told(data: PairedData, samples: Sequence[Told], names: tuple[str, str], path: Path) -> None:
    """Draw test samples of the target with what is true and what two arms predict.

    Args:
        data: The run's data, set up.
        samples: The samples.
        names: The names of both arms.
        path: The PNG.

    Raises:
        ValueError: If the test set is no longer the one that was tested on.
    """
    task, dataset = data.tasks["target"], data.split("target", "test")
    batch = fetch(dataset, [sample.place for sample in samples], task)
    if list(batch["id"]) != [sample.id for sample in samples]:
        raise ValueError("the test set is not the one that was tested on")
    truths = _truths(batch, task)
    rows = -(-len(samples) // COLUMNS)
    figure, axes = _grid(rows, 2.5)
    for index, sample in enumerate(samples):
        axis = axes[index // COLUMNS][index % COLUMNS]
        _sample(axis, batch, index)
        if sample.truth:
            lines = [f"{name}: {said}" for name, said in zip(("true", *names), sample.lines(), strict=True)]
            shown = "\n".join("\n".join(textwrap.wrap(line, 24)[:2]) for line in lines)
            axis.set_title(shown, fontsize=8, parse_math=False)
        else:
            _draw(axis, truths[index], task)
            better = names[0] if sample.gap > 0 else names[1]
            axis.set_title(f"{better}\nbetter by {abs(sample.gap):.2f}", fontsize=8, parse_math=False)
    _save(figure, path)


def prediction(image: Image.Image, found: Any, task: Task, path: Path) -> None:
    """Draw a prediction on its picture.

    Args:
        image: The picture.
        found: The prediction as its head draws it (`Head.on_file`).
        task: The task.
        path: The PNG.
    """
    figure = Figure(figsize=(5, 5 * image.height / image.width + 0.4), layout="constrained")
    axis = figure.subplots()
    axis.set_axis_off()
    axis.imshow(image, interpolation="nearest" if image.width < 200 else "antialiased")
    (Head if isinstance(found, Mapping) else head_of(task.kind)).draw(axis, found, task.labels)
    _legend(figure, [axis], task)
    _save(figure, path)


def curves(metrics: Path, path: Path) -> None:
    """Draw the losses and the validation metrics of all stages over the optimiser steps.

    Args:
        metrics: The run's `metrics.csv`.
        path: The PNG.
    """
    rows = read_metrics(metrics)
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    series: dict[tuple[str, str], dict[str, list[tuple[int, float]]]] = {}
    for row in rows:
        split, rest = row["metric"].split("/", 1)
        panel = "loss" if rest.endswith("loss") else rest.split("/")[-1]
        own = series.setdefault((panel, row["stage"]), {})
        own.setdefault(f"{split} {rest.split('/')[0]}", []).append((int(row["step"]) + 1, float(row["value"])))
    panels = list(dict.fromkeys(panel for panel, _ in series)) or ["loss"]
    figure = Figure(figsize=(3.4 * len(panels), 2.6 * max(1, len(stages))), layout="constrained")
    axes = figure.subplots(max(1, len(stages)), len(panels), squeeze=False)
    for row_index, stage in enumerate(stages):
        for column, panel in enumerate(panels):
            axis = axes[row_index][column]
            if (panel, stage) not in series:
                axis.set_axis_off()
                continue
            for name, points in series[panel, stage].items():
                axis.plot(*zip(*points, strict=True), marker="." if len(points) < 15 else None, label=name)
            axis.set_title(f"{stage}: {panel}", fontsize=9)
            axis.set_xlabel("optimiser steps", fontsize=8)
            axis.tick_params(labelsize=7)
            axis.grid(alpha=0.3)
            axis.legend(fontsize=7)
    _save(figure, path)


def crossed(tables: Mapping[str, Crossed], path: Path) -> None:
    """Draw which names are predicted on the samples of two merged datasets, in percent of each true name.

    Args:
        tables: The confusions by role.
        path: The PNG.
    """
    figure = Figure(figsize=(4.6 * len(tables), 4.3), layout="constrained")
    for axis, (role, one) in zip(figure.subplots(1, len(tables), squeeze=False)[0], tables.items(), strict=True):
        fill_matrix(axis, one.true, one.found, one.shares(), f"samples of the {role}, percent")
    _save(figure, path)


def _spread(count: int, length: int) -> list[int]:
    """Return evenly spaced positions: files are often sorted by class."""
    count = min(count, length)
    return [i * (length - 1) // max(1, count - 1) for i in range(count)]


def _grid(rows: int, height: float = 1.75) -> tuple[Figure, Any]:
    figure = Figure(figsize=(1.45 * COLUMNS + 1.6, height * rows), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_frame_on(False)
    return figure, axes


@cache
def families() -> list[str]:
    """Return the fonts that texts are drawn with: the usual one, and for letters that it lacks what is installed."""
    installed = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in WIDER if name in installed)]


@cache
def _say_boxes() -> None:
    """Say once that some letters are not to be seen."""
    print(
        "no font here has some of the letters; pictures show boxes for them (Noto Sans CJK has most)", file=sys.stderr
    )


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    for text in figure.findobj(Text):
        text.set_fontfamily(families())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        FigureCanvasAgg(figure).print_png(str(temporary))
    for one in caught:
        if "missing from font" in str(one.message):
            _say_boxes()
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    temporary.replace(path)


def _name(axes: Sequence[Axes], text: str) -> None:
    axes[0].set_ylabel(text, fontsize=8, rotation=0, ha="right", va="center")


def _sample(axis: Axes, batch: Mapping[str, Any], index: int) -> None:
    """Draw a sample's input: its picture with the first words of its text below, or its text."""
    image, text = _of(batch, "image", index), _of(batch, "text", index)
    if image is not None:
        array = image.permute(1, 2, 0).numpy()
        axis.imshow(array if array.shape[2] != 1 else array[..., 0], cmap="gray", interpolation="nearest")
    if text is None:
        return
    words = textwrap.wrap(text, 24)
    if image is None:
        axis.text(0.02, 0.95, "\n".join(words[:7]), fontsize=6, va="top", transform=axis.transAxes, parse_math=False)
    else:
        axis.set_xlabel("\n".join(words[:3]), fontsize=5, parse_math=False)


def _of(batch: Mapping[str, Any], key: str, index: int) -> Any:
    """Return a sample's field, or None where it has none."""
    rows = batch[f"{key}_rows"].tolist() if f"{key}_rows" in batch else range(len(batch.get(key, [])))
    place = {row: place for place, row in enumerate(rows)}.get(index)
    return None if place is None else batch[key][place]


def _truths(batch: Mapping[str, Any], task: Task) -> list[Any]:
    """Return a batch's targets as `_draw` takes them, None where a sample has none."""
    values = head_of(task.kind).truths(batch, task.key) if task.key in batch else []
    rows = batch[f"{task.key}_rows"].tolist() if f"{task.key}_rows" in batch else range(len(values))
    by_row = dict(zip(rows, values, strict=True))
    return [by_row.get(row) for row in range(len(batch["id"]))]


def _draw(axis: Axes, target: Any, task: Task, compare: Any = None) -> None:
    """Draw a target on a sample; a prediction's colour tells whether it agrees with the truth."""
    if target is None:
        axis.set_title("no label", fontsize=8, color=NOTHING)
    else:
        head_of(task.kind).draw(axis, target, task.labels, compare)


def _legend(figure: Figure, axes: Sequence[Axes], task: Task) -> None:
    """Name the colours where colours tell labels apart."""
    colours = head_of(task.kind).legend(task.labels)
    for index, (name, colour) in enumerate(zip(task.labels, colours, strict=False)):
        if colour[3] and index < MOST_LISTED:
            axes[-1].plot([], [], "s", color=colour, label=name, markersize=5)
    if colours:
        axes[-1].legend(fontsize=6, loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
