"""The configuration's options as models, one a group: names, types and ranges; no torch."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, create_model
from pydantic_core import PydanticCustomError

from tl_modules.discovery import TIMM, class_name, kinds, names_in, torchvision_networks
from tl_modules.task import ABSENT, KINDS
from tl_run.derive import MORE, Group, Open, arguments, class_values, derived, fields_of
from tl_run.paths import CONF

MIXING = ("cycle", "proportional", "temperature", "aligned")
NEED_MAPS = tuple(name for name, kind in kinds().items() if kind.needs_maps)
METRICS = {name: kind.metrics for name, kind in kinds().items()}  # the selection metric first
LOWER_IS_BETTER = {name for kind in kinds().values() for name, way in kind.directions.items() if way == "min"}


class Made(Group):
    """A group that an object is made from.

    Attributes:
        target_: The path of its class.
        convert_: Always `all`: only plain values survive in a checkpoint.
    """

    target_: str = Field(alias="_target_", min_length=1)
    convert_: Literal["all"] = Field(alias="_convert_")


OF_THE_DATA = ("role", "seed", "batch_size", "num_workers", "max_invalid")  # arguments of a dataset that the run says
# Arguments of a cell that other groups say.
OF_THE_RUN = (
    "target",
    "source",
    "backbone",
    "source_backbone",
    "finetuning",
    "augment",
    "weights",
    "objective",
    "selection_metric",
    "without_labels",
    "seed",
)
NAME: dict[str, Any] = {"name": (Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")], ...)}
# `cell`, for the eight cells and the baselines.
Cell = derived("tl_modules.module.TransferModule", OF_THE_RUN, Made, **NAME)


def own_model(path: str, base: type[Group], without: Collection[str] = ()) -> type[Group]:
    """Return the model of a class from elsewhere: its constructor's options beside a base's, all if it cannot be read.

    Args:
        path: Its import path.
        base: The model of what all of its sort have.
        without: Arguments that are no options.
    """
    try:
        own = arguments(path)
    except (ValueError, SyntaxError, OSError):
        own = {}
    if not own or MORE in own:
        unread: dict[str, Any] = {name: (Any, None) for name in CUT if name in base.model_fields}
        return create_model(base.__name__, __base__=(base, Open), **unread)
    known = {*base.model_fields, *without} - {*CUT}
    fields: dict[str, Any] = {name: one for name, one in own.items() if name not in known}
    return create_model(base.__name__, __base__=base, **fields)


WEIGHTS: dict[str, Any] = {"weights": (str | None, None)}
BACKBONES: dict[str, type[Group]] = {
    name: derived(f"tl_modules.backbones.{name}.{name}", ("channels",), name=(Literal[name], ...), **WEIGHTS)
    for name in names_in("backbones")
}
Small, HuggingFace = BACKBONES["small"], BACKBONES["huggingface"]
OBJECTIVES: dict[str, type[Group]] = {
    name: derived(f"tl_modules.objectives.{name}.{class_name(name)}", ("tasks", "widths"), name=(Literal[name], ...))
    for name in names_in("objectives")
}


class Network(Group):
    """`backbone=resnet18` and every other network of torchvision and timm."""

    name: str
    weights: str | None = None
    image_size: int | None = Field(None, ge=1)


class OwnNamed(Open):
    """A backbone, objective or augmentation of one's own, `name` being its import path."""

    name: str


READ_IMAGES = ("small", "fcos_resnet50_fpn")
READ_TEXTS = ("bag", "transformer", "huggingface")
WITHOUT_MAPS = (*READ_TEXTS, "document")
FROM_FILES = "a file of weights or the folder of a run that exists"
NETWORKS = ("any classification network of torchvision, such as resnet18", "timm/<name>")


def backbone_model(name: object) -> type[Group] | None:
    """Return the model of a backbone's options, or None if there is no such backbone."""
    if name in BACKBONES:
        return BACKBONES[str(name)]
    if name in torchvision_networks() or str(name).startswith(TIMM):
        return Network
    return own_model(str(name), OwnNamed, ("channels",)) if "." in str(name) else None


def objective_model(name: object) -> type[Group] | None:
    """Return the model of an objective's options, or None if there is no such objective."""
    if name in OBJECTIVES:
        return OBJECTIVES[str(name)]
    return own_model(str(name), OwnNamed, ("tasks", "widths")) if "." in str(name) else None


AugmentOptions = derived("tl_modules.augment.Augment")  # `source.augment` and `target.augment`


def augment_model(node: object) -> type[Group]:
    """Return the model of an augmentation's options: ours, or one of one's own whose import path is `name`."""
    own = isinstance(node, Mapping) and node.get("name")
    return own_model(str(own), OwnNamed) if own else AugmentOptions


def _kind(value: str) -> str:
    """Check a kind of task: one of ours, or the import path of a head."""
    if value not in KINDS and "." not in value:
        allowed = f"{', '.join(KINDS)}, or the import path of a Head"
        raise PydanticCustomError("kind", f"allowed: {allowed}")  # type: ignore[arg-type]
    return value


KindName = Annotated[str, AfterValidator(_kind)]


SIZES: dict[str, Any] = {
    name: one for name, one in fields_of("datamodules.base.DatasetOptions").items() if name not in OF_THE_DATA
}
CUT = ("group_by", "ungrouped", "fold")  # options of what is read from files; every dataset's group has them, as null


def _not_cut(value: Any) -> Any:
    if value is not None:
        raise PydanticCustomError("not_cut", "must be null: only samples that are read from files are cut so")
    return value


NOT_CUT: dict[str, Any] = {name: (Annotated[Any, AfterValidator(_not_cut)], None) for name in CUT}


class Dataset(create_model("Sized", __base__=Made, **SIZES, **NOT_CUT)):  # type: ignore[misc]
    """What `source` and `target` have in common, whatever the dataset."""

    FOR_THE_RUN: ClassVar[tuple[str, ...]] = ("name", "kind", "augment", "backbone", "weight", "absent")

    name: str = Field(min_length=1)
    kind: KindName
    task: str = Field(min_length=1)
    domain: str = Field(min_length=1)
    augment: Any
    backbone: Any = None
    weight: float = Field(1.0, gt=0)
    absent: Literal[ABSENT] = ABSENT[0]  # type: ignore[valid-type]


NAMED = ("task", "domain")  # options of a dataset that are never empty, whatever its constructor says


class OwnDataset(Dataset, Open):
    """`source` or `target`, for a class from elsewhere."""


class WithoutData(Made):
    """A source without data: the options that datasets have mean nothing."""

    name: str = Field(min_length=1)
    kind: KindName
    task: str = Field(min_length=1)
    domain: str = Field(min_length=1)
    train_size: None = None
    val_size: None = None
    labelled: None = None
    group_by: None = None
    ungrouped: None = None
    fold: None = None
    augment: None = None
    backbone: None = None
    weight: float = Field(1.0, gt=0)
    absent: Literal["unknown"] = "unknown"


class Pretrained(WithoutData):
    """`dataset@source=pretrained`."""

    weights: str = Field(min_length=1)


class SecondInput(WithoutData):
    """`dataset@source=second_input`."""


TARGET = re.compile(r"^_target_: (datamodules\.\S+)$", re.MULTILINE)
PRETRAINED = "datamodules.readers.pretrained.Pretrained"
SECOND_INPUT = "datamodules.readers.second_input.SecondInput"
# The datasets of ours that read or make samples: those that a file in conf/dataset/ names.
READERS = tuple(
    sorted(
        {path for file in (CONF / "dataset").rglob("*.yaml") for path in TARGET.findall(file.read_text("utf-8"))}
        - {PRETRAINED, SECOND_INPUT}
    )
)


def reader_model(path: str) -> type[Made]:
    """Return the model of a dataset of ours: its constructor's options beside those that all have."""
    kinds = class_values(path).get("kinds")
    also: dict[str, Any] = {"kind": (Literal[kinds], ...)} if kinds else {}
    return derived(path, {*OF_THE_DATA, *NAMED}, Dataset, **also)  # type: ignore[return-value]


DATASETS: dict[str, type[Made]] = {
    PRETRAINED: Pretrained,
    SECOND_INPUT: SecondInput,
    **{path: reader_model(path) for path in READERS},
}
OF_CLASS = {path.rpartition(".")[2]: DATASETS[path] for path in READERS}
Scenes, PageStreams, TextTable = (OF_CLASS[name] for name in ("Scenes", "PageStreams", "TextTable"))
TorchvisionSet, ImageFolder, NpzImages = (OF_CLASS[name] for name in ("TorchvisionSet", "ImageFolder", "NpzImages"))
VocBoxes, CocoBoxes, CocoMasks = (OF_CLASS[name] for name in ("VocBoxes", "CocoBoxes", "CocoMasks"))
PictureTable, LabelMaps, PageTable = (OF_CLASS[name] for name in ("PictureTable", "LabelMaps", "PageTable"))
MultiMnist = OF_CLASS["MultiMnist"]
SCENES_KINDS = {
    "classify": "classification",
    "count": "regression",
    "segment": "segmentation",
    "detect": "detection",
}


FINETUNINGS: dict[str, type[Group]] = {
    name: derived(f"tl_modules.finetunings.{name}.{class_name(name)}", name=(Literal[name], ...))
    for name in names_in("finetunings")
}
# `finetuning`, for `full`, `linear_probe` and any other name that is not a file's.
Finetuning = derived("tl_modules.finetunings.base.Finetuning", name=(Annotated[str, Field(min_length=1)], ...))


def finetuning_model(name: object) -> type[Group]:
    """Return the model of a finetuning's options; one of one's own has an import path for a name."""
    if name in FINETUNINGS:
        return FINETUNINGS[str(name)]
    return own_model(str(name), OwnNamed) if "." in str(name) else Finetuning


class DataModule(Group):
    """`datamodule`."""

    mode: Literal["cycle", "proportional", "temperature", "aligned", "merged", "sequential"]
    temperature: float = Field(2.0, ge=1)
    source_share: float | None = Field(None, gt=0, lt=1)
    batch_size: int = Field(ge=1)
    num_workers: int = Field(ge=0)
    pin_memory: bool = False
    prefetch_factor: int | None = Field(None, ge=1)
    persistent_workers: bool = False
    cache: bool
    overlap: Literal["refuse", "drop", "allow"]


class TrainerOptions(Open):
    """`trainer`: ours, beside which all of Lightning's Trainer are allowed (`attached.check_attached`)."""

    devices: int = Field(ge=1)
    accelerator: Literal["auto", "cpu", "gpu"]
    accumulate: int = Field(ge=1)
    validations: int = Field(ge=1)
    patience: int | None = Field(ge=1)
    progress: bool


class Checkpoint(Group):
    """`checkpoint`."""

    minutes: float | None = Field(gt=0)


class StoreOptions(Group):
    """`store`."""

    gigabytes: float = Field(ge=0)


SOURCE_RULE = "source"
Rule = Literal["source", "importance_weighted", "information_maximisation", "soft_neighbourhood_density"]


class Selection(Group):
    """`selection`."""

    rule: Literal["best", "last"]
    metric: str | None
    without_labels: Rule = "source"


class Root(Group):
    """The options outside of any group."""

    order: Literal["sequential", "simultaneous"] | None
    steps: int | None = Field(ge=1)
    epochs: int | None = Field(ge=1)
    precision: Literal["auto", "bf16", "32", 32]
    logger: Any
    callbacks: Any
    seed: int = Field(ge=0)
    data_root: str | None
    max_invalid: float = Field(0.01, ge=0, le=1)
    check_data: bool = False
    resume: str | None
    trust: bool
    allow_targets: list[str] | None = None
    source_checkpoint: str | None
    optimized_metric: str | None
    optimize_on_test: bool


GROUPS: dict[str, type[Group]] = {
    "cell": Cell,
    "backbone": Small,
    "objective": OBJECTIVES["sum"],
    "source": Dataset,
    "target": Dataset,
    "finetuning": Finetuning,
    "datamodule": DataModule,
    "trainer": TrainerOptions,
    "selection": Selection,
    "checkpoint": Checkpoint,
    "store": StoreOptions,
}


def names(model: type[Group]) -> list[str]:
    """Return a group's options by name."""
    return [key for key, field in model.model_fields.items() if field.alias is None]
