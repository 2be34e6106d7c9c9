"""The report's charts, as SVG: the cube, the forest plot, old and new skill, gain by labels, learning curves, ..."""

from __future__ import annotations

import io
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from tl_modules.cube import CELLS
from tl_run.folder import read_metrics
from tl_run.report.answer import BASELINE, CONTROL, Answer, Row, skills
from tl_run.report.arms import Arm
from tl_run.report.crossing import Crossed
from tl_run.report.reading import Run
from tl_run.report.statistics import Calibration, calibration

INK, PALE, FAINT = "#24292f", "#6e7781", "#d0d7de"
GAIN, LOSS, NEITHER = "#0969da", "#bc4c00", "#8c959f"
ARMS = ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#bf3989", "#9a6700", "#1b7c83", "#57606a")
BOTH_SIGNS = LinearSegmentedColormap.from_list("signs", [LOSS, "#ffffff", GAIN])
ONE_SIGN = LinearSegmentedColormap.from_list("share", ["#ffffff", GAIN])
MOST_CLASSES = 30  # of a confusion matrix that is drawn
NUMBERED = 12  # classes up to which its cells bear numbers
LONG = 72  # characters of an arm's name, where there is room
ALIKE = ("cell", "finetuning", "objective", "mode", "weights", "loss_weights")  # of arms that replay joins
WIDE = 400  # points, of a chart that fills the page


def cube(answer: Answer) -> str:
    """Draw the cube with the gain of the best arm of each cell.

    A corner is coloured by the gain's sign, pale where its interval covers zero, hatched where there is no run.

    Args:
        answer: What the runs say.
    """
    figure = Figure(figsize=(8.4, 5.2))
    axis = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axis.set_axis_off()
    axis.set_xlim(-0.75, 2.75)
    axis.set_ylim(-0.5, 1.72)

    def place(same_task: bool, same_domain: bool, sequential: bool) -> tuple[float, float]:
        x, y = (0.0 if same_task else 1.3), (0.0 if same_domain else 1.0)
        return (x, y) if sequential else (x + 0.75, y + 0.42)

    corners = [cell[1:4] for cell in CELLS]
    for one in corners:
        for other in corners:
            if one < other and sum(a != b for a, b in zip(one, other, strict=True)) == 1:
                axis.plot(*zip(place(*one), place(*other), strict=True), color=FAINT, linewidth=1.2, zorder=1)
    for cell in CELLS:
        x, y = place(*cell[1:4])
        row = next((row for row in answer.rows if row.arm.cell == cell.name), None)
        face, said, hatch = _corner(row)
        axis.scatter([x], [y], s=760, color=face, edgecolor=PALE, linewidth=0.8, hatch=hatch, zorder=3)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.85}
        name: Any = {
            "textcoords": "offset points",
            "ha": "center",
            "fontsize": 9.5,
            "color": INK,
            "zorder": 4,
            "bbox": box,
        }
        axis.annotate(cell.name.replace("_", " "), (x, y), (0, 18), **name)
        axis.annotate(said, (x, y), (0, -29), **{**name, "fontsize": 9, "color": PALE if row is None else INK})
    for text, at in (
        ("same task", (0.0, -0.4)),
        ("different task", (1.3, -0.4)),
        ("same\ndomain", (-0.52, 0.0)),
        ("different\ndomain", (-0.52, 1.0)),
    ):
        axis.text(*at, text, ha="center", va="center", fontsize=9, color=PALE)
    axis.text(2.72, -0.4, "front: one after the other; back: both at once", ha="right", fontsize=8.5, color=PALE)
    return _svg(figure)


def _corner(row: Row | None) -> tuple[str, str, str | None]:
    """Return a corner's colour, what is written below it, and its hatching."""
    if row is None:
        return "#ffffff", "no run", "////"
    if row.role == CONTROL:
        return "#ffffff", "null control: " + ("0" if row.gap == 0 else "not zero!"), None
    if row.on_test is None or math.isnan(row.on_test.mean):
        return "#f6f8fa", f"{row.test:.3f}", None
    strong, weak = (GAIN, "#b6d6f7") if row.on_test.mean >= 0 else (LOSS, "#f5cdb4")
    return strong if row.on_test.clear else weak, f"{row.on_test.mean:+.3f}", None


def forest(answer: Answer) -> str:
    """Draw each arm's paired difference to the baseline on the test set with its 95 % interval and its single seeds.

    Args:
        answer: What the runs say.
    """
    rows = [row for row in answer.rows if row.on_test is not None]
    base = answer.baseline
    assert base is not None
    figure = Figure(figsize=(8.4, 0.9 + 0.42 * len(rows)), layout="constrained")
    axis = figure.subplots()
    sign = -1.0 if answer.setting.direction == "min" else 1.0
    before = base.arm.values("test", answer.setting.metric)
    shown = []
    for place, row in enumerate(reversed(rows)):
        assert row.on_test is not None
        own = row.arm.values("test", answer.setting.metric)
        points = [sign * (own[seed] - before[seed]) for seed in own if seed in before]
        axis.plot(points, [place - 0.18] * len(points), "|", color=PALE, markersize=7, markeredgewidth=1)
        colour = _colour(row)
        if row.on_test.count > 1:
            axis.plot([row.on_test.low, row.on_test.high], [place, place], color=colour, linewidth=2.4)
            shown += [row.on_test.low, row.on_test.high]
        axis.plot([row.on_test.mean], [place], "D", color=colour, markersize=6)
        shown += points
    axis.axvline(0, color=INK, linewidth=1)
    axis.set_yticks(range(len(rows)), [_short(row.arm.name) for row in reversed(rows)], fontsize=9)
    axis.set_ylim(-0.6, len(rows) - 0.4)
    most = max((abs(value) for value in shown if math.isfinite(value)), default=1.0) or 1.0
    axis.set_xlim(-1.1 * most, 1.1 * most)
    axis.set_xlabel(f"test {answer.setting.metric}: better than {base.arm.name} by", fontsize=9)
    _plain(axis)
    axis.grid(axis="x", color=FAINT, linewidth=0.6)
    return _svg(figure)


def _colour(row: Row) -> str:
    if row.on_test is None or not row.on_test.clear:
        return NEITHER
    return GAIN if row.on_test.mean > 0 else LOSS


def by_labels(answers: Sequence[Answer]) -> str | None:
    """Draw the gain of each arm against how many labelled samples of the target it knew.

    Args:
        answers: What the runs say, a setting each.

    Returns:
        The chart, or None where the number does not vary.
    """
    points: dict[str, dict[float, tuple[float, float, float]]] = {}
    for one in answers:
        for row in one.rows:
            if row.on_test is not None and row.cost is not None and row.role != CONTROL:
                found = row.on_test
                points.setdefault(row.arm.name, {})[row.cost.labelled] = (found.mean, found.low, found.high)
    if len({x for by_x in points.values() for x in by_x}) < 2:
        return None
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    axis = figure.subplots()
    for index, (name, by_x) in enumerate(points.items()):
        xs = sorted(by_x)
        colour = ARMS[index % len(ARMS)]
        axis.plot(xs, [by_x[x][0] for x in xs], "o-", color=colour, label=_short(name), linewidth=1.6, markersize=5)
        known = [x for x in xs if math.isfinite(by_x[x][1])]
        axis.fill_between(
            known, [by_x[x][1] for x in known], [by_x[x][2] for x in known], color=colour, alpha=0.12, linewidth=0
        )
    axis.axhline(0, color=INK, linewidth=1)
    axis.set_xscale("log")
    ticks = sorted({x for by_x in points.values() for x in by_x})
    axis.set_xticks(ticks, [f"{x:g}" for x in ticks])
    axis.minorticks_off()
    axis.set_xlabel("labelled samples of the target, to train on and to choose by", fontsize=9)
    axis.set_ylabel("gain over the baseline", fontsize=9)
    _plain(axis)
    axis.legend(fontsize=8, frameon=False)
    return _svg(figure)


def curves(answer: Answer) -> str | None:
    """Draw the metric on validation against the samples seen, a thin line per seed and their mean.

    Args:
        answer: What the runs say.

    Returns:
        The chart, or None where no run has been watched by the metric.
    """
    figure = Figure(figsize=(8.4, 3.8), layout="constrained")
    axis = figure.subplots()
    drawn = False
    for index, row in enumerate(row for row in answer.rows if row.role != CONTROL):
        lines = [line for run in row.arm.runs.values() if (line := watched(run, answer.setting.metric))]
        if not lines:
            continue
        drawn = True
        colour = INK if row.role == BASELINE else ARMS[index % len(ARMS)]
        same = all([x for x, _ in line] == [x for x, _ in lines[0]] for line in lines)
        for line in lines:
            axis.plot(*zip(*line, strict=True), color=colour, alpha=0.3 if same else 0.8, linewidth=0.8)
        if same:
            middle = [(x, statistics.fmean(line[i][1] for line in lines)) for i, (x, _) in enumerate(lines[0])]
            axis.plot(*zip(*middle, strict=True), color=colour, linewidth=2, marker="o", markersize=3.5)
        axis.plot([], [], color=colour, linewidth=2, label=_short(row.arm.name))
    if not drawn:
        return None
    axis.set_xlabel("samples seen, of both roles and in all stages", fontsize=9)
    axis.set_ylabel(f"validation {answer.setting.metric}", fontsize=9)
    _plain(axis)
    axis.legend(fontsize=8, frameon=False)
    return _svg(figure)


def old_and_new(answer: Answer) -> str | None:
    """Draw the skill on the source's test set against that on the target's: a point per run, and per arm their mean.

    Arms that differ in the share of replay alone are joined in its order. Where runs have weighed old weights against
    new ones (`wise_ft`), the line between both ends is drawn as validation saw it, thin, of each run.

    Args:
        answer: What the runs say.

    Returns:
        The chart, or None where no arm has learned a source that was tested.
    """
    found = [
        (row, skills(row.arm, answer.setting.metric)) for row in answer.rows if row.role not in (BASELINE, CONTROL)
    ]
    kept = [(row, pair) for row, pair in found if pair is not None]
    kept = [(row, pair) for row, pair in kept if pair[0] == kept[0][1][0]]  # of one metric of the source's
    if not kept:
        return None
    figure = Figure(figsize=(8.4, 4.6), layout="constrained")
    axis = figure.subplots()
    paths: dict[str, list[tuple[float, float, float]]] = {}
    for index, (row, (_, points)) in enumerate(kept):
        colour = ARMS[index % len(ARMS)]
        olds, news = zip(*points.values(), strict=True)
        old, new = statistics.fmean(olds), statistics.fmean(news)
        axis.scatter(olds, news, s=14, color=colour, alpha=0.4, linewidth=0)
        axis.plot([old], [new], "D", color=colour, markersize=7, label=_short(row.arm.name, LONG), zorder=4)
        for run in row.arm.runs.values():
            axis.plot(*between(run, answer.setting.metric), ".-", color=colour, alpha=0.5, linewidth=0.8, markersize=3)
        one = row.arm.one.results
        share = (one.get("source_share") or {}).get("replay", 0.0)
        if share:
            axis.annotate(f"replay {share:g}", (old, new), (6, 6), textcoords="offset points", fontsize=8, color=INK)
        paths.setdefault(repr([one.get(key) for key in ALIKE]), []).append((share, old, new))
    for path in paths.values():
        if len({share for share, *_ in path}) > 1:
            axis.plot(*zip(*[point[1:] for point in sorted(path)], strict=True), color=PALE, linewidth=1.2, zorder=1)
    if answer.baseline is not None and math.isfinite(answer.baseline.test):
        axis.axhline(answer.baseline.test, color=INK, linewidth=1, linestyle="--", label=answer.baseline.arm.name)
    axis.set_xlabel(f"old skill: test {kept[0][1][0]}", fontsize=9)
    axis.set_ylabel(f"new skill: test {answer.setting.metric}", fontsize=9)
    _plain(axis)
    axis.legend(fontsize=8, frameon=False)
    return _svg(figure)


def between(run: Run, metric: str) -> tuple[list[float], list[float]]:
    """Return a run's old and new skill on validation along the line between its old and new weights; empty without one.

    Args:
        run: The run.
        metric: The target's, such as `target/accuracy`.
    """
    curve = run.results.get("wise_ft") or {}
    same = (curve.get("metric") or {}).get("target", f"val/{metric}") == f"val/{metric}"
    both = zip(curve.get("source") or (), curve.get("target") or (), strict=True) if same else ()
    known = [pair for pair in both if None not in pair]
    return [old for old, _ in known], [new for _, new in known]


def watched(run: Run, metric: str) -> list[tuple[float, float]]:
    """Return a metric on validation by the samples seen up to then; within a stage they grow with its steps.

    Args:
        run: The run.
        metric: Such as `target/accuracy`.
    """
    before = 0.0
    points = []
    rows = [row for row in read_metrics(run.folder / "metrics.csv") if row["metric"] == f"val/{metric}"]
    for stage in run.results["stages"]:
        seen = sum(stage["samples"].values())
        for row in rows:
            if row["stage"] == stage["name"] and stage["steps"]:
                reached = (int(row["step"]) + 1) / stage["steps"]
                points.append((before + seen * min(1.0, reached), float(row["value"])))
        before += seen
    return points


Matrix = list[list[float]]


def confusion(arm: Arm) -> tuple[list[str], Matrix] | None:
    """Return class names and shares of each true class that were predicted as each, over all runs of an arm.

    Args:
        arm: The arm.

    Returns:
        Names and rows that add up to one (or to zero for a class without samples); None where there are no classes.
    """
    names = [str(name) for name in arm.one.results["target"].get("labels") or ()]
    counts: dict[tuple[str, str], int] = {}
    for run in arm.runs.values():
        for sample in run.judged():
            if sample.truth not in names or sample.prediction not in names:
                return None
            counts[sample.truth, sample.prediction] = counts.get((sample.truth, sample.prediction), 0) + 1
    if not counts:
        return None
    rows = []
    for truth in names:
        row = [float(counts.get((truth, found), 0)) for found in names]
        rows.append([value / sum(row) if sum(row) else 0.0 for value in row])
    return names, rows


def matrix(names: Sequence[str], rows: Matrix, title: str, signed: bool = False) -> str:
    """Draw a confusion matrix, or the difference of two.

    Args:
        names: The classes.
        rows: Shares, a row per true class.
        title: What it is.
        signed: Whether it is a difference.
    """
    figure = Figure(figsize=(4.4, 4.3), layout="constrained")
    fill_matrix(figure.subplots(), names, names, rows, title, signed)
    return _svg(figure)


def across(one: Crossed, title: str) -> str:
    """Draw which names of two merged datasets are predicted on the samples of one.

    Args:
        one: The confusion.
        title: What it is.
    """
    figure = Figure(figsize=(4.4, 4.3), layout="constrained")
    fill_matrix(figure.subplots(), one.true, one.found, one.shares(), title)
    return _svg(figure)


def fill_matrix(
    axis: Axes, names: Sequence[str], found: Sequence[str], rows: Matrix, title: str, signed: bool = False
) -> None:
    """Draw a confusion matrix, or the difference of two, on axes.

    Args:
        axis: The axes.
        names: The true classes.
        found: The predicted ones.
        rows: Shares, a row per true class.
        title: What it is.
        signed: Whether it is a difference.
    """
    count = max(len(names), len(found))
    most = max((abs(value) for row in rows for value in row), default=0) or 1.0
    low, high = (-most, most) if signed else (0.0, 1.0)
    axis.imshow(rows, cmap=BOTH_SIGNS if signed else ONE_SIGN, vmin=low, vmax=high)
    size = 8 if count <= NUMBERED else 6
    axis.set_xticks(range(len(found)), [_short(name, 12) for name in found], fontsize=size, rotation=90)
    axis.set_yticks(range(len(names)), [_short(name, 12) for name in names], fontsize=size)
    if count <= NUMBERED:
        for y, row in enumerate(rows):
            for x, value in enumerate(row):
                if abs(value) >= 0.005:
                    dark = abs(value) > 0.6 * high
                    text = f"{100 * value:+.0f}" if signed else f"{100 * value:.0f}"
                    axis.text(x, y, text, ha="center", va="center", fontsize=6.5, color="white" if dark else INK)
    axis.set_title(title, fontsize=9.5, color=INK)
    axis.set_xlabel("predicted", fontsize=8.5)
    axis.set_ylabel("true", fontsize=8.5)
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_color(FAINT)


def calibration_of(arm: Arm) -> Calibration | None:
    """Return the calibration of an arm's predictions on the test set; None without probabilities.

    The bins are of all runs together. The error is the mean of the runs' own: what one overstates and another
    understates does not cancel out.
    """
    scored = [[(one.score, one.right) for one in run.judged() if one.score is not None] for run in arm.runs.values()]
    whole = calibration(*_columns([pair for run in scored for pair in run]))
    each = [found.error for run in scored if (found := calibration(*_columns(run))) is not None]
    return None if whole is None else whole._replace(error=statistics.fmean(each))


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [score for score, _ in pairs], [right for _, right in pairs]


def reliability(found: Mapping[str, Calibration]) -> str:
    """Draw how often predictions are right against the probability they were given.

    Args:
        found: Calibration by arm.
    """
    figure = Figure(figsize=(4.6, 4.3), layout="constrained")
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color=FAINT, linewidth=1)
    for index, (name, one) in enumerate(found.items()):
        colour = ARMS[index % len(ARMS)]
        axis.plot(
            one.scores, one.shares, "-", color=colour, linewidth=1.4, label=f"{_short(name)}, ECE {one.error:.3f}"
        )
        sizes = [8 + 60 * count / max(one.counts) for count in one.counts]
        axis.scatter(one.scores, one.shares, s=sizes, color=colour, alpha=0.7, linewidth=0)
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1)
    axis.set_aspect("equal")
    axis.set_xlabel("probability of the prediction", fontsize=8.5)
    axis.set_ylabel("share that is right", fontsize=8.5)
    _plain(axis)
    axis.legend(fontsize=7.5, frameon=False, loc="upper left")
    return _svg(figure)


def _short(name: str, most: int = 42) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _plain(axis: Axes) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color(FAINT)
    axis.tick_params(labelsize=8, colors=INK, length=3)


def _svg(figure: Figure) -> str:
    """Return a figure as an SVG element that scales with the page, the same for the same figure."""
    text: Any = io.StringIO()
    options: Any = {"svg.fonttype": "none", "svg.hashsalt": "tl-report", "font.family": ["DejaVu Sans", "sans-serif"]}
    with matplotlib.rc_context(options):
        FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None, "Creator": None})
    made: str = text.getvalue()
    made = made[made.index("<svg") :]
    head, rest = made.split(">", 1)
    width, height = (float(re.search(rf'{key}="([\d.]+)pt"', head).group(1)) for key in ("width", "height"))  # type: ignore[union-attr]
    kind = "wide" if width > WIDE else "square"
    view = f'viewBox="0 0 {width:g} {height:g}" class="{kind}" role="img"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {view}>{rest}'
