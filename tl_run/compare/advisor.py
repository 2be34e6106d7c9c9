"""What can be told of a comparison's arms before anything is trained: from frozen features and from the data."""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn.functional import one_hot

from datamodules.pair import PairedData, fetch
from tl_modules.batch import by_roles, targets_of
from tl_modules.cube import BASELINES
from tl_modules.heads.rows import rows_by_name
from tl_modules.module import TransferModule
from tl_modules.seeding import generator, seed_of
from tl_modules.stages import split_steps
from tl_modules.task import Task
from tl_modules.weights.files import read_weights
from tl_run.build import PARALLEL, build_data, build_module, check_kinds
from tl_run.check_data import prepare
from tl_run.compare.arms import BASELINE
from tl_run.compare.plan import Plan, said_of
from tl_run.compare.scores import cross_validated, h_score, leep, log_evidence, nearest, ridge, scaled, told_apart
from tl_run.defaults import pretrained
from tl_run.folder import write_json
from tl_run.own import import_own
from tl_run.report.advice import NAME, SCHEMA, read_advice, said_of_record, track_record
from tl_run.rules.facts import is_pretrained, is_second_input
from tl_run.runner import quiet
from tl_run.store import WEIGHTS, Store, address

MOST, BATCH = 2000, 64  # samples of a role that are looked at; at once
RANDOM, GIVEN = "random weights", "the weights given"
# A fixed order, whatever the data: what goes on with all of a network that knows something first, then both at once,
# then what reads no label of the target, heads alone, and the target alone from nothing last. Arms that it does not
# name come before the baseline, by name.
FIXED = (
    *("finetune", "task_finetuning", "domain_adaptation", "lp_ft", "l2_sp", "wise_ft", "layerwise_decay"),
    *("gradual_unfreezing", "lora", "task_adaptation_full", "multitask", "uncertainty", "geometric_mean", "random"),
    *("upgrad", "mgda", "dataset_merging", "weight_sharing", "modality_transfer", "information_maximisation", "mcc"),
    *("dann", "coral", "adabn", "source_only", "linear_probe", "probe", "task_adaptation"),
)
RIDGE, ALONE, LEAST = "ridge", "ridge without the source", 1e-6
ONE_TARGET = ("classification", "multilabel", "regression")


class Seen(NamedTuple):
    """Samples as a frozen network sees them.

    Args:
        features: `(N, D)`, float64.
        targets: `(N, K)`, of classes a column each; None for a kind whose samples have no one target.
        outputs: What the role's head predicts, `(N, Z)`; None where it was not asked.
    """

    features: Tensor
    targets: Tensor | None
    outputs: Tensor | None = None


@dataclass
class Found:
    """What is known of the features that arms start from.

    Attributes:
        says: Which features these are.
        scores: What is defined, by name.
        undefined: What is not, each with why.
        before: The features that the source was added to, where a stand-in says what it adds.
    """

    says: str
    scores: dict[str, float] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)
    before: str | None = None

    def note(self, name: str, score: Callable[[], float]) -> None:
        """Compute a score, or keep why it is not defined."""
        try:
            self.scores[name] = score()
        except ValueError as error:
            self.undefined[name] = str(error)


class Ready(NamedTuple):
    """An arm's data and module, as a run of it would begin."""

    config: dict[str, Any]
    data: PairedData
    module: TransferModule


def start_of(cfg: Mapping[str, Any]) -> str | None:
    """Return what an arm's target starts from; None for the null control, which is `scratch` by another name.

    Args:
        cfg: The arm's checked configuration.
    """
    name = cfg["cell"]["name"]
    if name == PARALLEL:
        return None
    if name in BASELINES or is_pretrained(cfg) or is_second_input(cfg):
        return GIVEN if pretrained(OmegaConf.create(dict(cfg))) else RANDOM
    return f"the source {said_of(cfg['source'])}"


def fixed_order(arms: Sequence[str]) -> list[str]:
    """Return arms in the order of the fixed list.

    Args:
        arms: Their names.
    """
    known = {name: place for place, name in enumerate(FIXED)}
    return sorted(arms, key=lambda name: (name == BASELINE, known.get(name, len(known)), name))


def expected_order(arms: Mapping[str, float | None]) -> list[str]:
    """Return arms by the score of what they start from; those that agree to a hundredth as the fixed list has them.

    Args:
        arms: That score by arm; where one is not known, the order is the fixed list's.
    """
    fixed = fixed_order(list(arms))
    known = {name: score for name, score in arms.items() if score is not None}
    return fixed if len(known) < len(arms) else sorted(fixed, key=lambda name: -round(known[name], 2))


def advise(plan: Plan, folder: Path, rates: Sequence[float], afterwards: bool) -> list[str]:
    """Say what order of the arms is expected, and keep it beside the comparison; what was said once stays.

    Args:
        plan: The arms that can run.
        folder: The comparison's folder.
        rates: The grid of rates, for one of which the source's stage may be in the store.
        afterwards: Whether all runs are over already.

    Returns:
        What to print.
    """
    said = read_advice(folder)
    if said is None:
        said = {"schema": SCHEMA, "afterwards": afterwards, **foretold(plan, rates)}
        write_json(folder / NAME, said)
    return [*said["lines"], *said_of_record(track_record(folder.parent, folder))]


def foretold(plan: Plan, rates: Sequence[float]) -> dict[str, Any]:
    """Return what can be told of the arms: scores, facts on the data, the order, and all of it in lines.

    Args:
        plan: The arms that can run.
        rates: See `advise`.
    """
    quiet()
    starts = {arm.name: start_of(cfg) for arm, cfg, _ in plan.arms}
    order = [name for name in starts.values() if name is not None]
    made: dict[str, Found] = {}
    facts: list[str] = []
    for start in sorted(dict.fromkeys(order), key=lambda one: (one != RANDOM, one != GIVEN)):
        found = made[start] = Found(start)
        configs = [cfg for arm, cfg, _ in plan.arms if starts[arm.name] == start]
        try:
            with tempfile.TemporaryDirectory() as place:
                ready = _ready(_plainest(configs), Path(place))
                if start in (RANDOM, GIVEN):
                    _of_target(found, facts, ready)
                else:
                    _of_source(found, facts, ready, rates)
        except Exception as error:  # whatever a class of one's own raises; the comparison goes on without
            found.undefined["all"] = f"{type(error).__name__}: {' '.join(str(error).split())}"
    by_arm = {name: expected(made, start) for name, start in starts.items() if start is not None}
    return {
        "order": expected_order(by_arm),
        "fixed": fixed_order(list(by_arm)),
        "scores": {one.says: one.scores for one in made.values()},
        "facts": facts,
        "lines": _lines(made.values(), facts, by_arm),
    }


def expected(made: Mapping[str, Found], start: str) -> float | None:
    """Return the ridge score of what arms start from; None where it is not known.

    A stand-in tells what a source adds to the features that the target has without it, since it may see them by another
    random network; one that cannot be told adds nothing.

    Args:
        made: What is known, by start.
        start: What the arms start from.
    """
    found = made[start]
    score = found.scores.get(RIDGE)
    base = made.get(found.before or "")
    if base is None or RIDGE not in base.scores:
        return score
    return base.scores[RIDGE] + (0.0 if score is None else score - found.scores[ALONE])


def _plainest(configs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the configuration of an arm that goes from one stem through one trunk, if there is one."""
    return min(configs, key=lambda cfg: cfg["cell"]["name"] in ("modality_transfer", "weight_sharing"))


def _ready(config: Mapping[str, Any], place: Path) -> Ready:
    cfg = dict(config)
    import_own(cfg)
    data = build_data(cfg)
    prepare(data, place)
    check_kinds(cfg, data)
    module = build_module(cfg, data)
    on_gpu = torch.cuda.is_available() and cfg["trainer"]["accelerator"] != "cpu"
    return Ready(cfg, data, module.to("cuda" if on_gpu else "cpu").eval())


def _of_target(found: Found, facts: list[str], ready: Ready) -> None:
    """Score what the target's network knows of the target before it learns."""
    seen = look(ready.module, ready.data, "target", ("train", "val"))
    named = ready.module.parts.report.by_name
    if named:
        facts.append(f"labels that {found.says} know by name: {len(named)} of {len(ready.data.tasks['target'].labels)}")
    _probe(found, seen, ready.data.tasks["target"])


def _of_source(found: Found, facts: list[str], ready: Ready, rates: Sequence[float]) -> None:
    """Score what the source tells of the target: by the network that learned it, else by a stand-in."""
    data, module = ready.data, ready.module
    tasks, source = data.tasks, found.says
    facts += [f"{source}: {line}" for line in _facts(data)]
    trained = _trained(ready, rates)
    before = GIVEN if module.parts.report.loaded else RANDOM
    network = before if trained is None else trained
    given = look(module, data, "source", ("train",))
    seen = look(module, data, "target", ("train", "val"), through="source", outputs=trained is not None)
    try:
        apart = told_apart(given.features, seen.features, generator("advice", "apart"))
        interval = f"95 % interval {apart.low:.3f} to {apart.high:.3f}, {apart.samples} samples; 0.5 is not at all"
        facts.append(
            f"{source}: a classifier on features of {network} tells its samples from the target's with accuracy "
            f"{apart.accuracy:.3f} ({interval})"
        )
    except ValueError as error:
        facts.append(f"{source}: the distance of the domains is not defined ({error})")
    if trained is not None:
        found.says = f"{source} ({trained})"
        _probe(found, seen, tasks["target"])
    else:
        given, seen = (one._replace(features=scaled(one.features, one.features)[0]) for one in (given, seen))
        found.says, found.before = f"{source} (a stand-in on features of {before})", before
        _stand_in(found, given, seen, tasks)
    kinds = {task.kind for task in tasks.values()}
    if kinds != {"classification"}:
        found.undefined["LEEP"] = "it is for classes of both roles"
    elif given.targets is not None and seen.targets is not None:
        model = ridge(given.features, given.targets, seen.features) if seen.outputs is None else seen.outputs
        chances = model.clamp(min=LEAST) / model.clamp(min=LEAST).sum(1, keepdim=True)
        labels = seen.targets.argmax(1)
        found.note("LEEP", lambda: leep(chances, labels))


def _probe(found: Found, seen: Seen, task: Task) -> None:
    """Score features of the target."""
    targets = seen.targets
    if targets is None:
        for name in ("k-NN", RIDGE, "LogME", "H-score"):
            found.undefined[name] = f"a sample of {task.kind} has no one target"
        return
    classes = task.kind == "classification"
    for name, predict in (("k-NN", nearest), (RIDGE, ridge)):
        found.note(name, _validated(seen.features, targets, predict, classes))
    found.note("LogME", lambda: log_evidence(seen.features, targets))
    if classes:
        found.note("H-score", lambda: h_score(seen.features, targets.argmax(1)))
    else:
        found.undefined["H-score"] = "it is for classes"


def _stand_in(found: Found, given: Seen, seen: Seen, tasks: Mapping[str, Task]) -> None:
    """Score the source without a network that learned it, by a ridge regression on its features.

    Either domain's features are scaled by its own mean and deviation, as networks normalise that are adapted (Li 2016).
    Where both have the same labels, the target's is learned from the source's samples too; else it gets what one of the
    source says of the target as further features.
    """
    if seen.targets is None or given.targets is None:
        kind = tasks["target" if seen.targets is None else "source"].kind
        found.undefined[RIDGE] = f"a sample of {kind} has no one target"
        return
    classes = tasks["target"].kind == "classification"
    source, target = tasks["source"], tasks["target"]
    found.note(ALONE, _validated(seen.features, seen.targets, ridge, classes))
    if target.labels and source.same_labels(target):
        columns = [source.labels.index(name) for name in target.labels]
        more = given.features, given.targets[:, columns]
        found.note(RIDGE, _validated(seen.features, seen.targets, ridge, classes, more))
    else:
        told = ridge(given.features, given.targets, seen.features)
        found.note(RIDGE, _validated(torch.cat([seen.features, told], 1), seen.targets, ridge, classes))


def _validated(
    features: Tensor, targets: Tensor, predict: Any, classes: bool, more: tuple[Tensor, Tensor] | None = None
) -> Callable[[], float]:
    def score() -> float:
        if len(features) < 10:
            raise ValueError(f"{len(features)} samples are too few")
        return cross_validated(features, targets, predict, classes, generator("advice", "folds"), more)

    return score


def _trained(ready: Ready, rates: Sequence[float]) -> str | None:
    """Let the module have the network that learned the source, if it is at hand; return what it is called."""
    cfg, data, module = ready
    given = cfg["source_checkpoint"]
    if given is not None:
        module.plant(read_weights(Path(given)))
        return f"its network, {given}"
    first = module.plan[0]
    if first.roles != ("source",) or not cfg["store"]["gigabytes"]:
        return None
    every = cfg["steps"] or cfg["epochs"] * data.epoch_steps
    module.enter(first.name)
    steps = split_steps(every, module.plan)[0]
    for rate in (cfg["cell"]["lr"], *rates):
        key = address({**cfg, "cell": {**cfg["cell"], "lr": rate}}, data, module, first, steps)
        held = None if key is None else Store.there(key)
        if held is not None:
            weights = torch.load(io.BytesIO(held.files[WEIGHTS]), map_location="cpu", weights_only=True)
            module.plant(weights, "source", "source")
            return "its network, which the store has"
    return None


def _facts(data: PairedData) -> list[str]:
    """Return what the data tell of source and target."""
    source, target = data.tasks["source"], data.tasks["target"]
    lines = []
    if target.labels:
        known = len(rows_by_name(target.labels, source.labels, folded=True))
        lines.append(f"labels of the target that the source has: {known} of {len(target.labels)}")
    found = data.overlaps or {"rule": "allow", "found": {}}
    counts = ", ".join(f"{count} in {split}" for split, count in found["found"].items()) or "none"
    lines.append(
        f"samples of the target's test or validation that the source holds: {counts} (overlap={found['rule']})"
    )
    return lines


@torch.no_grad()
def look(
    module: TransferModule,
    data: PairedData,
    role: str,
    splits: Sequence[str],
    through: str | None = None,
    outputs: bool = False,
) -> Seen:
    """Return samples as a frozen network sees them; of more than 2000 some that only their number decides on.

    Args:
        module: The module, in evaluation mode.
        data: Its data.
        role: Whose samples.
        splits: Of which splits; of the target, train and validation.
        through: The role whose network sees them; their own by default.
        outputs: Whether that role's head is asked too.
    """
    task, through = data.tasks[role], through or role
    places = [(split, row) for split in splits for row in range(len(data.split(role, split)))]
    if len(places) > MOST:
        chosen = torch.randperm(len(places), generator=generator("advice", role, len(places)))[:MOST]
        places = [places[row] for row in sorted(chosen.tolist())]
    features, targets, told = [], [], []
    for split in splits:
        rows = [row for name, row in places if name == split]
        for few in (rows[start : start + BATCH] for start in range(0, len(rows), BATCH)):
            seeds = [seed_of("advice", role, split, row) for row in few]
            raw = fetch(data.split(role, split), few, task, seeds)
            batch = by_roles({key: _on(value, module.device) for key, value in raw.items()}, role, data.tasks)[role]
            found = targets_of(batch, task, task.key)
            one = module.features(batch, through)
            if found is not None and found[1] is not None:
                one = one.take(found[1])
            if found is None and role == "target":
                continue
            features.append(one.pooled.double().cpu())
            if task.kind in ONE_TARGET and found is not None:
                targets.append(found[0][task.key].cpu())
            if outputs:
                head: Any = module.head(through)
                told.append(head.predict(head(one)).double().cpu())
    seen = torch.cat(features)
    columns = _columns(torch.cat(targets), task) if targets and sum(map(len, targets)) == len(seen) else None
    if columns is None:
        return Seen(seen, None, torch.cat(told) if told else None)
    known = (columns.isfinite() & (columns >= (0 if task.kind == "multilabel" else -math.inf))).all(1)  # -1: not told
    return Seen(seen[known], columns[known], torch.cat(told)[known] if told else None)


def _columns(targets: Tensor, task: Task) -> Tensor:
    if task.kind == "classification":
        return one_hot(targets.long(), len(task.labels)).double()
    return targets.double().reshape(len(targets), -1)


def _on(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value


def _lines(made: Iterable[Found], facts: Sequence[str], by_arm: Mapping[str, float | None]) -> list[str]:
    """Return advice in lines."""
    lines = []
    for one in made:
        shown = ", ".join(f"{name} {score:.3f}" for name, score in one.scores.items())
        lines.append(f"{one.says}: {shown or 'nothing is defined'}")
        by_why: dict[str, list[str]] = {}
        for name, why in one.undefined.items():
            by_why.setdefault(why, []).append(name)
        lines += [f"  not defined: {', '.join(names)} ({why})" for why, names in by_why.items()]
    lines += facts
    if None in by_arm.values():
        lines.append("no order can be foretold, and the fixed list stands for it")
    else:
        ranked = ", ".join(f"{name} {by_arm[name]:.3f}" for name in expected_order(by_arm))
        lines.append(f"expected order, by the ridge score of what an arm starts from: {ranked}")
    return [*lines, f"the fixed list: {', '.join(fixed_order(list(by_arm)))}"]
