"""Names found by files, so that a new backbone or head is one file, and a new torchvision needs none; no torch.

What is known of a head before torch is imported is read from its class's source: it is said there alone.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_HELPERS = {
    "backbones": ("base", "own", "network", "families"),
    "heads": ("average_precision", "base", "drawing", "fcos", "pyramid", "rows"),
    "objectives": ("base",),
    "finetunings": ("base", "blocks", "starting"),
}
TIMM = "timm/"
BASES = "bases"  # beside a class's own attributes
_ENUM = re.compile(r"^class (\w+)\(WeightsEnum\):\n((?:[ \t].*\n|\n)*)", re.MULTILINE)
_WEIGHTS = re.compile(r"^    (\w+) = Weights\(", re.MULTILINE)
_SIZE = re.compile(r"\bcrop_size=(\d+)")
_NETWORK = re.compile(r"^@register_model\(\)\n(?:[@ )].*\n)*def (\w+)\([^)]*?weights: Optional\[(\w+)\]", re.MULTILINE)
_TIMM_NETWORK = re.compile(r"^@register_model\s+def (\w+)\(", re.MULTILINE)


def names_in(folder: str) -> tuple[str, ...]:
    """Return the names that files of a folder of this package stand for, in alphabetical order.

    Args:
        folder: `backbones`, `finetunings`, `heads` or `objectives`.
    """
    paths = (Path(__file__).parent / folder).glob("[a-z]*.py")
    return tuple(sorted(path.stem for path in paths if path.stem not in _HELPERS[folder]))


def class_name(name: str) -> str:
    """Return the name of the class that a file of that name defines: `LossBalance` for `loss_balance`."""
    return "".join(part.title() for part in name.split("_"))


def imported(path: str, option: str) -> Any:
    """Return what an import path names: a class or function of one's own, such as `my_project.heads.Ordinal`.

    Nothing is imported here, so that neither a configuration nor a checkpoint from elsewhere runs code that whoever
    uses it did not choose: the module has to be imported already.

    Args:
        path: Module and name, with dots.
        option: What it is for, for the error.

    Raises:
        ValueError: If the module is not imported, or has no such name.
    """
    module, _, name = path.rpartition(".")
    if module not in sys.modules:
        raise ValueError(f"{option}={path!r}: the module {module} is not imported; import it first")
    if not hasattr(sys.modules[module], name):
        raise ValueError(f"{option}={path!r}: the module {module} has no {name}")
    return getattr(sys.modules[module], name)


def plain_spec(spec: Any, option: str) -> Any:
    """Return what names a class and its options as plain values, which a checkpoint can hold.

    Args:
        spec: A name, a class, or a mapping with `name`, which is one of these, and options.
        option: What it is for, for the error.

    Raises:
        ValueError: If it is an object, or a class that no import path leads to.
    """
    if isinstance(spec, Mapping):
        return {**spec, "name": plain_spec(spec["name"], option)} if "name" in spec else spec
    if isinstance(spec, str):
        return spec
    remedy = "give a class at the top of a module, or its import path, with options as a mapping: name=, ..."
    if not isinstance(spec, type):
        raise ValueError(f"{option}: an object ({type(spec).__name__}) cannot be kept in a checkpoint; {remedy}")
    if "." in spec.__qualname__:
        raise ValueError(f"{option}: no import path leads to {spec.__name__}, defined in {spec.__qualname__}; {remedy}")
    return f"{spec.__module__}.{spec.__qualname__}"


@dataclass(frozen=True)
class Kind:
    """What is known of a kind of task without its head: the class attributes of `heads.Head` of these names."""

    monitor: str
    mode: str = "max"
    directions: Mapping[str, str] = field(default_factory=dict)
    field: str = ""
    needs_maps: bool = False
    has_labels: bool = True
    one_label: bool = False

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that a checkpoint can be chosen by, the usual one first."""
        return tuple(dict.fromkeys((self.monitor, *self.directions)))


@cache
def kinds() -> dict[str, Kind]:
    """Return what is known of the kinds of task that files of `heads/` are for."""
    said = {cls: one for name in (*names_in("heads"), "base") for cls, one in attributes("heads", name).items()}

    def inherited(cls: str) -> dict[str, Any]:
        own = dict(said.get(cls, {}))
        for base in own.pop(BASES, ()):
            own = {**inherited(base), **own}
        return own

    found = {}
    for name in names_in("heads"):
        mine = [inherited(cls) for cls, one in attributes("heads", name).items() if one.get("kind") == name]
        if not mine:
            raise ValueError(f"tl_modules/heads/{name}.py defines no Head with kind = {name!r}")
        known = {one.name: mine[0][one.name] for one in fields(Kind) if one.name in mine[0]}
        found[name] = Kind(**{"monitor": "loss", **known, "field": known.get("field") or name})
    return found


@cache
def attributes(folder: str, name: str) -> dict[str, dict[str, Any]]:
    """Return the plain values that the classes of a file say in their bodies, by class and attribute.

    Args:
        folder: `finetunings`, `heads` or `objectives`.
        name: The file's name without its ending.
    """
    tree = ast.parse((Path(__file__).parent / folder / f"{name}.py").read_text(encoding="utf-8"))
    found: dict[str, dict[str, Any]] = {}
    for node in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        found[node.name] = {BASES: [base.id for base in node.bases if isinstance(base, ast.Name)]}
        for line in node.body:
            if not isinstance(line, ast.AnnAssign | ast.Assign):
                continue
            target, value = line.target if isinstance(line, ast.AnnAssign) else line.targets[0], line.value
            if isinstance(target, ast.Name) and isinstance(value, ast.Constant | ast.Dict | ast.Tuple | ast.List):
                found[node.name][target.id] = ast.literal_eval(value)
    return found


def kind_of(name: str) -> Kind | None:
    """Return what is known of a kind: one of ours, or the import path of a `Head`; None where there is no such kind.

    Args:
        name: Such as `detection`, or `my_project.heads.Ordinal` of a module that is imported.
    """
    if "." not in name or name.rpartition(".")[0] not in sys.modules:
        return kinds().get(name)
    head = imported(name, "kind")
    known = {one.name: getattr(head, one.name) for one in fields(Kind) if hasattr(head, one.name)}
    if "monitor" not in known:
        raise ValueError(f"kind={name!r}: must be a subclass of tl_modules.Head that has a monitor")
    return Kind(**{**known, "field": known.get("field") or name.rpartition(".")[2].lower()})


@cache
def torchvision_networks(folder: str = ".") -> dict[str, tuple[str, ...]]:
    """Return the installed torchvision's classification networks with the names of their weights.

    They are read from its sources, since importing it takes seconds and a wrong name is to be answered at once.

    Args:
        folder: Where among its models; `detection` for detectors.
    """
    spec = find_spec("torchvision")
    places = spec.submodule_search_locations if spec else None
    networks: dict[str, tuple[str, ...]] = {}
    for path in sorted(Path(places[0], "models", folder).glob("[a-z]*.py")) if places else ():
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
