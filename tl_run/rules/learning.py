"""Where steps, shares, weights and objectives would have no effect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from tl_modules.cube import BASELINES, BY_NAME
from tl_modules.discovery import attributes, class_name, kinds
from tl_modules.stages import SOURCE_SHARE
from tl_modules.task import ABSENT
from tl_run.baselines import frozen_kinds
from tl_run.messages import plain
from tl_run.options import FINETUNINGS, METRICS, OBJECTIVES
from tl_run.rules.facts import at_once, is_pretrained, roles_of, with_data


def check_budget(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yield where steps, epochs and patience contradict each other."""
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
    if steps == 1 and cfg["source_checkpoint"] is None and cfg["cell"]["name"] not in BASELINES and not at_once(cfg):
        yield f"steps=1: must be at least 2, one for each of the stages of {cfg['cell']['name']}"


def check_shares(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yield where shares, weights and what goes with them have no effect."""
    name, mode = cfg["cell"]["name"], cfg["datamodule"]["mode"]
    share, batch = cfg["cell"]["source_share"], cfg["datamodule"]["source_share"]
    if batch is not None and mode != "merged":
        given = f"datamodule.source_share={plain(batch)}"
        yield f"{given}: has no effect with datamodule.mode={mode}; it needs mode=merged"
    none = is_pretrained(cfg) or cfg["source_checkpoint"] is not None or name in BASELINES or at_once(cfg)
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
    alone = name in BASELINES or at_once(cfg) or len(with_data(cfg)) == 1
    if replay and alone and (name in BY_NAME or name in BASELINES):
        yield f"cell.replay={plain(replay)}: has no effect in this run of {name}, which has no stage after a source's"
    if cosine and (name in BASELINES or name == "parallel_training"):
        yield f"cell.gradient_cosine=true: has no effect in {name}, where no trunk is shared"
    elif cosine and name in BY_NAME and (not at_once(cfg) or mode == "merged" or len(with_data(cfg)) == 1):
        why = "by one loss" if mode == "merged" else "one at a time" if not at_once(cfg) else "from one batch's inputs"
        yield f"cell.gradient_cosine=true: has no effect in {name}, which learns its roles {why}"
    elif cosine and mode in ("proportional", "temperature"):
        yield f"cell.gradient_cosine=true: has no effect with datamodule.mode={mode}, where a step has one role"
    for role in roles_of(cfg):
        weight = cfg[role].get("weight", 1.0)
        if weight == 1 or not (name in BY_NAME or name in BASELINES):
            continue
        if role not in with_data(cfg):
            yield f"{role}.weight={plain(weight)}: has no effect, {role}={cfg[role]['name']} has no loss of its own"
        elif mode == "merged":
            instead = "which learns both roles by one loss; datamodule.source_share says how much of a batch is whose"
            yield f"{role}.weight={plain(weight)}: has no effect in {name}, {instead}"
        elif not at_once(cfg) or len(with_data(cfg)) == 1:
            yield f"{role}.weight={plain(weight)}: has no effect in {name}, which learns one role at a time"


def check_objective(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yield where an objective has no effect, or needs what the run does not have."""
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
    weights = {role: cfg[role].get("weight", 1.0) for role in roles_of(cfg)}
    for role in (role for role, weight in weights.items() if weight != 1 and said.get("weighable") is False):
        yield f"{role}.weight={plain(weights[role])}: has no effect with objective={given}, which takes none"
    stages = cfg["source_checkpoint"] is None and not at_once(cfg)
    if len(with_data(cfg)) < 2:
        yield f"{at} without a source with data" if name not in BASELINES else f"{at}, which learns the target alone"
    elif cfg["datamodule"]["mode"] == "merged":
        yield f"{at}, which learns both roles by one loss"
    elif not at_once(cfg) and not (said.get("adapts") and BY_NAME[name].same_task):
        yield f"{at}, which learns one role at a time"
    elif at_once(cfg) and not said.get("several"):
        yield f"{at}, which reads the target's labels"
    elif said.get("sees") is False and cfg["cell"].get("normalisation") == "per_role":
        yield f"objective={given}: never sees the target, which cell.normalisation=per_role needs to"
    elif said.get("adapts") and not at_once(cfg) and cfg["target"].get("labelled") is not None:
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
