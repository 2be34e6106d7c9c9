"""Names found by files, so that a new backbone or head is one file, and a new torchvision needs none; no torch."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_HELPERS = {"backbones": ("base", "own", "network", "families"), "heads": ("base", "pyramid", "rows")}
TIMM = "timm/"
_ENUM = re.compile(r"^class (\w+)\(WeightsEnum\):\n((?:[ \t].*\n|\n)*)", re.MULTILINE)
_WEIGHTS = re.compile(r"^    (\w+) = Weights\(", re.MULTILINE)
_SIZE = re.compile(r"\bcrop_size=(\d+)")
_NETWORK = re.compile(r"^@register_model\(\)\n(?:@.*\n)*def (\w+)\([^)]*?weights: Optional\[(\w+)\]", re.MULTILINE)
_TIMM_NETWORK = re.compile(r"^@register_model\s+def (\w+)\(", re.MULTILINE)


def names_in(folder: str) -> tuple[str, ...]:
    """Return the names that files of a folder of this package stand for, in alphabetical order.

    Args:
        folder: `backbones` or `heads`.
    """
    paths = (Path(__file__).parent / folder).glob("[a-z]*.py")
    return tuple(sorted(path.stem for path in paths if path.stem not in _HELPERS[folder]))


@cache
def torchvision_networks() -> dict[str, tuple[str, ...]]:
    """Return the installed torchvision's classification networks with the names of their weights.

    They are read from its sources, since importing it takes seconds and a wrong name is to be answered at once.
    """
    spec = find_spec("torchvision")
    places = spec.submodule_search_locations if spec else None
    networks: dict[str, tuple[str, ...]] = {}
    for path in sorted(Path(places[0], "models").glob("[a-z]*.py")) if places else ():
        text = path.read_text(encoding="utf-8")
        weights = {name: tuple(_WEIGHTS.findall(body)) for name, body in _ENUM.findall(text)}
        networks |= {name: weights.get(enum, ()) for name, enum in _NETWORK.findall(text)}
    return networks


@cache
def torchvision_sizes() -> dict[str, dict[str, int]]:
    """Return, by network of the installed torchvision and name of its weights, the side of the pictures they take."""
    spec = find_spec("torchvision")
    places = spec.submodule_search_locations if spec else None
    networks: dict[str, dict[str, int]] = {}
    for path in sorted(Path(places[0], "models").glob("[a-z]*.py")) if places else ():
        text, sizes = path.read_text(encoding="utf-8"), {}
        for enum, body in _ENUM.findall(text):
            _, *parts = _WEIGHTS.split(body)
            named = zip(parts[::2], map(_SIZE.search, parts[1::2]), strict=True)
            sizes[enum] = {name: int(found[1]) for name, found in named if found}
        networks |= {name: sizes.get(enum, {}) for name, enum in _NETWORK.findall(text)}
    return networks


@cache
def timm_networks() -> tuple[str, ...] | None:
    """Return the names of the installed timm's models, without the tags of their weights; None without timm.

    Read from its sources, as torchvision's are.
    """
    spec = find_spec("timm")
    places = spec.submodule_search_locations if spec else None
    if not places:
        return None
    texts = [path.read_text(encoding="utf-8") for path in sorted(Path(places[0], "models").rglob("*.py"))]
    return tuple(
        sorted({name for text in texts for name in re.findall(r"^@register_model\s+def (\w+)\(", text, flags=re.M)})
    )
