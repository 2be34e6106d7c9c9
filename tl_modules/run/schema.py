"""The check of a composed configuration: types, ranges, unknown keys, and what does not go together; no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from datamodules.folders import list_classes
from tl_modules.cube import BY_NAME, SCRATCH, SCRATCH_PATH, check_pair
from tl_modules.found import TIMM, names_in, timm_networks, torchvision_networks
from tl_modules.tasks import KINDS

PartKind = Literal["stem", "trunk", "head"]
MIXING = ("cycle", "proportional", "temperature", "aligned")
NEED_MAPS = ("segmentation", "detection")
# By kind, the selection metric first.
METRICS = {
    "classification": ("accuracy", "macro_f1", "auroc", "f1"),
    "multilabel": ("map", "f1"),
    "regression": ("mae", "r2"),
    "segmentation": ("miou", "miou_foreground"),
    "detection": ("map50", "map"),
}


class ConfigError(ValueError):
    """A configuration that cannot run; its text has one line a problem."""


class Group(BaseModel):
    """A group of options; unknown ones are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Made(Group):
    """A group that an object is made from.

    Attributes:
        target_: The path of its class.
        convert_: Always `all`: only plain values survive in a checkpoint.
    """

    target_: str = Field(alias="_target_", min_length=1)
    convert_: Literal["all"] = Field(alias="_convert_")


class Cell(Made):
    """`cell`, for the eight cells and `scratch`."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")
    lr: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    clip: float | None = Field(gt=0)
    schedule: Literal["one_cycle", "cosine", "constant"]


class OwnCell(Cell):
    """`cell`, for a class from elsewhere; its own options are for its constructor to check."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class Small(Group):
    """`backbone=small`."""

    name: Literal["small"]
    weights: str | None = None


class Network(Group):
    """`backbone=resnet18` and every other network of torchvision and timm."""

    name: str
    weights: str | None = None
    image_size: int | None = Field(None, ge=1)


class Bag(Group):
    """`backbone=bag`."""

    name: Literal["bag"]
    weights: str | None = None
    buckets: int = Field(8192, ge=2)
    width: int = Field(64, ge=1)
    dim: int = Field(128, ge=1)


class Inputs(Group):
    """`backbone=inputs`; `encoders` are checked as backbones of their own."""

    name: Literal["inputs"]
    weights: str | None = None
    encoders: dict[Literal["image", "text"], Any] = Field({"image": "small", "text": "bag"}, min_length=1)
    width: int = Field(128, ge=1)
    dim: int = Field(128, ge=1)


class OwnBackbone(Group):
    """A backbone that a new file of `tl_modules/backbones/` builds; its options are for its function to check."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    name: str


KNOWN: dict[str, type[Group]] = {"small": Small, "bag": Bag, "inputs": Inputs}
BACKBONES: dict[str, type[Group]] = {
    **KNOWN,
    **{name: OwnBackbone for name in names_in("backbones") if name not in KNOWN},
}
READ_IMAGES = ("small",)
WITHOUT_MAPS = ("bag", "inputs")
FROM_FILES = "a file of weights or the folder of a run that exists"
NETWORKS = ("any classification network of torchvision, such as resnet18", "timm/<name>")


def backbone_model(name: object) -> type[Group] | None:
    """Return the model of a backbone's options, or None if there is no such backbone."""
    if name in BACKBONES:
        return BACKBONES[str(name)]
    return Network if name in torchvision_networks() or str(name).startswith(TIMM) else None


class AugmentOptions(Group):
    """`source.augment` and `target.augment`."""

    flip: bool = False
    shift: float = Field(0.0, ge=0, lt=1)
    scale: float = Field(0.0, ge=0, lt=1)
    brightness: float = Field(0.0, ge=0, lt=1)


class Dataset(Made):
    """What `source` and `target` have in common, whatever the dataset."""

    FOR_THE_RUN: ClassVar[tuple[str, ...]] = ("name", "kind", "augment", "backbone")

    name: str = Field(min_length=1)
    kind: Literal[KINDS]  # type: ignore[valid-type]
    task: str = Field(min_length=1)
    domain: str = Field(min_length=1)
    train_size: int | None = Field(ge=1)
    val_size: int | None = Field(ge=1)
    augment: AugmentOptions | None
    backbone: Any = None


class OwnDataset(Dataset):
    """`source` or `target`, for a class from elsewhere; its own options are for its constructor to check."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class Scenes(Dataset):
    """`dataset=scenes/...`."""

    ground: Literal["plain", "textured"]
    target: Literal["classify", "count", "segment", "detect"]
    image_size: int = Field(ge=32, le=112)


class Pictures(Dataset):
    """What the datasets that are read from files have in common."""

    root: str | None
    image_size: int | None = Field(ge=8)
    channels: Literal[1, 3] | None


class TorchvisionSet(Pictures):
    """`dataset=mnist` and the others that torchvision reads."""

    kind: Literal["classification"]
    dataset: str = Field(min_length=1)
    labels: list[str] | None
    published: dict[Literal["train", "val", "test"], dict[str, Any]] | None
    download: bool


class NpzImages(Pictures):
    """`dataset=npz`."""

    kind: Literal["classification"]
    root: str = Field(min_length=1)
    labels: list[str] | None


class VocBoxes(Pictures):
    """`dataset=voc`."""

    kind: Literal["detection"]
    image_size: int = Field(ge=8)
    channels: Literal[1, 3]
    pictures: str = Field(min_length=1)
    annotations: str = Field(min_length=1)
    labels: list[str] | None
    unusable: float = Field(ge=0, le=1)


class LabelMaps(Pictures):
    """`dataset=label_maps` and `label_map_boxes`."""

    kind: Literal["segmentation", "detection"]
    channels: Literal[1, 3]
    labels: list[str] = Field(min_length=1)
    boxes: list[str] | None
    pictures: str = Field(min_length=1)
    maps: str = Field(min_length=1)
    ignore: list[int]
    smallest: int = Field(ge=1)


class TextTable(Dataset):
    """`dataset=texts`."""

    kind: Literal["classification"]
    root: str = Field(min_length=1)
    text: str | int
    label: str | int
    separator: str = Field(min_length=1, max_length=1)
    header: bool
    quotes: bool
    encoding: str = Field(min_length=1)
    labels: dict[str, str] | None
    positive: str | None
    unusable: float = Field(ge=0, le=1)


class ImageFolder(Pictures):
    """`dataset=image_folder`."""

    kind: Literal["classification"]
    splits: dict[Literal["train", "val", "test"], str] | None


class Pretrained(Made):
    """`dataset@source=pretrained`."""

    name: str = Field(min_length=1)
    kind: Literal[KINDS]  # type: ignore[valid-type]
    task: str = Field(min_length=1)
    domain: str = Field(min_length=1)
    weights: str = Field(min_length=1)


PRETRAINED = "datamodules.pretrained.Pretrained"
DATASETS: dict[str, type[Made]] = {
    PRETRAINED: Pretrained,
    "datamodules.scenes.Scenes": Scenes,
    "datamodules.torchvision_sets.TorchvisionSet": TorchvisionSet,
    "datamodules.image_folder.ImageFolder": ImageFolder,
    "datamodules.npz.NpzImages": NpzImages,
    "datamodules.voc.VocBoxes": VocBoxes,
    "datamodules.texts.TextTable": TextTable,
    "datamodules.label_maps.LabelMaps": LabelMaps,
}
SCENES_KINDS = {
    "classify": "classification",
    "count": "regression",
    "segment": "segmentation",
    "detect": "detection",
}


class Finetuning(Group):
    """`finetuning`."""

    name: str = Field(min_length=1)
    freeze: list[PartKind]
    lr: dict[PartKind, float]


class DataModule(Group):
    """`datamodule`."""

    mode: Literal["cycle", "proportional", "temperature", "aligned", "merged", "sequential"]
    temperature: float = Field(2.0, ge=1)
    batch_size: int = Field(ge=1)
    num_workers: int = Field(ge=0)


class TrainerOptions(Group):
    """`trainer`."""

    devices: int = Field(ge=1)
    accelerator: Literal["auto", "cpu", "gpu"]
    accumulate: int = Field(ge=1)
    validations: int = Field(ge=1)
    progress: bool


class Root(Group):
    """The options outside of any group."""

    order: Literal["sequential", "simultaneous"] | None
    steps: int | None = Field(ge=1)
    epochs: int | None = Field(ge=1)
    selection: Literal["best", "last"]
    precision: Literal["auto", "bf16", "32", 32]
    logger: Literal["csv", "tensorboard"]
    seed: int = Field(ge=0)
    data_root: str | None
    resume: str | None
    source_checkpoint: str | None
    optimized_metric: str | None


GROUPS: dict[str, type[Group]] = {
    "cell": Cell,
    "backbone": Small,
    "source": Dataset,
    "target": Dataset,
    "finetuning": Finetuning,
    "datamodule": DataModule,
    "trainer": TrainerOptions,
}
TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a string",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "none_required": "null",
}
BOUNDS = {
    "greater_than": ("greater than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def check(cfg: Mapping[str, Any]) -> None:
    """Check a composed configuration.

    Args:
        cfg: Plain values, interpolations resolved, without the `hydra` node.

    Raises:
        ConfigError: If it cannot run; one line a problem, such as `cell.lr=-1: must be greater than 0`.
    """
    problems = [*_check_root(cfg)]
    for name in GROUPS:
        if name in cfg and cfg[name] is None and name == "finetuning":
            continue
        problems += _check_group(name, cfg.get(name), model_of(name, cfg.get(name)))
    for role in ("source", "target"):
        own = (cfg.get(role) or {}).get("backbone") if isinstance(cfg.get(role), Mapping) else None
        problems += [] if own is None else _check_backbone(f"{role}.backbone", own)
    if not problems:
        problems = [*_check_backbone("backbone", cfg["backbone"]), *_check_together(cfg)]
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))


def model_of(name: str, node: Any) -> type[Group]:
    """Return the model that a group's node is held to.

    Args:
        name: The group's name.
        node: Its content.
    """
    given = node if isinstance(node, Mapping) else {}
    if name == "backbone":
        return backbone_model(given.get("name")) or Small
    if name in ("source", "target"):
        return DATASETS.get(str(given.get("_target_")), OwnDataset)
    if name == "cell":
        ours = {cell.path for cell in BY_NAME.values()} | {SCRATCH_PATH}
        return Cell if given.get("_target_") in ours else OwnCell
    return GROUPS[name]


def options_of(path: str, dataset: str | None = None) -> list[str]:
    """Return the options that stand beside the last name of a dotted path, for a hint; empty where unknown.

    Args:
        path: Such as `cell.lrr`.
        dataset: The path of the class that the role's dataset is made by, where the path begins with a role.
    """
    above = path.split(".")[:-1]
    if not above:
        return [*GROUPS, *Root.model_fields]
    if above[0] in ("source", "target") and above[1:] in ([], ["augment"]):
        return names(AugmentOptions if above[1:] else DATASETS.get(str(dataset), Dataset))
    return names(GROUPS[above[0]]) if above[0] in GROUPS and not above[1:] else []


def near(value: object, allowed: Iterable[object]) -> str:
    """Return `did you mean x? ` for a close misspelling, else nothing.

    Args:
        value: What was given.
        allowed: What could have been meant.
    """
    close = get_close_matches(str(value), [str(name) for name in allowed], n=1, cutoff=0.7)
    return f"did you mean {close[0]}? " if close else ""


def plain(value: Any) -> str:
    """Return a value as it would be written on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{plain(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(plain(item) for item in value) + "]"
    return " ".join(str(value).split())


def names(model: type[Group]) -> list[str]:
    """Return a group's options by name."""
    return [key for key, field in model.model_fields.items() if field.alias is None]


def _at(node: Any, path: Iterable[Any]) -> Any:
    for key in path:
        node = node.get(key) if isinstance(node, Mapping) else node[key] if isinstance(node, list) else node
    return node


def _check_root(cfg: Mapping[str, Any]) -> Iterator[str]:
    known = [*GROUPS, *Root.model_fields]
    for key in cfg:
        if key not in known:
            yield f"{key}={plain(cfg[key])}: unknown; {near(key, known)}allowed: {', '.join(known)}"
    yield from _check_group("", {key: value for key, value in cfg.items() if key in Root.model_fields}, Root)


def _check_group(prefix: str, node: Any, model: type[Group]) -> Iterator[str]:
    if node is None:
        yield f"{prefix}=null: must be one of the options of its group in conf/"
        return
    if prefix == "backbone" and isinstance(node, Mapping) and backbone_model(node.get("name")) is None:
        yield f"backbone.name={_no_backbone(node.get('name'))}"
        return
    try:
        model.model_validate(node)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            inner = [str(part) for part in problem["loc"] if part != "[key]"]
            path = ".".join([prefix, *inner] if prefix else inner)
            yield f"{path}={plain(_value(problem, node))}: {_says(problem, model)}"


def _value(problem: Mapping[str, Any], node: Any) -> Any:
    if problem["type"] == "missing":
        return None
    return problem["input"] if "[key]" in problem["loc"] else _at(node, problem["loc"])


def _says(problem: Mapping[str, Any], model: type[Group]) -> str:
    kind, context, loc = problem["type"], problem.get("ctx", {}), problem["loc"]
    if kind == "extra_forbidden":
        allowed = names(AugmentOptions if len(loc) > 1 else model)
        return f"unknown; {near(loc[-1], allowed)}allowed: {', '.join(allowed)}"
    if kind == "missing":
        return "is required"
    if kind in BOUNDS:
        words, key = BOUNDS[kind]
        bound = context[key]
        return f"must be {words} {int(bound) if float(bound).is_integer() else bound}"
    if kind == "literal_error":
        allowed = list(dict.fromkeys(context["expected"].replace("'", "").replace(" or ", ", ").split(", ")))
        return f"{near(problem['input'], allowed)}allowed: {', '.join(allowed)}"
    if kind in TYPES:
        return f"must be {TYPES[kind]}"
    message = str(problem["msg"])
    return message[:1].lower() + message[1:]


def _check_backbone(path: str, given: Any) -> list[str]:
    """Return the problems of a backbone given by name or as a mapping."""
    node: Any = {"name": given} if isinstance(given, str) else given
    name = node.get("name") if isinstance(node, Mapping) else None
    model = backbone_model(name)
    if model is None:
        return [f"{path}={_no_backbone(name)}"]
    problems = [*_check_group(path, node, model)]
    weights = node.get("weights")
    if not problems and model is Network:
        problems += _check_network(path, str(name), weights)
    elif not problems and weights is not None and not Path(weights).exists():
        problems.append(f"{path}.weights={weights}: allowed: null, {FROM_FILES}")
    if not problems and name == "inputs":
        for key, encoder in node.get("encoders", {}).items():
            problems += _check_backbone(f"{path}.encoders.{key}", encoder)
    return problems


def _no_backbone(name: object) -> str:
    allowed = ", ".join([*sorted(BACKBONES), *NETWORKS])
    return f"{plain(name)}: {near(name, [*BACKBONES, *torchvision_networks()])}allowed: {allowed}"


def _check_network(path: str, name: str, weights: str | None) -> Iterator[str]:
    if not name.startswith(TIMM):
        allowed = ("DEFAULT", *torchvision_networks()[name])
        if weights not in (None, *allowed) and not Path(str(weights)).exists():
            yield f"{path}.weights={weights}: {near(weights, allowed)}allowed: null, {', '.join(allowed)}, {FROM_FILES}"
        return
    known, model = timm_networks(), name.removeprefix(TIMM).partition(".")[0]
    if known is None:
        yield f'{path}={name}: timm is not installed; pip install -e ".[timm]"'
    elif model not in known:
        close = get_close_matches(model, known, n=3, cutoff=0.6)
        yield f"{path}={name}: timm has no such model{'; did you mean ' + ' or '.join(close) + '?' if close else ''}"
    elif weights not in (None, "DEFAULT") and not Path(str(weights)).exists():
        yield f"{path}.weights={weights}: allowed: null, DEFAULT, {FROM_FILES}; a tag of timm's stands in the name"


class _Role(NamedTuple):
    name: str
    kind: str
    domain: str


def _check_together(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yield what does not go together, in a configuration whose groups are each in order."""
    checks: tuple[Callable[[Mapping[str, Any]], Iterator[str]], ...] = (
        _check_cell,
        _check_pretrained,
        _check_datasets,
        _check_finetuning,
        _check_mode,
        _check_backbones,
        _check_budget,
        _check_files,
        _check_metric,
    )
    for one in checks:
        yield from one(cfg)


def _roles(cfg: Mapping[str, Any]) -> tuple[str, ...]:
    return ("target",) if cfg["cell"]["name"] == SCRATCH else ("source", "target")


def is_pretrained(cfg: Mapping[str, Any]) -> bool:
    """Tell whether weights stand for the source's data; `scratch` has no source."""
    return cfg["cell"]["name"] != SCRATCH and cfg["source"]["_target_"] == PRETRAINED


def _with_data(cfg: Mapping[str, Any]) -> tuple[str, ...]:
    return ("target",) if is_pretrained(cfg) else _roles(cfg)


def _is_scenes(node: Mapping[str, Any]) -> bool:
    return DATASETS.get(node["_target_"]) is Scenes


def _at_once(cfg: Mapping[str, Any]) -> bool:
    name = cfg["cell"]["name"]
    return not BY_NAME[name].sequential if name in BY_NAME else cfg["datamodule"]["mode"] != "sequential"


def _check_cell(cfg: Mapping[str, Any]) -> Iterator[str]:
    name, path = cfg["cell"]["name"], cfg["cell"]["_target_"]
    for cell in BY_NAME.values():
        if (cell.path == path and cell.name != name) or (path == SCRATCH_PATH and name == cell.name):
            yield f"cell._target_={path}: is not {name}; choose the cell with cell={name}"
            return
    if name in BY_NAME:
        try:
            check_pair(name, *(_Role(*(cfg[role][key] for key in ("task", "kind", "domain"))) for role in _roles(cfg)))
        except ValueError as error:
            yield str(error)


def _check_pretrained(cfg: Mapping[str, Any]) -> Iterator[str]:
    if cfg["target"]["_target_"] == PRETRAINED:
        yield "dataset@target=pretrained: has no data to learn; it is for dataset@source="
    if not is_pretrained(cfg):
        return
    name, weights = cfg["cell"]["name"], cfg["source"]["weights"]
    if _at_once(cfg):
        yield f"dataset@source=pretrained: has no data, and {name} learns source and target at once"
    elif cfg["source_checkpoint"] is not None:
        yield f"source_checkpoint={cfg['source_checkpoint']}: excludes dataset@source=pretrained; give one of the two"
    elif cfg["backbone"].get("weights") is not None:
        yield f"backbone.weights={cfg['backbone']['weights']}: excludes source.weights={weights}; give one of the two"
    else:
        lines = _check_backbone("backbone", {**cfg["backbone"], "weights": weights})
        yield from (line.replace("backbone.weights=", "source.weights=", 1) for line in lines)


def _check_datasets(cfg: Mapping[str, Any]) -> Iterator[str]:
    for role in _with_data(cfg):
        node, model = cfg[role], DATASETS.get(cfg[role]["_target_"])
        if model is Scenes:
            made = f"scenes/{node['ground']}_{node['target']}"
            if node["name"] != made or node["kind"] != SCENES_KINDS[node["target"]]:
                yield (
                    f"{role}.name={node['name']}: does not go with ground={node['ground']}, target={node['target']} "
                    f"and kind={node['kind']}; choose the dataset with dataset@{role}="
                )
        elif model is ImageFolder:
            if node["root"] is None:
                yield f"{role}.root=null: must be the folder that holds the class folders"
                continue
            try:
                list_classes(node["root"], node["splits"])
            except ValueError as error:
                yield f"{role}.{error}"
        elif model in (NpzImages, TextTable) and not Path(node["root"]).is_file():
            yield f"{role}.root={node['root']}: must be a file that exists"
        elif model is LabelMaps and (node["kind"] == "detection") != (node["boxes"] is not None):
            yield f"{role}.boxes={plain(node['boxes'])}: goes with {role}.kind=detection, and only with it"
        elif model in (VocBoxes, LabelMaps) and not (node["root"] and Path(node["root"]).is_dir()):
            yield f"{role}.root={plain(node['root'])}: must be the folder that holds pictures and annotations"
        elif model is TorchvisionSet and not node["download"] and not Path(node["root"] or "data").is_dir():
            yield f"{role}.root={node['root'] or 'data'}: must be a folder that exists where download=false"


def _check_finetuning(cfg: Mapping[str, Any]) -> Iterator[str]:
    name, node = cfg["cell"]["name"], cfg["finetuning"]
    if node is None:
        if not _at_once(cfg) and name in BY_NAME:
            yield f"finetuning=null: {name} needs one; allowed: full, linear_probe"
        return
    if name == SCRATCH or _at_once(cfg):
        why = "has no source" if name == SCRATCH else "learns source and target at once"
        yield f"finetuning={node['name']}: has no effect in {name}, which {why}; leave it out"
    if set(node["freeze"]) == {"stem", "trunk", "head"}:
        yield f"finetuning.freeze={plain(node['freeze'])}: must leave a kind of part that learns"
        return
    for part, factor in node["lr"].items():
        if factor <= 0:
            yield f"finetuning.lr.{part}={plain(factor)}: must be greater than 0"
        elif part in node["freeze"] and factor != 1:
            yield f"finetuning.lr.{part}={plain(factor)}: has no effect, finetuning.freeze has it"


def _check_mode(cfg: Mapping[str, Any]) -> Iterator[str]:
    name, options = cfg["cell"]["name"], cfg["datamodule"]
    mode, at_once = options["mode"], _at_once(cfg)
    if name in BY_NAME or name == SCRATCH:
        fits = ("merged",) if name == "dataset_merging" else MIXING if at_once else ("sequential",)
        if mode not in fits:
            yield f"datamodule.mode={mode}: does not fit {name}; allowed: {', '.join(fits)}"
            return
    if options["temperature"] != DataModule.model_fields["temperature"].default and mode != "temperature":
        given = plain(options["temperature"])
        yield f"datamodule.temperature={given}: has no effect with datamodule.mode={mode}; it needs mode=temperature"
    if mode not in ("aligned", "merged"):
        return
    if mode == "aligned" and not _carry_both(cfg):
        yield "datamodule.mode=aligned: needs samples that carry both targets: scenes/, or label maps of one root"
        return
    same = ["image_size", "channels", "augment", *(["ground"] if mode == "aligned" else [])]
    for key in (key for key in same if all(key in cfg[role] for role in _with_data(cfg))):
        source, target = cfg["source"][key], cfg["target"][key]
        if source != target:
            hint = f"must equal target.{key}={plain(target)} with datamodule.mode={mode}, where they share a batch"
            yield f"source.{key}={plain(source)}: {hint}"


def _carry_both(cfg: Mapping[str, Any]) -> bool:
    """Tell whether both roles' samples can be the same pictures; a class from elsewhere may know how."""
    models = [DATASETS.get(cfg[role]["_target_"], OwnDataset) for role in _roles(cfg)]
    one_root = cfg["source"].get("root") == cfg["target"].get("root")
    return all(one in (Scenes, OwnDataset) for one in models) or (one_root and set(models) <= {LabelMaps, OwnDataset})


def _check_backbones(cfg: Mapping[str, Any]) -> Iterator[str]:
    name = cfg["cell"]["name"]
    for role in _with_data(cfg):
        own, node = cfg[role].get("backbone"), cfg[role]
        shared = name in BY_NAME and name != "parallel_training"
        if own is not None and shared:
            yield f"{role}.backbone={plain(own)}: {name} has one trunk for both roles; set backbone= instead"
            continue
        given = own or cfg["backbone"]
        backbone = given if isinstance(given, str) else given["name"]
        where = "backbone" if own is None else f"{role}.backbone"
        maps = [*(key for key in BACKBONES if key not in WITHOUT_MAPS), *NETWORKS]
        if backbone in WITHOUT_MAPS and node["kind"] in NEED_MAPS:
            task = f"{role}.task={node['task']} ({node['kind']})"
            yield f"{where}={backbone}: has no feature maps, which {task} needs; allowed: {', '.join(maps)}"
        elif DATASETS.get(node["_target_"]) is TextTable and (backbone in READ_IMAGES or backbone not in BACKBONES):
            yield f"{where}={backbone}: reads images, but {role}={node['name']} has texts; allowed: bag, inputs"
        elif backbone == "bag" and issubclass(DATASETS.get(node["_target_"], OwnDataset), Scenes | Pictures):
            yield f"{where}=bag: reads text, but {role}={node['name']} has images; allowed: {', '.join(maps)}, inputs"


def _check_budget(cfg: Mapping[str, Any]) -> Iterator[str]:
    steps, epochs = cfg["steps"], cfg["epochs"]
    if steps is not None and epochs is not None:
        yield f"epochs={epochs}: excludes steps={steps}; give one of the two"
    if steps is None and epochs is None:
        yield "steps=null: must be at least 1 where epochs is not given"
    if is_pretrained(cfg):
        return
    if steps == 1 and cfg["source_checkpoint"] is None and cfg["cell"]["name"] != SCRATCH and not _at_once(cfg):
        yield f"steps=1: must be at least 2, one for each of the stages of {cfg['cell']['name']}"


def _check_files(cfg: Mapping[str, Any]) -> Iterator[str]:
    for key in ("data_root", "resume"):
        if cfg[key] is not None and not Path(cfg[key]).is_dir():
            yield f"{key}={cfg[key]}: must be a folder that exists"
    given = cfg["source_checkpoint"]
    if given is not None and _at_once(cfg):
        yield f"source_checkpoint={given}: has no effect in {cfg['cell']['name']}, which has no source stage"
    elif given is not None and not (Path(given).is_file() or any(Path(given).glob("checkpoints/*/DONE.json"))):
        yield f"source_checkpoint={given}: must be a checkpoint file, or the folder of a run with a finished stage"
    if cfg["logger"] == "tensorboard" and find_spec("tensorboard") is None:
        yield 'logger=tensorboard: tensorboard is not installed; pip install -e ".[tensorboard]", or logger=csv'


def _check_metric(cfg: Mapping[str, Any]) -> Iterator[str]:
    given = cfg["optimized_metric"]
    if given is None:
        return
    if any(cfg[role]["kind"] not in METRICS for role in _with_data(cfg)):
        return
    allowed = [f"val/target/{METRICS[cfg['target']['kind']][0]}"]
    allowed += [f"test/{role}/{metric}" for role in _with_data(cfg)[::-1] for metric in METRICS[cfg[role]["kind"]]]
    if given not in allowed:
        yield f"optimized_metric={given}: {near(given, allowed)}allowed: {', '.join(allowed)}"
