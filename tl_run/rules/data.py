"""What is asked of datasets, of how they are mixed, and of files and folders that must be there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from datamodules.readers.folders import list_classes
from datamodules.synthetic import MOST_MADE
from tl_modules.cube import BASELINES, BY_NAME, SCRATCH_PATH
from tl_modules.weights.runs import chosen_checkpoint
from tl_run.messages import plain
from tl_run.naming import AUTO
from tl_run.options import (
    DATASETS,
    MIXING,
    SCENES_KINDS,
    CocoBoxes,
    CocoMasks,
    DataModule,
    ImageFolder,
    LabelMaps,
    Made,
    MultiMnist,
    NpzImages,
    OwnDataset,
    PageStreams,
    PageTable,
    PictureTable,
    Scenes,
    TextTable,
    TorchvisionSet,
    VocBoxes,
)
from tl_run.own import foreign_paths
from tl_run.rules.facts import NO_ROOT, at_once, roles_of, with_data

OURS = (*DATASETS, *(cell.path for cell in BY_NAME.values()), SCRATCH_PATH)
DOWNLOADED = (TorchvisionSet, MultiMnist)


def check_datasets(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a dataset by its options and its root."""
    made_of = f"must be at most {MOST_MADE}, as these samples are made in memory"
    for role in with_data(cfg):
        node, model = cfg[role], DATASETS.get(cfg[role]["_target_"])
        for size in ("train_size", "val_size"):
            if node.get("labelled") is not None and node.get(size) is not None:
                yield f"{role}.labelled={node['labelled']}: excludes {role}.{size}={node[size]}; give one of the two"
        if str(node.get("root")).startswith(NO_ROOT):
            yield f"data_root=null: must be the folder that holds {node['root'].removeprefix(NO_ROOT)}"
            continue
        if model in (Scenes, PageStreams):
            for size in ("train_size", "val_size", "labelled"):
                if (node.get(size) or 0) > MOST_MADE:
                    yield f"{role}.{size}={node[size]}: {made_of}"
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
        elif model in (NpzImages, TextTable, PictureTable) and not Path(node["root"]).is_file():
            yield f"{role}.root={node['root']}: must be a file that exists"
        elif model is LabelMaps and (node["kind"] == "detection") != (node["boxes"] is not None):
            yield f"{role}.boxes={plain(node['boxes'])}: goes with {role}.kind=detection, and only with it"
        elif model is PageTable and not (Path(node["root"]) / node["table"]).is_file():
            yield f"{role}.root={node['root']}: must be the folder that holds {node['table']}"
        elif model in (VocBoxes, CocoBoxes, CocoMasks, LabelMaps) and not (
            node["root"] and Path(node["root"]).is_dir()
        ):
            yield f"{role}.root={plain(node['root'])}: must be the folder that holds pictures and annotations"
        elif model in DOWNLOADED and not node["download"] and not Path(node["root"] or "data").is_dir():
            yield f"{role}.root={node['root'] or 'data'}: must be a folder that exists where download=false"


def check_mode(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yield where roles cannot be mixed as is said."""
    name, options = cfg["cell"]["name"], cfg["datamodule"]
    mode, both = options["mode"], at_once(cfg)
    if name in BY_NAME or name in BASELINES:
        fits = ("merged",) if name == "dataset_merging" else MIXING if both else ("sequential",)
        if mode not in fits:
            yield f"datamodule.mode={mode}: does not fit {name}; allowed: {', '.join(fits)}"
            return
    if options["temperature"] != DataModule.model_fields["temperature"].default and mode != "temperature":
        given = plain(options["temperature"])
        yield f"datamodule.temperature={given}: has no effect with datamodule.mode={mode}; it needs mode=temperature"
    if mode == "merged" and cfg["cell"].get("normalisation") == "per_role":
        yield "cell.normalisation=per_role: has no meaning with datamodule.mode=merged, where a batch holds both roles"
    if mode not in ("aligned", "merged") or len(with_data(cfg)) == 1:
        return
    if mode == "aligned" and not _carry_both(cfg):
        kinds_of = "scenes/, pages/, multi_mnist, or label maps or COCO's JSON of one root"
        needs = f"needs samples that carry both targets: {kinds_of}"
        yield f"datamodule.mode=aligned: {needs}"
        return
    same = ["image_size", "channels", "augment", *(["ground", "inputs", "missing"] if mode == "aligned" else [])]
    for key in (key for key in same if all(key in cfg[role] for role in with_data(cfg))):
        source, target = cfg["source"][key], cfg["target"][key]
        if source != target:
            hint = f"must equal target.{key}={plain(target)} with datamodule.mode={mode}, where they share a batch"
            yield f"source.{key}={plain(source)}: {hint}"


def _carry_both(cfg: Mapping[str, Any]) -> bool:
    """Tell whether both roles' samples can be the same pictures; a class from elsewhere may know how."""
    models = [DATASETS.get(cfg[role]["_target_"], OwnDataset) for role in roles_of(cfg)]
    one_root = cfg["source"].get("root") == cfg["target"].get("root")
    kinds: list[set[type[Made]]] = [{Scenes}, {PageStreams}]
    kinds += [{LabelMaps}, {CocoBoxes, CocoMasks}, {MultiMnist}] if one_root else []
    return any(set(models) <= {*kind, OwnDataset} for kind in kinds)


def check_loading(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yield where options of workers have no effect."""
    options = cfg["datamodule"]
    for key in ("prefetch_factor", "persistent_workers"):
        if options.get(key) and not options["num_workers"]:
            yield f"datamodule.{key}={plain(options[key])}: has no effect with datamodule.num_workers=0"


def check_files(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yield which files and folders are missing, and which are not trusted."""
    if cfg["data_root"] is not None and not Path(cfg["data_root"]).is_dir():
        yield f"data_root={cfg['data_root']}: must be a folder that exists"
    folder, allowed = (None if cfg["resume"] == AUTO else cfg["resume"]), cfg.get("allow_targets") or []
    if cfg.get("check_data") and cfg["resume"] is not None:
        yield f"check_data=true: excludes resume={cfg['resume']}; give one of the two"
    foreign = [] if folder is None else foreign_paths(cfg, OURS)
    for option in ("trust", "allow_targets"):
        if cfg.get(option) and folder is None:
            yield f"{option}={plain(cfg[option])}: has no effect without resume=<run folder>"
    foreign = [path for path in foreign if not any(path == one or path.startswith(f"{one}.") for one in allowed)]
    if foreign and not cfg["trust"]:
        said = f"uses {', '.join(foreign)}, which is code that is not ours; trust=true imports it"
        yield f"resume={folder}: {said}, or allow_targets=[{','.join(foreign)}] these alone"
    given = cfg["source_checkpoint"]
    if given is not None and (at_once(cfg) or cfg["cell"]["name"] in BASELINES):
        yield f"source_checkpoint={given}: has no effect in {cfg['cell']['name']}, which has no source stage"
    elif given is not None:
        try:
            chosen_checkpoint(Path(given))
        except ValueError as error:
            said = "must be a checkpoint file, or the folder of a run with a finished stage"
            yield f"source_checkpoint={given}: {said if 'neither' in str(error) else error}"
