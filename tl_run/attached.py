"""Callbacks, loggers and further options of the Trainer that a configuration asks for; no torch until they are made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_run.derive import MORE, arguments
from tl_run.messages import near, plain

if TYPE_CHECKING:
    from lightning.pytorch import Callback
    from lightning.pytorch.loggers import Logger

AUTO = "auto"
# Names of loggers, with the package that each needs and its class; `metrics.csv` is written in any case.
LOGGERS = {
    "tensorboard": ("tensorboard", "lightning.pytorch.loggers.TensorBoardLogger"),
    "wandb": ("wandb", "lightning.pytorch.loggers.WandbLogger"),
    "mlflow": ("mlflow", "lightning.pytorch.loggers.MLFlowLogger"),
}
CSV = "csv"
# Options of the Trainer that a run says elsewhere, and where.
ELSEWHERE = {
    "max_steps": "steps=",
    "min_steps": "steps=",
    "max_epochs": "epochs=",
    "min_epochs": "epochs=",
    "precision": "precision=",
    "logger": "logger=",
    "callbacks": "callbacks=",
    "gradient_clip_val": "cell.clip=",
    "gradient_clip_algorithm": "cell.clip=",
    "accumulate_grad_batches": "trainer.accumulate=",
    "val_check_interval": "trainer.validations=",
    "check_val_every_n_epoch": "trainer.validations=",
    "enable_progress_bar": "trainer.progress=",
    "default_root_dir": "hydra.run.dir=",
    "use_distributed_sampler": "datamodule.mode=",
    "enable_checkpointing": "selection.rule=",
    "model_registry": "selection.rule=",
    "fast_dev_run": "experiment=quick",
    "limit_test_batches": "nothing: a test on a part of its set is none",
}
# Options under which a run that was stopped and goes on need not equal one that was not.
INEXACT = (
    "max_time",
    "benchmark",
    "strategy",
    "limit_train_batches",
    "overfit_batches",
    "reload_dataloaders_every_n_epochs",
)
# Callbacks that keep what they know in the checkpoint, so that such a run does equal it.
EXACT = (
    "lightning.pytorch.callbacks.EarlyStopping",
    "lightning.pytorch.callbacks.LearningRateMonitor",
    "lightning.pytorch.callbacks.GradientAccumulationScheduler",
    "lightning.pytorch.callbacks.EMAWeightAveraging",
    "tl_run.callbacks.averaging.AveragedWeights",
    "tl_run.callbacks.averaging.MovingAverage",
)


@cache
def trainer_options() -> tuple[str, ...]:
    """Return the names of the Trainer's own options, read from its source."""
    return tuple(arguments("lightning.pytorch.trainer.trainer.Trainer"))


def check_attached(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the further options of the Trainer, the callbacks and the loggers."""
    for key in further(cfg["trainer"]):
        given = f"trainer.{key}={plain(cfg['trainer'][key])}"
        if key in ELSEWHERE:
            yield f"{given}: is said by {ELSEWHERE[key]}"
        elif key == "limit_val_batches" and not cfg["trainer"][key]:
            yield f"{given}: a stage is chosen by its validations; must be more than 0"
        elif key not in trainer_options():
            known = [*known_options(), *(name for name in trainer_options() if name not in ELSEWHERE)]
            yield f"{given}: unknown; {near(key, known)}allowed: {', '.join(dict.fromkeys(known))}"
    callbacks = cfg["callbacks"]
    if callbacks is not None and not isinstance(callbacks, Mapping):
        yield f"callbacks={plain(callbacks)}: must be a mapping by name, each with _target_, the path of its class"
    else:
        for name, node in (callbacks or {}).items():
            yield from _check_made(f"callbacks.{name}", node)
    for one in loggers_of(cfg):
        if isinstance(one, Mapping) and "_target_" in one:
            yield from _check_made("logger", one)
            continue
        name = one.get("name") if isinstance(one, Mapping) else one
        if name != CSV and name not in LOGGERS:
            allowed = ", ".join([CSV, *LOGGERS])
            yield f"logger={plain(name)}: {near(name, LOGGERS)}allowed: {allowed}, or a mapping with _target_"
        elif name != CSV and find_spec(LOGGERS[name][0]) is None:
            yield f"logger={name}: {LOGGERS[name][0]} is not installed; pip install {LOGGERS[name][0]}, or logger=csv"


def loggers_of(cfg: Mapping[str, Any]) -> list[Any]:
    """Return the loggers that a configuration names: one, or a list of several."""
    given = cfg["logger"]
    return list(given) if isinstance(given, list | tuple) else [given]


def known_options() -> tuple[str, ...]:
    """Return the options of the group `trainer` that are ours."""
    from tl_run.options import TrainerOptions

    return tuple(TrainerOptions.model_fields)


def further(trainer: Mapping[str, Any]) -> list[str]:
    """Return which of the group's options are the Trainer's own."""
    ours = known_options()
    return [key for key in trainer if key not in ours]


def remarks(cfg: Mapping[str, Any]) -> list[str]:
    """Return a line for what makes a resumed run differ from one that was not stopped."""
    found = [f"trainer.{key}" for key in further(cfg["trainer"]) if key in INEXACT]
    found += [f"callbacks.{name}" for name, one in (cfg["callbacks"] or {}).items() if one["_target_"] not in EXACT]
    said = "a run that is stopped and goes on may differ from one that was not"
    return [f"{', '.join(found)}: {said}"] if found else []


def callbacks_of(cfg: Mapping[str, Any], monitor: tuple[str, str]) -> list[Callback]:
    """Return a stage's callbacks; an option `auto` for `monitor` or `mode` is the stage's own.

    Args:
        cfg: The composed configuration.
        monitor: The metric that the stage is chosen by, and `max` or `min`.

    Raises:
        ValueError: If a class is no callback, or refuses its options.
    """
    from lightning.pytorch import Callback

    made = []
    for name, node in (cfg["callbacks"] or {}).items():
        options = dict(node)
        for key, value in (("monitor", monitor[0]), ("mode", monitor[1])):
            if options.get(key) == AUTO:
                options[key] = value
        made.append(_made(f"callbacks.{name}", options, Callback))
    return made


def loggers_for(cfg: Mapping[str, Any], folder: Path, stage: str) -> list[Logger]:
    """Return a stage's loggers beside `metrics.csv`.

    Args:
        cfg: The composed configuration.
        folder: The run's folder; where a logger keeps files they are in it.
        stage: The stage's name.

    Raises:
        ValueError: If a class is no logger, or refuses its options.
    """
    from lightning.pytorch.loggers import Logger

    made = []
    for one in loggers_of(cfg):
        options = dict(one) if isinstance(one, Mapping) else {"name": one}
        if options.get("name") == CSV:
            continue
        if "_target_" not in options:
            name = options.pop("name")
            usual: dict[str, Any] = {"name": f"{folder.name}/{stage}", "save_dir": str(folder)}
            if name == "tensorboard":
                usual = {"save_dir": str(folder), "name": "tensorboard", "version": stage}
            elif name == "mlflow":
                usual = {"run_name": f"{folder.name}/{stage}", "save_dir": str(folder / "mlruns")}
            options = {"_target_": LOGGERS[name][1], **usual, **options}
        made.append(_made("logger", options, Logger))
    return made


def _check_made(option: str, node: Any) -> Iterator[str]:
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        yield f"{option}={plain(node)}: must be a mapping with _target_, the path of its class"
    elif node["_target_"].startswith("lightning.") and node["_target_"].endswith(".StochasticWeightAveraging"):
        yield f"{option}: Lightning's counts epochs and has no effect on the checkpoints of a run; use callbacks=swa"
    elif any(isinstance(value, Mapping) and "_target_" in value for value in node.values()):
        yield f"{option}: an option of its own cannot be made by another _target_"
    else:
        try:
            known = arguments(node["_target_"])
        except (ValueError, SyntaxError, OSError):  # such as a name that a package brings from elsewhere
            return
        given = [key for key in node if key != "_target_"]
        for key in given if known and MORE not in known else ():
            if key not in known:
                yield f"{option}.{key}={plain(node[key])}: unknown; {near(key, known)}allowed: {', '.join(known)}"


def _made(option: str, node: Mapping[str, Any], sort: type) -> Any:
    path = str(node["_target_"])
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{option}._target_={path}: cannot be imported ({' '.join(str(error).split())})") from error
    if not (isinstance(found, type) and issubclass(found, sort)):
        raise ValueError(f"{option}._target_={path}: must be a {sort.__name__} of Lightning's")
    try:
        return found(**{key: value for key, value in node.items() if key != "_target_"})
    except Exception as error:  # it may refuse its options in any way
        raise ValueError(f"{option}={plain(node)}: {' '.join(str(error).split())}") from error
