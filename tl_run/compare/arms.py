"""The arms of a comparison, each a small file in `conf/arm/` or in `arm/` of a folder of one's own; no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf
from pydantic import Field, ValidationError

from tl_modules.cube import BASELINES, BY_NAME
from tl_modules.discovery import attributes, class_name, names_in
from tl_run.baselines import backbone_of, until_plateau, weights_in
from tl_run.derive import Group
from tl_run.messages import near
from tl_run.options import PRETRAINED, SECOND_INPUT
from tl_run.schema import ConfigError

GROUP = "arm"
BASELINE, PLATEAU = "scratch", "plateau"
Relation = Literal["same", "different"]
IN_WORDS = {"same": "the same"}
Source = Literal["data", "weights", "input"]
WORDS = {
    "source": "needs a source that is {wanted}, and {name} is {found}",
    "task": "needs tasks that are {wanted}, and those of source and target are {found}",
    "kind": "needs kinds of task that are {wanted}, and those of source and target are {found}",
    "weights": "needs pretrained weights: backbone.weights=",
}


class Needs(Group):
    """What an arm needs; what is not said does not matter.

    Attributes:
        source: What the source may be: `data`, `weights` in their place, or the target's second `input`.
        task: Whether source and target must have the same task (name and kind), or different ones.
        kind: The same for the kind of the task alone.
        weights: True where the backbone must have pretrained weights.
    """

    source: Source | list[Source] | None = None
    task: Relation | None = None
    kind: Relation | None = None
    weights: Literal[True] | None = None


class Arm(Group):
    """One way in a comparison.

    Attributes:
        name: The file's name.
        says: What it does, in a line.
        needs: What it needs.
        overrides: The options of `train.py` that make it.
        asked: Whether it runs only where `compare.arms=` names it.
    """

    name: str
    says: str = Field(min_length=1)
    needs: Needs
    overrides: list[str] = Field(min_length=1)
    asked: bool = False


def longer(baseline: Arm, steps: int, validations: int) -> Arm:
    """Return the arm that trains a baseline until nothing gets better.

    Args:
        baseline: The baseline.
        steps: Its budget.
        validations: How often it is validated.
    """
    overrides = [*baseline.overrides, "epochs=null", *until_plateau(steps, validations)]
    says = f"{baseline.name} until nothing gets better"
    return Arm(name=f"{baseline.name}_{PLATEAU}", says=says, needs=Needs(), overrides=overrides)


def read_arms(places: Iterable[Path]) -> dict[str, Arm]:
    """Return all arms by name: the baseline first, and a file of a later place in the stead of one of the same name.

    Args:
        places: The folders of configuration files.

    Raises:
        ConfigError: If a file is no arm.
    """
    paths = {path.stem: path for place in places for path in sorted((place / GROUP).glob("*.yaml"))}
    names = sorted(paths, key=lambda name: (name != BASELINE, name not in BASELINES, name))
    return {name: _read(paths[name]) for name in names}


def _read(path: Path) -> Arm:
    try:
        content: Any = OmegaConf.to_container(OmegaConf.load(path))
    except Exception as error:  # YAML may fail in any way
        raise ConfigError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must be a mapping with says, needs and overrides")
    try:
        return Arm(name=path.stem, **content)
    except (ValidationError, TypeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{path}: {where}{': ' if where else ''}{first['msg']}") from error


def chosen_arms(arms: Mapping[str, Arm], names: Sequence[str] | None) -> list[Arm]:
    """Return the arms that were asked for, in the order of all; the baseline is always one of them.

    Args:
        arms: All arms.
        names: Those asked for; None for all but those that have to be asked for.

    Raises:
        ConfigError: If there is no such arm.
    """
    for name in names or ():
        if name not in arms:
            raise ConfigError(f"compare.arms={name}: {near(name, arms)}allowed: {', '.join(arms)}")
    wanted = [name for name, arm in arms.items() if not arm.asked] if names is None else [*names, BASELINE]
    return [arm for name, arm in arms.items() if name in wanted]


def reads_no_label(arm: Arm) -> bool:
    """Tell whether an arm learns its target without labels: one after the other, with an objective that adapts."""
    said = dict(one.lstrip("+").partition("=")[::2] for one in arm.overrides)
    objective, cell = said.get("objective", ""), BY_NAME.get(said.get("cell", ""))
    if cell is None or not (cell.sequential and cell.same_task) or objective not in names_in("objectives"):
        return False
    return bool(attributes("objectives", objective)[class_name(objective)].get("adapts"))


def unmet(needs: Needs, cfg: Mapping[str, Any]) -> str | None:
    """Return what an arm needs and a configuration has not; None where it has all.

    Args:
        needs: What the arm needs.
        cfg: The arm's composed configuration, as plain values.
    """
    source, target = cfg["source"], cfg["target"]
    path, backbone = backbone_of(cfg)
    same_kind = source["kind"] == target["kind"]
    same_task = same_kind and source["task"] == target["task"]
    stands = {PRETRAINED: "weights", SECOND_INPUT: "input"}
    found = {
        "source": stands.get(source["_target_"], "data"),
        "task": "same" if same_task else "different",
        "kind": "same" if same_kind else "different",
        "weights": bool(weights_in(path, backbone)),
    }
    for what, wanted in needs.model_dump(exclude_none=True).items():
        allowed = wanted if isinstance(wanted, list) else [wanted]
        if found[what] not in allowed:
            return WORDS[what].format(
                wanted=" or ".join(IN_WORDS.get(str(one), str(one)) for one in allowed),
                found=IN_WORDS.get(str(found[what]), found[what]),
                name=source["name"],
            )
    return None


def check_unlabelled(rule: str | None, asked: Iterable[Arm]) -> None:
    """Refuse a rule of choosing without labels where no arm needs one.

    Args:
        rule: The rule; None for none.
        asked: The arms that were asked for.

    Raises:
        ConfigError: If it would do nothing.
    """
    if rule is not None and not any(reads_no_label(arm) for arm in asked):
        raise ConfigError(f"compare.without_labels={rule}: has no effect, since all arms read the target's labels")
