"""Draw the pictures of docs/architecture.md: `python docs/pictures/draw.py`."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from tl_modules.cube import CELLS

HERE = Path(__file__).parent
INK, PALE, SEQUENTIAL, AT_ONCE = "#24292f", "#8c959f", "#0969da", "#bc4c00"
BLUE, ORANGE, GREY = "#ddf4ff", "#fff1e5", "#f6f8fa"


def cube() -> Figure:
    """Draw the eight cells at the corners of a cube."""
    figure = Figure(figsize=(9, 5.6))
    axis = _bare(figure, (-0.6, 2.6), (-0.45, 1.75))

    def place(same_task: bool, same_domain: bool, sequential: bool) -> tuple[float, float]:
        x, y = (0.0 if same_task else 1.3), (0.0 if same_domain else 1.0)
        return (x, y) if sequential else (x + 0.75, y + 0.42)

    corners = [cell[1:4] for cell in CELLS]
    for one in corners:
        for other in corners:
            if one < other and sum(a != b for a, b in zip(one, other, strict=True)) == 1:
                axis.plot(*zip(place(*one), place(*other), strict=True), color=PALE, linewidth=1, zorder=1)
    for cell in CELLS:
        x, y = place(*cell[1:4])
        colour = SEQUENTIAL if cell.sequential else AT_ONCE
        axis.scatter([x], [y], s=60, color=colour, zorder=3)
        style = {"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.85}
        axis.annotate(
            cell.name, (x, y), (0, 9), textcoords="offset points", ha="center", fontsize=10, color=colour, bbox=style
        )
    for text, at in (
        ("same task", (0.0, -0.2)),
        ("different task", (1.3, -0.2)),
        ("same\ndomain", (-0.42, 0.0)),
        ("different\ndomain", (-0.42, 1.0)),
    ):
        axis.text(*at, text, ha="center", va="center", fontsize=9, color=INK)
    axis.annotate("", (1.05, -0.2), (0.22, -0.2), arrowprops={"arrowstyle": "<->", "color": PALE})
    axis.annotate("", (-0.42, 0.88), (-0.42, 0.12), arrowprops={"arrowstyle": "<->", "color": PALE})
    axis.text(0.0, -0.4, "one after the other", color=SEQUENTIAL, fontsize=9, ha="center")
    axis.text(1.3, -0.4, "both at once", color=AT_ONCE, fontsize=9, ha="center")
    return figure


def way() -> Figure:
    """Draw the way of a batch through the parts, for hard parameter sharing."""
    figure = Figure(figsize=(12, 3.9))
    axis = _bare(figure, (0, 12), (0, 3.9))
    boxes = {
        "readers": (0.1, 1.5, 1.35, 0.9, "readers\nfiles → samples", GREY),
        "pair": (1.8, 1.5, 1.55, 0.9, "pair, sampler\nsteps by role", GREY),
        "augment": (3.7, 1.5, 1.4, 0.9, "augment\non the device", BLUE),
        "stem_s": (5.5, 2.6, 1.1, 0.7, "stem\nsource", BLUE),
        "stem_t": (5.5, 0.6, 1.1, 0.7, "stem\ntarget", BLUE),
        "trunk": (7.0, 1.5, 1.35, 0.9, "trunk\n→ features", BLUE),
        "head_s": (8.75, 2.6, 1.25, 0.7, "head source\n→ loss", ORANGE),
        "head_t": (8.75, 0.6, 1.25, 0.7, "head target\n→ loss", ORANGE),
        "objective": (10.4, 1.5, 1.5, 0.9, "objective\n→ one loss", ORANGE),
    }
    for x, y, width, height, text, colour in boxes.values():
        style = {"boxstyle": "round,pad=0.02,rounding_size=0.08", "facecolor": colour, "edgecolor": INK}
        axis.add_patch(FancyBboxPatch((x, y), width, height, **style))
        axis.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=9, color=INK)
    for one, other in (
        ("readers", "pair"),
        ("pair", "augment"),
        ("augment", "stem_s"),
        ("augment", "stem_t"),
        ("stem_s", "trunk"),
        ("stem_t", "trunk"),
        ("trunk", "head_s"),
        ("trunk", "head_t"),
        ("head_s", "objective"),
        ("head_t", "objective"),
    ):
        a, b = boxes[one], boxes[other]
        start, end = (a[0] + a[2] + 0.03, a[1] + a[3] / 2), (b[0] - 0.03, b[1] + b[3] / 2)
        axis.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": INK})
    axis.text(0.1, 3.55, "datamodules", fontsize=10, color=PALE)
    axis.text(3.7, 3.55, "tl_modules: one training step", fontsize=10, color=PALE)
    axis.text(3.52, 2.55, "{role: batch}", fontsize=8, color=PALE, ha="center")
    axis.text(7.68, 2.75, "pooled (B, D),\nmaps by stride", fontsize=8, color=PALE, ha="center")
    return figure


def _bare(figure: Figure, x: tuple[float, float], y: tuple[float, float]) -> Axes:
    axis = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    axis.set_axis_off()
    axis.set_xlim(*x)
    axis.set_ylim(*y)
    return axis


if __name__ == "__main__":
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = "tl-modules"
    for name, figure in (("cube", cube()), ("way", way())):
        FigureCanvasSVG(figure).print_svg(HERE / f"{name}.svg", metadata={"Date": None})
