"""A run's data and module, from its configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.utils import get_class
from lightning.pytorch import LightningDataModule

from datamodules.align import aligned
from datamodules.base import options_of
from datamodules.collate import as_sample
from datamodules.naming import naming
from datamodules.pair import CombinedData, MergedData, PairedData, SequentialData
from datamodules.tokenizing import texts_of, train_tokenizer
from tl_modules.backbones.huggingface import described
from tl_modules.discovery import TIMM, torchvision_networks
from tl_modules.module import TransferModule
from tl_modules.task import ABSENT
from tl_run.options import CUT
from tl_run.rules.facts import is_pretrained, with_data

Config = dict[str, Any]
FOR_THE_RUN = ("name", "kind", "augment", "backbone", "weight", "absent")
SIZES = ("train_size", "val_size", "labelled")  # options of every dataset; one of one's own need not have them
PARALLEL = "parallel_training"


def build_data(config: Config) -> PairedData:
    """Build the run's datasets and pair them as the cell needs.

    Args:
        config: The composed configuration.
    """
    options, trainer = config["datamodule"], config["trainer"]
    roles = with_data(config)
    data = {}
    for role in roles:
        made = get_class(config[role]["_target_"])
        if not issubclass(made, LightningDataModule):
            raise ValueError(f"{role}._target_={config[role]['_target_']}: must be a LightningDataModule")
        takes = options_of(made)
        ours = [key for key in FOR_THE_RUN if key != "kind" or "kind" not in takes]
        given = {key: value for key, value in config[role].items() if key not in ours}
        for key in [key for key in (*SIZES, *CUT) if key not in takes]:
            if given.pop(key, None) is not None:
                raise ValueError(f"{role}.{key}={config[role][key]}: {config[role]['_target_']} has no such option")
        of_the_run: dict[str, Any] = {
            "role": role,
            **{key: config[key] for key in ("seed", "max_invalid") if key in config},
        }
        given |= {key: value for key, value in of_the_run.items() if key in takes}
        with naming(role):
            # Called as it is: what stands in its options is plain values, never another thing to be made.
            data[role] = made(**{key: value for key, value in given.items() if key not in ("_target_", "_convert_")})
    common: dict[str, Any] = {
        **data,
        "batch_size": options["batch_size"],
        "num_workers": options["num_workers"],
        "seed": config["seed"],
        "accumulate": trainer["accumulate"],
        "overlap": options["overlap"],
        "loading": {key: options[key] for key in ("pin_memory", "prefetch_factor", "persistent_workers")},
    }
    mode = options["mode"] if len(roles) == 2 else None
    if mode == "merged":
        return MergedData(**common, source_share=options["source_share"])
    if mode in (None, "sequential"):
        return SequentialData(**common)
    both = aligned if mode == "aligned" else None
    return CombinedData(**common, mode=mode, temperature=options["temperature"], aligned_dataset=both)


def check_kinds(config: Config, data: PairedData) -> None:
    """Refuse a dataset whose task is of another kind than its options say.

    Args:
        config: The composed configuration.
        data: The run's data, set up.

    Raises:
        ValueError: If there is one.
    """
    for role, task in data.tasks.items():
        said = config[role]["kind"]
        if said != task.kind:
            made = config[role]["_target_"]
            raise ValueError(
                f"{role}.kind={said}: the samples of {made} are for {task.kind}; set {role}.kind={task.kind}"
            )


def build_module(config: Config, data: PairedData) -> TransferModule:
    """Build the run's module for its data's tasks.

    Args:
        config: The composed configuration.
        data: The run's data.

    Raises:
        ValueError: If the module refuses an option.
    """
    cell = {key: value for key, value in config["cell"].items() if key not in ("_target_", "_convert_", "name")}
    module = get_class(config["cell"]["_target_"])
    backbone = {role: config[role].get("backbone") or config["backbone"] for role in data.tasks}
    if is_pretrained(config):
        backbone["target"] = {**backbone["target"], "weights": config["source"]["weights"]}
    extra: dict[str, Any] = {} if config["finetuning"] is None else {"finetuning": config["finetuning"]}
    own_trunks = "source" in backbone and config["cell"]["name"] == PARALLEL
    sized = {}
    for role, spec in backbone.items():
        sized[role] = with_size(spec, data, role if own_trunks else "target")
        sized[role] = with_tokenizer(sized[role], data, [role] if own_trunks else list(data.tasks))
    if "source" in sized and sized["source"] != sized["target"]:
        extra["source_backbone"] = sized["source"]
    metric = config["selection"]["metric"]
    try:
        built: TransferModule = module(
            **{role: {**task.to_dict(), **absent(config[role])} for role, task in data.tasks.items()},
            backbone=sized["target"],
            augment={role: config[role].get("augment") or {} for role in data.tasks},
            weights={role: config[role].get("weight", 1.0) for role in data.tasks},
            objective=config["objective"],
            selection_metric=metric,
            without_labels=config["selection"]["without_labels"],
            seed=config["seed"],
            **extra,
            **cell,
        )
    except ValueError as error:  # which metrics there are can depend on the labels, which only the data tell
        before, found, allowed = str(error).partition(f"selection_metric={metric!r} is unknown; ")
        if before or not found:
            raise
        raise ValueError(f"selection.metric={metric}: not measured for this target; {allowed}") from error
    return built


def absent(node: Mapping[str, Any]) -> dict[str, str]:
    """Return what the options of a role say of the names that its dataset lacks; nothing where they say the usual."""
    said = node.get("absent", ABSENT[0])
    return {} if said == ABSENT[0] else {"absent": said}


def with_size(spec: Mapping[str, Any] | str, data: PairedData, role: str) -> Any:
    """Return a backbone's options with the size of a role's images, where they leave it open and it could matter.

    Args:
        spec: A backbone's name or options.
        data: The run's data, set up.
        role: Whose images.
    """
    options: dict[str, Any] = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = str(options["name"])
    if isinstance(options.get("encoders"), Mapping):
        return {**options, "encoders": {key: with_size(one, data, role) for key, one in options["encoders"].items()}}
    if not (name.startswith(TIMM) or name in torchvision_networks()) or options.get("image_size") is not None:
        return spec
    sample = as_sample(data.split(role, "train")[0], data.tasks[role], "0")
    sides = set(sample["image"].shape[-2:]) if "image" in sample else set()
    return {**options, "image_size": sides.pop()} if len(sides) == 1 else spec


def with_tokenizer(spec: Any, data: PairedData, roles: Sequence[str]) -> Any:
    """Return a backbone's options with a tokenizer trained on some roles' training texts, where it needs one.

    Args:
        spec: A backbone's name or options.
        data: The run's data, set up.
        roles: Who goes through the backbone.
    """
    options: dict[str, Any] = {"name": spec} if isinstance(spec, str) else dict(spec)
    if isinstance(options.get("encoders"), Mapping):
        return {
            **options,
            "encoders": {key: with_tokenizer(one, data, roles) for key, one in options["encoders"].items()},
        }
    if options["name"] == "huggingface":
        given = {key: options.get(key) for key in ("config", "tokenizer")}
        return spec if all(given.values()) else {**options, **described(str(options["model"]))}
    if options["name"] != "transformer" or options.get("tokenizer") is not None:
        return spec
    texts = [text for role in roles for text in texts_of(data.split(role, "train"))]
    return {**options, "tokenizer": train_tokenizer(texts)}
