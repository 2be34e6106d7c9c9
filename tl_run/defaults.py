"""What options are where nobody sets them, by one rule for networks from random and from pretrained weights; no torch.

- Learning rate: `RATE` from random weights. Pretrained ones (`dataset@source=pretrained`, or weights of the backbone
  or of one of its encoders) learn at `PRETRAINED_RATE`, since a higher one throws away what they know, and a head with
  them `PRETRAINED_HEAD_FACTOR` times as fast; where a cell has no factors by part, all learn at `UNIFORM_RATE`, which
  is the head's. A head on frozen parts, which has nothing to wait for, learns `HEAD_FACTOR` times as fast;
  one that is frozen itself has no factor.
- What is frozen in `task_adaptation`: stem and trunk; nothing where the head reads maps (boxes, masks) of pretrained
  parts, which were made for names and not for places.
- Image size: a network of torchvision or timm gets what its weights were trained on, half of that where its head reads
  maps (a quarter of the cost), and no more than twice what the pictures have where a dataset's are all of one size.
  Sides are 32 k + 1 pixels, which strides up to 32 divide without a rest, and 32 k for torchvision's detector, which
  fills pictures up to that. Networks that are built for one size get
  that one. Random and pretrained weights get the same, so that they can be compared. A network of another kind gets
  what the dataset's file says.
- Augmentation: what the dataset's file says; none where the head reads one vector per picture from frozen parts, whose
  features are then computed once. Heads that read maps have more to learn and keep it.
- Weights of `backbone=huggingface`: the model's, and in `scratch` random ones.
- Task and domain of a source without data: those of ImageNet, or the target's where the cell is for the same ones and
  both are of one kind: what counts as the same is the user's judgement, and by the cell it is made.

`conf/` asks for a value by `${by_rule:<what>,<the dataset's>}`; a value set on the command line or in an experiment
stands in its place, so it always wins.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from zipfile import BadZipFile, ZipFile

from omegaconf import DictConfig, OmegaConf, open_dict

from tl_modules.cube import BASELINES, BY_NAME, SCRATCH, Cell, cell_for
from tl_modules.discovery import TIMM, torchvision_sizes
from tl_modules.stages import FINETUNINGS
from tl_run.baselines import FROZEN, weights_in
from tl_run.options import NEED_MAPS, PRETRAINED

RATE, PRETRAINED_RATE, UNIFORM_RATE = 0.003, 0.0003, 0.001
HEAD_FACTOR, PRETRAINED_HEAD_FACTOR = 10.0, 3.0
GRID = 32
ONE_SIZE = ("vit_", "maxvit", TIMM)
TIMM_SIZE, ENDS_WITH_SIZE = 224, re.compile(r"_(\d{3})(?:\.|$)")
DETECTORS = {"fcos_resnet50_fpn": 800}  # shorter side of the pictures that torchvision's weights were trained on
TASK, DOMAIN = "objects-imagenet", "photographs"
ASKED = "${by_rule:"


def by_rule(what: str, default: Any = None, *, _root_: DictConfig, _parent_: DictConfig) -> Any:
    """Return an option's value by the rule; the resolver of `${by_rule:...}`.

    Args:
        what: Which rule.
        default: What the dataset's file says.
        _root_: The configuration.
        _parent_: The node that the option stands in.
    """
    return RULES[what](_root_, _parent_, default)


def chosen(cfg: DictConfig) -> dict[str, dict[str, Any]]:
    """Return the options that the rule sets in a composed configuration: `value`, and what it would be in `scratch`.

    Args:
        cfg: As Hydra composed it.
    """
    raw: Any = OmegaConf.to_container(cfg, resolve=False)
    raw.pop("hydra", None)
    paths = [path for path, value in _leaves(raw) if isinstance(value, str) and value.startswith(ASKED)]
    alone = copy.deepcopy(cfg)
    OmegaConf.set_readonly(alone, False)
    with open_dict(alone):
        alone.cell.name, alone.finetuning = SCRATCH, None
        for path, node in (("backbone", cfg.backbone), ("target.backbone", cfg.target.get("backbone"))):
            for option in weights_in(path, OmegaConf.to_container(node) if isinstance(node, DictConfig) else node):
                OmegaConf.update(alone, option, None)
    return {path: {"value": OmegaConf.select(cfg, path), "scratch": OmegaConf.select(alone, path)} for path in paths}


def as_scratch(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checked configuration with what the rule would give `scratch`, where nobody set anything else."""
    alone = copy.deepcopy(dict(cfg))
    for path, found in cfg.get("by_rule", {}).items():
        *above, last = path.split(".")
        node: Any = alone
        for key in above:
            node = node.get(key) if isinstance(node, dict) else None
        if isinstance(node, dict) and node.get(last) == found["value"]:
            node[last] = found["scratch"]
    return alone


def told(cfg: Mapping[str, Any]) -> list[str]:
    """Return what the rule chose for a run, and why: a line on training, and one on the source's relation.

    Args:
        cfg: The checked configuration.
    """
    root = OmegaConf.create(dict(cfg))
    found = {path: one["value"] for path, one in cfg.get("by_rule", {}).items()}
    roles = [role for role in ("source", "target") if cfg["cell"]["name"] not in BASELINES or role == "target"]
    full = {role: full_size(_backbone(root, role)) for role in roles}
    rates = [f"finetuning={found['finetuning.name']}"] if "finetuning.name" in found else []
    rates += [f"{path}={found[path]:g}" for path in ("cell.lr", "finetuning.lr.head") if path in found]
    sizes = [role for role in roles if full[role] and found.get(f"{role}.image_size")]
    shown = [*rates, *(f"{role}.image_size={found[f'{role}.image_size']}" for role in sizes)]
    planted = cfg.get("source_checkpoint") is not None  # its weights come later, and the rule does not count them
    why = [f"{'pretrained' if pretrained(root) else 'random'} weights"] if rates and not planted else []
    why += [f"the network's weights take {full[role]} pixels" for role in sizes[-1:]]
    if any(one["value"] != one["scratch"] for path, one in cfg.get("by_rule", {}).items() if ".augment." in path):
        shown.append("target.augment off")
        why.append("features of frozen parts are computed once")
    lines = [f"by rule {', '.join(shown)}" + (f": {'; '.join(why)}" if why else "")] if shown else []
    plain = {"task": TASK, "domain": DOMAIN}
    taken = [key for key in plain if found.get(f"source.{key}", plain[key]) != plain[key]]
    if taken and "source" in roles:
        said = " and ".join(f"source.{key}={found[f'source.{key}']}" for key in taken)
        same = " and ".join(taken)
        lines.append(f"{said}: taken as the target's, since cell={cfg['cell']['name']} is for the same {same}")
    return lines


def pretrained(root: Any) -> bool:
    """Tell whether the target's network starts from pretrained weights."""
    return _stands_in(root) or bool(weights_in("backbone", _backbone(root, "target")))


def frozen(root: Any) -> bool:
    """Tell whether stem and trunk are frozen while the target learns."""
    return set(_get(root, "finetuning.freeze") or ()) >= FROZEN


def full_size(backbone: Any) -> int | None:
    """Return the side in pixels of what a network's weights were trained on, or None where that is not known.

    Args:
        backbone: Its name or options; of a `document` the picture's encoder counts.
    """
    name, node = _picture_network(backbone)
    if name.startswith(TIMM):
        found = ENDS_WITH_SIZE.search(name)
        return int(found[1]) if found else TIMM_SIZE
    if name in DETECTORS:
        return DETECTORS[name]
    sizes = torchvision_sizes().get(name, {})
    return sizes.get(str(node.get("weights"))) or min(sizes.values(), default=None)


def fitting_size(backbone: Any, own: int | None = None, maps: bool = False) -> int | None:
    """Return the side of the pictures for a network, or None where its weights do not say.

    Args:
        backbone: Its name or options.
        own: The pictures' own side, where all have one.
        maps: Whether its head reads maps.
    """
    full = full_size(backbone)
    if full is None or _picture_network(backbone)[0].startswith(ONE_SIZE):
        return full
    more = 0 if _picture_network(backbone)[0] in DETECTORS else 1
    most = GRID * round(full / (2 if maps else 1) / GRID) + more
    return most if own is None else min(most, GRID * -(-2 * own // GRID) + more)


def _picture_network(backbone: Any) -> tuple[str, Mapping[str, Any]]:
    """Return name and options of the network that reads the pictures."""
    node: Mapping[str, Any] = {"name": backbone} if isinstance(backbone, str) else backbone or {}
    encoders = node.get("encoders")
    return _picture_network(encoders.get("image")) if encoders else (str(node.get("name")), node)


def _rate(root: Any, parent: Any, default: Any) -> float:
    if not pretrained(root):
        return RATE
    return UNIFORM_RATE if _get(root, "finetuning") is None else PRETRAINED_RATE


def _finetuning(root: Any, parent: Any, default: Any) -> str:
    return "full" if pretrained(root) and _get(root, "target.kind") in NEED_MAPS else "linear_probe"


def _freeze(root: Any, parent: Any, default: Any) -> list[str]:
    return list(FINETUNINGS[_finetuning(root, parent, default)]["freeze"])


def _head_factor(root: Any, parent: Any, default: Any) -> float:
    if "head" in (_get(root, "finetuning.freeze") or ()):
        return 1.0
    if frozen(root):
        return HEAD_FACTOR
    return PRETRAINED_HEAD_FACTOR if pretrained(root) else 1.0


def _weights(root: Any, parent: Any, default: str) -> str | None:
    return None if _get(root, "cell.name") == SCRATCH else default


def _image_size(root: Any, parent: Any, default: int | None) -> int | None:
    maps = _get(parent, "kind") in NEED_MAPS
    return fitting_size(_backbone(root, str(parent._key())), maps=maps) or default


def _enlarged(root: Any, parent: Any, default: int | None) -> int | None:
    own = default or _side(_get(parent, "root"))
    size = None if own is None else fitting_size(_backbone(root, str(parent._key())), own)
    return size or default


def _augment(root: Any, parent: Any, default: Any) -> Any:
    of_target = parent._get_parent()._key() == "target"
    off = of_target and frozen(root) and _get(root, "target.kind") not in NEED_MAPS
    return type(default)(0) if off else default


def _task(root: Any, parent: Any, default: Any) -> str:
    cell, kind = _cell(root, parent), _get(parent, "kind")
    same = cell is not None and cell.same_task and _get(root, "target.kind") == kind
    return str(_get(root, "target.task")) if same else TASK


def _domain(root: Any, parent: Any, default: Any) -> str:
    cell = _cell(root, parent)
    return str(_get(root, "target.domain")) if cell is not None and cell.same_domain else DOMAIN


def _cell(root: Any, parent: Any) -> Cell | None:
    """Return the cell that a source without data is for; a target without data is refused later."""
    return BY_NAME.get(_get(root, "cell.name")) if parent._key() == "source" else None


RULES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "lr": _rate,
    "head_factor": _head_factor,
    "finetuning": _finetuning,
    "freeze": _freeze,
    "weights": _weights,
    "image_size": _image_size,
    "enlarged": _enlarged,
    "augment": _augment,
    "task": _task,
    "domain": _domain,
}


def _backbone(root: Any, role: str) -> Any:
    node = _get(root, f"{role}.backbone") or _get(root, "backbone")
    node = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
    if isinstance(node, dict) and _stands_in(root):
        node["weights"] = _get(root, "source.weights")
    return node


def _stands_in(root: Any) -> bool:
    """Tell whether weights stand for the source's data."""
    return _get(root, "cell.name") not in BASELINES and _get(root, "source._target_") == PRETRAINED


def _get(node: Any, path: str) -> Any:
    return OmegaConf.select(node, path, throw_on_missing=False)


def _leaves(node: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        path = f"{above}.{key}" if above else str(key)
        if isinstance(value, Mapping):
            yield from _leaves(value, path)
        else:
            yield path, value


def _side(root: Any) -> int | None:
    """Return the height of the training pictures in a `.npz` file, from its header, or None if there are none."""
    from numpy.lib import format as npy

    try:
        with ZipFile(str(root)) as archive, archive.open("train_images.npy") as file:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            return int(read(file)[0][1])
    except (OSError, BadZipFile, KeyError, ValueError, IndexError):
        return None


def settled_cell(root: Any) -> str:
    """Return the cell's name, for `auto` the one that fits source, target and order; it names a run's folder.

    Args:
        root: The configuration.
    """
    name = str(root.cell.name)
    source, target, order = root.get("source"), root.get("target"), root.get("order")
    if name != "auto" or order is None or source is None or target is None:
        return name
    same = (source.task, source.kind) == (target.task, target.kind), source.domain == target.domain
    return cell_for(*same, sequential=order == "sequential")
