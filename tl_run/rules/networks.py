"""Which backbone goes with which samples, and what a finetuning may freeze."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from tl_modules.cube import BASELINES, BY_NAME, SCRATCH
from tl_run.baselines import frozen_kinds
from tl_run.messages import plain
from tl_run.options import BACKBONES, NEED_MAPS, NETWORKS, READ_TEXTS, WITHOUT_MAPS
from tl_run.rules.facts import PLURAL, at_once, inputs_of, read_by, with_data


def check_backbones(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yield where a backbone cannot read the samples, or lacks the maps that a head needs."""
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
        reads, there = read_by(given), inputs_of(node)
        if reads and there and not set(reads) & set(there):
            allowed = ", ".join([*(READ_TEXTS if "text" in there else maps), "document"])
            what = f"reads {PLURAL[reads[0]]}, but {role}={node['name']} has {PLURAL[there[0]]}"
            yield f"{where}={backbone}: {what}; allowed: {allowed}"


def check_tokenizer(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yield where a transformer cannot be made."""
    if cfg["backbone"]["name"] != "transformer":
        return
    if find_spec("tokenizers") is None:
        yield 'backbone=transformer: the tokenizers library is not installed; pip install -e ".[text]"'
    width, heads = (cfg["backbone"].get(key) for key in ("width", "heads"))
    if width and heads and width % heads:
        yield f"backbone.heads={heads}: must divide backbone.width={width}"


def check_finetuning(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yield where a finetuning has no effect, or leaves nothing that learns."""
    name, node = cfg["cell"]["name"], cfg["finetuning"]
    if node is None:
        if not at_once(cfg) and (name in BY_NAME or name in BASELINES) and name != SCRATCH:
            yield f"finetuning=null: {name} needs one; allowed: full, linear_probe"
        return
    if name == SCRATCH or at_once(cfg):
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


def check_normalisation(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yield where statistics per role have no meaning."""
    name, given = cfg["cell"]["name"], cfg["cell"].get("normalisation", "auto")
    if given == "auto" or name not in (*BY_NAME, *BASELINES):
        return
    alone = name in BASELINES or name == "parallel_training"
    if alone or len(with_data(cfg)) == 1:
        where = name if alone else f"{name} with dataset@source={cfg['source']['name']}"
        yield f"cell.normalisation={given}: has no effect in {where}, where no part is shared"
