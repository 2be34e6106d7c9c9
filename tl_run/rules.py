"""The check of what does not go together, in a configuration whose groups are each in order; no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from datamodules.readers.folders import list_classes
from datamodules.synthetic import MOST_MADE
from tl_modules.cube import BASELINES, BY_NAME, SCRATCH, SCRATCH_PATH, check_pair, relation, suggested
from tl_modules.discovery import attributes, class_name, kinds
from tl_modules.stages import SOURCE_SHARE
from tl_modules.task import ABSENT, UNION
from tl_modules.weights.runs import chosen_checkpoint
from tl_run.attached import check_attached
from tl_run.baselines import check_baseline, frozen_kinds
from tl_run.messages import near, plain
from tl_run.naming import AUTO
from tl_run.options import (
    BACKBONES,
    DATASETS,
    FINETUNINGS,
    METRICS,
    MIXING,
    NEED_MAPS,
    NETWORKS,
    OBJECTIVES,
    PRETRAINED,
    READ_IMAGES,
    READ_TEXTS,
    READERS,
    SCENES_KINDS,
    SECOND_INPUT,
    SOURCE_RULE,
    WITHOUT_MAPS,
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
from tl_run.single import check_backbone

OURS = (*DATASETS, *(cell.path for cell in BY_NAME.values()), SCRATCH_PATH)
PLURAL = {"image": "images", "text": "texts"}
DOWNLOADED = (TorchvisionSet, MultiMnist)
NO_ROOT = "None/"  # what ${data_root}/ gives where it is null


class RoleTask(NamedTuple):
    """What the options of a role say of its task."""

    name: str
    kind: str
    domain: str


def role_tasks(cfg: Mapping[str, Any]) -> list[RoleTask]:
    """Return what the options of source and target say of their tasks."""
    return [RoleTask(*(cfg[role][key] for key in ("task", "kind", "domain"))) for role in ("source", "target")]


def check_together(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yield what does not go together, in a configuration whose groups are each in order."""
    checks: tuple[Callable[[Mapping[str, Any]], Iterator[str]], ...] = (
        _check_cell,
        check_baseline,
        _check_pretrained,
        _check_second_input,
        _check_datasets,
        _check_finetuning,
        _check_mode,
        _check_normalisation,
        _check_shares,
        _check_objective,
        _check_backbones,
        _check_tokenizer,
        _check_budget,
        _check_files,
        _check_selection,
        _check_metric,
        _check_unlabelled,
        _check_loading,
        check_attached,
    )
    for one in checks:
        yield from one(cfg)


def _roles(cfg: Mapping[str, Any]) -> tuple[str, ...]:
    return ("target",) if cfg["cell"]["name"] in BASELINES else ("source", "target")


def judged(cfg: Mapping[str, Any]) -> list[str]:
    """Return a line where the tasks and domains that are declared suggest another cell than the run's."""
    name = cfg["cell"]["name"]
    if name not in BY_NAME:
        return []
    roles = role_tasks(cfg)
    fits = suggested(name, *roles)
    return [] if fits == name else [f"cell={name}: source and target have {relation(*roles)}, which suggests {fits}"]


def is_pretrained(cfg: Mapping[str, Any]) -> bool:
    """Tell whether weights stand for the source's data; a baseline has no source."""
    return cfg["cell"]["name"] not in BASELINES and cfg["source"]["_target_"] == PRETRAINED


def is_second_input(cfg: Mapping[str, Any]) -> bool:
    """Tell whether the target's second input stands for the source."""
    return cfg["cell"]["name"] not in BASELINES and cfg["source"]["_target_"] == SECOND_INPUT


def with_data(cfg: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the roles that have a dataset."""
    return ("target",) if is_pretrained(cfg) or is_second_input(cfg) else _roles(cfg)


def _is_scenes(node: Mapping[str, Any]) -> bool:
    return DATASETS.get(node["_target_"]) is Scenes


def _at_once(cfg: Mapping[str, Any]) -> bool:
    name = cfg["cell"]["name"]
    if name in BASELINES:
        return False
    return not BY_NAME[name].sequential if name in BY_NAME else cfg["datamodule"]["mode"] != "sequential"


def _check_cell(cfg: Mapping[str, Any]) -> Iterator[str]:
    name, path = cfg["cell"]["name"], cfg["cell"]["_target_"]
    for cell in BY_NAME.values():
        if (cell.path == path and cell.name != name) or (path == SCRATCH_PATH and name == cell.name):
            yield f"cell._target_={path}: is not {name}; choose the cell with cell={name}"
            return
    if name in BY_NAME:
        try:
            check_pair(name, *role_tasks(cfg))
        except ValueError as error:
            yield str(error)


def _check_pretrained(cfg: Mapping[str, Any]) -> Iterator[str]:
    if cfg["target"]["_target_"] == PRETRAINED:
        yield "dataset@target=pretrained: has no data to learn; it is for dataset@source="
    if not is_pretrained(cfg):
        return
    name, weights = cfg["cell"]["name"], cfg["source"]["weights"]
    if weights.startswith(NO_ROOT):
        yield f"data_root=null: must be the folder that holds {weights.removeprefix(NO_ROOT)}"
    elif _at_once(cfg):
        yield f"dataset@source=pretrained: has no data, and {name} learns source and target at once"
    elif cfg["source_checkpoint"] is not None:
        yield f"source_checkpoint={cfg['source_checkpoint']}: excludes dataset@source=pretrained; give one of the two"
    elif cfg["backbone"].get("weights") is not None:
        yield f"backbone.weights={cfg['backbone']['weights']}: excludes source.weights={weights}; give one of the two"
    else:
        lines = check_backbone("backbone", {**cfg["backbone"], "weights": weights})
        yield from (line.replace("backbone.weights=", "source.weights=", 1) for line in lines)


def _check_second_input(cfg: Mapping[str, Any]) -> Iterator[str]:
    if not is_second_input(cfg):
        return
    name, backbone = cfg["cell"]["name"], cfg["backbone"]
    if name != "weight_sharing":  # for the eight, the cube says so
        yield from () if name in BY_NAME else [f"dataset@source=second_input: is for cell=weight_sharing, not {name}"]
    elif backbone["name"] != "document" or len(_read_by(backbone)) < 2:
        yield f"backbone={backbone['name']}: dataset@source=second_input needs backbone=document with two encoders"
    elif len(_inputs(cfg["target"])) == 1:
        yield f"dataset@source=second_input: needs samples with two inputs, and target={cfg['target']['name']} has one"


def _check_datasets(cfg: Mapping[str, Any]) -> Iterator[str]:
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


def _check_finetuning(cfg: Mapping[str, Any]) -> Iterator[str]:
    name, node = cfg["cell"]["name"], cfg["finetuning"]
    if node is None:
        if not _at_once(cfg) and (name in BY_NAME or name in BASELINES) and name != SCRATCH:
            yield f"finetuning=null: {name} needs one; allowed: full, linear_probe"
        return
    if name == SCRATCH or _at_once(cfg):
        why = "has no source" if name == SCRATCH else "learns source and target at once"
        yield f"finetuning={node['name']}: has no effect in {name}, which {why}; leave it out or set finetuning=null"
    if node["name"] == "lora" and find_spec("peft") is None:
        yield 'finetuning=lora: peft is not installed; pip install -e ".[lora]"'
    if set(frozen_kinds(cfg)) == {"stem", "trunk", "head"}:
        yield f"finetuning.freeze={plain(node['freeze'])}: must leave a kind of part that learns"
        return
    for part, factor in (node.get("lr") or {}).items():
        if factor <= 0:
            yield f"finetuning.lr.{part}={plain(factor)}: must be greater than 0"
        elif part in frozen_kinds(cfg) and factor != 1:
            yield f"finetuning.lr.{part}={plain(factor)}: has no effect, finetuning.freeze has it"


def _check_mode(cfg: Mapping[str, Any]) -> Iterator[str]:
    name, options = cfg["cell"]["name"], cfg["datamodule"]
    mode, at_once = options["mode"], _at_once(cfg)
    if name in BY_NAME or name in BASELINES:
        fits = ("merged",) if name == "dataset_merging" else MIXING if at_once else ("sequential",)
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


def _check_normalisation(cfg: Mapping[str, Any]) -> Iterator[str]:
    name, given = cfg["cell"]["name"], cfg["cell"].get("normalisation", "auto")
    if given == "auto" or name not in (*BY_NAME, *BASELINES):
        return
    alone = name in BASELINES or name == "parallel_training"
    if alone or len(with_data(cfg)) == 1:
        where = name if alone else f"{name} with dataset@source={cfg['source']['name']}"
        yield f"cell.normalisation={given}: has no effect in {where}, where no part is shared"


def _check_shares(cfg: Mapping[str, Any]) -> Iterator[str]:
    name, mode = cfg["cell"]["name"], cfg["datamodule"]["mode"]
    share, batch = cfg["cell"]["source_share"], cfg["datamodule"]["source_share"]
    if batch is not None and mode != "merged":
        given = f"datamodule.source_share={plain(batch)}"
        yield f"{given}: has no effect with datamodule.mode={mode}; it needs mode=merged"
    none = is_pretrained(cfg) or cfg["source_checkpoint"] is not None or name in BASELINES or _at_once(cfg)
    if share != SOURCE_SHARE and none and (name in BY_NAME or name in BASELINES):
        yield f"cell.source_share={plain(share)}: has no effect in this run of {name}, which has no stage of the source"
    for role in ("source", "target"):
        absent = cfg[role].get("absent", ABSENT[0])
        if absent == ABSENT[0]:
            continue
        if mode != "merged":
            yield f"{role}.absent={absent}: has no effect in {name}, which merges no names; it is for dataset_merging"
        elif cfg[role]["kind"] in METRICS and not kinds()[cfg[role]["kind"]].has_labels:
            yield f"{role}.absent={absent}: has no meaning with kind={cfg[role]['kind']}, which has no names"
    replay, cosine = cfg["cell"].get("replay"), cfg["cell"].get("gradient_cosine")
    alone = name in BASELINES or _at_once(cfg) or len(with_data(cfg)) == 1
    if replay and alone and (name in BY_NAME or name in BASELINES):
        yield f"cell.replay={plain(replay)}: has no effect in this run of {name}, which has no stage after a source's"
    if cosine and (name in BASELINES or name == "parallel_training"):
        yield f"cell.gradient_cosine=true: has no effect in {name}, where no trunk is shared"
    elif cosine and name in BY_NAME and (not _at_once(cfg) or mode == "merged" or len(with_data(cfg)) == 1):
        why = "by one loss" if mode == "merged" else "one at a time" if not _at_once(cfg) else "from one batch's inputs"
        yield f"cell.gradient_cosine=true: has no effect in {name}, which learns its roles {why}"
    elif cosine and mode in ("proportional", "temperature"):
        yield f"cell.gradient_cosine=true: has no effect with datamodule.mode={mode}, where a step has one role"
    for role in _roles(cfg):
        weight = cfg[role].get("weight", 1.0)
        if weight == 1 or not (name in BY_NAME or name in BASELINES):
            continue
        if role not in with_data(cfg):
            yield f"{role}.weight={plain(weight)}: has no effect, {role}={cfg[role]['name']} has no loss of its own"
        elif mode == "merged":
            instead = "which learns both roles by one loss; datamodule.source_share says how much of a batch is whose"
            yield f"{role}.weight={plain(weight)}: has no effect in {name}, {instead}"
        elif not _at_once(cfg) or len(with_data(cfg)) == 1:
            yield f"{role}.weight={plain(weight)}: has no effect in {name}, which learns one role at a time"


def _check_objective(cfg: Mapping[str, Any]) -> Iterator[str]:
    given, name = cfg["objective"]["name"], cfg["cell"]["name"]
    if given not in OBJECTIVES or name not in (*BY_NAME, *BASELINES):
        return
    said = attributes("objectives", given)[class_name(given)]
    if said.get("kinds") and cfg["target"]["kind"] not in said["kinds"]:
        yield f"objective={given}: is for {' and '.join(said['kinds'])}, and target.kind={cfg['target']['kind']}"
        return
    if not (said.get("several") or said.get("adapts")):
        return
    at = f"objective={given}: has no effect in {name}"
    if given == "torchjd" and find_spec("torchjd") is None:
        yield 'objective=torchjd: torchjd is not installed; pip install -e ".[torchjd]"'
    weights = {role: cfg[role].get("weight", 1.0) for role in _roles(cfg)}
    for role in (role for role, weight in weights.items() if weight != 1 and said.get("weighable") is False):
        yield f"{role}.weight={plain(weights[role])}: has no effect with objective={given}, which takes none"
    stages = cfg["source_checkpoint"] is None and not _at_once(cfg)
    if len(with_data(cfg)) < 2:
        yield f"{at} without a source with data" if name not in BASELINES else f"{at}, which learns the target alone"
    elif cfg["datamodule"]["mode"] == "merged":
        yield f"{at}, which learns both roles by one loss"
    elif not _at_once(cfg) and not (said.get("adapts") and BY_NAME[name].same_task):
        yield f"{at}, which learns one role at a time"
    elif _at_once(cfg) and not said.get("several"):
        yield f"{at}, which reads the target's labels"
    elif said.get("sees") is False and cfg["cell"].get("normalisation") == "per_role":
        yield f"objective={given}: never sees the target, which cell.normalisation=per_role needs to"
    elif said.get("adapts") and not _at_once(cfg) and cfg["target"].get("labelled") is not None:
        reads = f"objective={given} reads no label of the target; target.train_size says how many inputs it sees"
        yield f"target.labelled={cfg['target']['labelled']}: {reads}"
    elif "trunk" in said.get("freezes", ()):
        return
    elif said.get("adapts") and "trunk" in frozen_kinds(cfg):
        yield f"{at} with finetuning={cfg['finetuning']['name']}, which freezes the trunk that it adapts"
    elif said.get("adapts") and not _adapts(cfg["finetuning"]):
        yield f"{at} with finetuning={cfg['finetuning']['name']}, which learns from labels of the target"
    elif said.get("shares") and name == "parallel_training":
        yield f"{at}, where no part is shared"
    elif (
        (said.get("adapts") or said.get("in_a_step"))
        and cfg["datamodule"]["mode"] in ("proportional", "temperature")
        and not stages
    ):
        yield f"{at} with datamodule.mode={cfg['datamodule']['mode']}, where a step has one role"


def _adapts(finetuning: Mapping[str, Any] | None) -> bool:
    """Tell whether a finetuning can go without the target's labels; of one of one's own the module says it."""
    name = (finetuning or {}).get("name")
    said = attributes("finetunings", str(name))[class_name(str(name))] if name in FINETUNINGS else {}
    return bool(said.get("adapts", True))


def _carry_both(cfg: Mapping[str, Any]) -> bool:
    """Tell whether both roles' samples can be the same pictures; a class from elsewhere may know how."""
    models = [DATASETS.get(cfg[role]["_target_"], OwnDataset) for role in _roles(cfg)]
    one_root = cfg["source"].get("root") == cfg["target"].get("root")
    kinds: list[set[type[Made]]] = [{Scenes}, {PageStreams}]
    kinds += [{LabelMaps}, {CocoBoxes, CocoMasks}, {MultiMnist}] if one_root else []
    return any(set(models) <= {*kind, OwnDataset} for kind in kinds)


def _check_backbones(cfg: Mapping[str, Any]) -> Iterator[str]:
    name = cfg["cell"]["name"]
    for role in with_data(cfg):
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
            continue
        reads, there = _read_by(given), _inputs(node)
        if reads and there and not set(reads) & set(there):
            allowed = ", ".join([*(READ_TEXTS if "text" in there else maps), "document"])
            what = f"reads {PLURAL[reads[0]]}, but {role}={node['name']} has {PLURAL[there[0]]}"
            yield f"{where}={backbone}: {what}; allowed: {allowed}"


def _inputs(node: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the inputs of a dataset's samples; empty for a class from elsewhere."""
    model = DATASETS.get(node["_target_"], OwnDataset)
    if "inputs" in node:
        return tuple(node["inputs"])
    return ("text",) if model is TextTable else ("image",) if node["_target_"] in READERS else ()


def _read_by(backbone: Mapping[str, Any] | str) -> tuple[str, ...]:
    """Return the inputs that a backbone reads; empty for a file of one's own."""
    options = {"name": backbone} if isinstance(backbone, str) else backbone
    if options["name"] == "document":
        return tuple(options.get("encoders", PLURAL))
    if options["name"] in READ_TEXTS:
        return ("text",)
    return ("image",) if options["name"] in READ_IMAGES or options["name"] not in BACKBONES else ()


def _check_tokenizer(cfg: Mapping[str, Any]) -> Iterator[str]:
    if cfg["backbone"]["name"] != "transformer":
        return
    if find_spec("tokenizers") is None:
        yield 'backbone=transformer: the tokenizers library is not installed; pip install -e ".[text]"'
    width, heads = (cfg["backbone"].get(key) for key in ("width", "heads"))
    if width and heads and width % heads:
        yield f"backbone.heads={heads}: must divide backbone.width={width}"


def _check_budget(cfg: Mapping[str, Any]) -> Iterator[str]:
    steps, epochs = cfg["steps"], cfg["epochs"]
    if steps is not None and epochs is not None:
        yield f"epochs={epochs}: excludes steps={steps}; give one of the two"
    if steps is None and epochs is None:
        yield "steps=null: must be at least 1 where epochs is not given"
    patience, most, schedule = cfg["trainer"]["patience"], cfg["trainer"]["validations"], cfg["cell"]["schedule"]
    if patience is not None and schedule != "constant":
        yield f"trainer.patience={patience}: needs cell.schedule=constant; {schedule} is laid over all steps"
    elif patience is not None and patience >= min(most, steps or most):  # each step has one validation at most
        bound = f"steps={steps}" if steps is not None and steps < most else f"trainer.validations={most}"
        yield f"trainer.patience={patience}: must be less than {bound}, or it never ends a stage"
    if is_pretrained(cfg):
        return
    if steps == 1 and cfg["source_checkpoint"] is None and cfg["cell"]["name"] not in BASELINES and not _at_once(cfg):
        yield f"steps=1: must be at least 2, one for each of the stages of {cfg['cell']['name']}"


def _check_files(cfg: Mapping[str, Any]) -> Iterator[str]:
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
    if given is not None and (_at_once(cfg) or cfg["cell"]["name"] in BASELINES):
        yield f"source_checkpoint={given}: has no effect in {cfg['cell']['name']}, which has no source stage"
    elif given is not None:
        try:
            chosen_checkpoint(Path(given))
        except ValueError as error:
            said = "must be a checkpoint file, or the folder of a run with a finished stage"
            yield f"source_checkpoint={given}: {said if 'neither' in str(error) else error}"


def selection_metric(cfg: Mapping[str, Any]) -> str | None:
    """Return the target's metric that checkpoints are chosen by; None where a kind of one's own has its own choice."""
    metrics: tuple[str | None, ...] = METRICS.get(cfg["target"]["kind"], (None,))
    return cfg["selection"]["metric"] or metrics[0]


def _check_selection(cfg: Mapping[str, Any]) -> Iterator[str]:
    given, kind = cfg["selection"]["metric"], cfg["target"]["kind"]
    if given is not None and given not in METRICS.get(kind, (given,)):
        allowed = METRICS[kind]
        yield f"selection.metric={given}: {near(given, allowed)}allowed for {kind}: null, {', '.join(allowed)}"


def _check_unlabelled(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yield where a rule of choosing without labels has no effect."""
    given = cfg["selection"]["without_labels"]
    if given == SOURCE_RULE or cfg["cell"]["name"] not in (*BY_NAME, *BASELINES):
        return
    at, kind = f"selection.without_labels={given}", cfg["target"]["kind"]
    if kind in METRICS and kind != "classification":
        yield f"{at}: is for classification; with target.kind={kind} it must be {SOURCE_RULE}"
    elif cfg["selection"]["rule"] == "last":
        yield f"{at}: has no effect with selection.rule=last"
    elif cfg["objective"]["name"] in OBJECTIVES and not adapts(cfg):
        yield f"{at}: has no effect with objective={cfg['objective']['name']} here, which reads the target's labels"


def adapts(cfg: Mapping[str, Any]) -> bool:
    """Tell whether a run reads no label of the target, its objective being one of ours."""
    given = cfg["objective"]["name"]
    said = attributes("objectives", given)[class_name(given)] if given in OBJECTIVES else {}
    return bool(said.get("adapts")) and not _at_once(cfg) and len(with_data(cfg)) == 2


def _check_loading(cfg: Mapping[str, Any]) -> Iterator[str]:
    options = cfg["datamodule"]
    for key in ("prefetch_factor", "persistent_workers"):
        if options.get(key) and not options["num_workers"]:
            yield f"datamodule.{key}={plain(options[key])}: has no effect with datamodule.num_workers=0"


def _check_metric(cfg: Mapping[str, Any]) -> Iterator[str]:
    given, said_twice = cfg["optimized_metric"], cfg["optimize_on_test"]
    if given is not None and given.startswith("test/") and not said_twice:
        why = "the test set is not for choosing; leave it out, or say optimize_on_test=true too"
        yield f"optimized_metric={given}: {why}"
        return
    if said_twice and not (given or "").startswith("test/"):
        yield f"optimize_on_test=true: has no effect with optimized_metric={plain(given)}, which is not of the test set"
    if given is None or any(cfg[role]["kind"] not in METRICS for role in with_data(cfg)):
        return
    allowed = [f"val/target/{selection_metric(cfg)}"]
    inputs = _read_by(cfg["backbone"])
    alone = [f"{name}_alone/" for name in inputs] if len(inputs) > 1 else []
    for role in with_data(cfg)[::-1]:
        allowed += [f"test/{role}/{which}{metric}" for which in ("", *alone) for metric in METRICS[cfg[role]["kind"]]]
    if cfg["datamodule"]["mode"] == "merged":
        allowed += [f"test/{UNION}/{metric}" for metric in METRICS[cfg["target"]["kind"]]]
    if given not in allowed:
        yield f"optimized_metric={given}: {near(given, allowed)}allowed: {', '.join(allowed)}"
