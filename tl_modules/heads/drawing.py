"""How targets and predictions are drawn: colours and shapes on matplotlib's axes, which is imported only here."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

RIGHT, WRONG = "#1a7f37", "#c0392b"
NOTHING = "gray"
MOST_NAMED = 6  # with more boxes than these, colours and the legend have to do
Colour = tuple[float, ...]


def colours(count: int, background: bool = False) -> list[Colour]:
    """Return a colour with opacity per label; that of a background, the first, is nothing at all."""
    import matplotlib

    start = 1 if background else 0
    table = matplotlib.colormaps["tab10" if count - start <= 10 else "tab20"]
    made: list[Colour] = [(*table((i - start) % table.N)[:3], 0.75) for i in range(count)]
    return [(0.0, 0.0, 0.0, 0.0), *made[1:]] if background else made


def title(axis: Any, text: str, agrees: bool | None = None) -> None:
    """Write a short text above a picture; a prediction's colour tells whether it agrees with the truth."""
    lines = textwrap.wrap(text, 20)
    shown = "\n".join(lines[:2]) + ("..." if len(lines) > 2 else "")
    shade = "black" if agrees is None else RIGHT if agrees else WRONG
    axis.set_title(shown, fontsize=8 if len(lines) < 2 else 7, color=shade, parse_math=False)


def label_map(axis: Any, mask: Tensor, palette: Sequence[Colour], ignore: int) -> None:
    """Lay a label map `(H, W)` over a picture."""
    shown = torch.zeros(*mask.shape, 4)
    for index in torch.unique(mask).tolist():
        colour = (0.5, 0.5, 0.5, 0.6) if index == ignore else palette[index]
        shown[mask == index] = torch.tensor(colour, dtype=shown.dtype)
    axis.imshow(shown.numpy(), interpolation="nearest")


def boxes(axis: Any, corners: Any, indices: Any, labels: Sequence[str], flags: Any = None) -> None:
    """Draw boxes, xyxy in pixels, with their labels' indices; those with a flag are dotted and without a name."""
    palette = colours(len(labels))
    for row, (box, label) in enumerate(zip(corners, indices, strict=True)):
        counts = flags is None or int(flags[row]) == 0
        left, top, right, bottom = (float(value) for value in box)
        colour = palette[int(label)][:3]
        xs, ys = [left, right, right, left, left], [top, top, bottom, bottom, top]
        line = {"linewidth": 1.4} if counts else {"linewidth": 1.0, "linestyle": ":"}
        axis.plot([x - 0.5 for x in xs], [y - 0.5 for y in ys], color=colour, **line)
        if len(corners) > MOST_NAMED or not counts:
            continue
        style: dict[str, Any] = {"color": "white", "fontsize": 6, "va": "bottom", "clip_on": True}
        axis.text(left, top, labels[int(label)], bbox={"color": colour, "pad": 0.6, "linewidth": 0}, **style)
