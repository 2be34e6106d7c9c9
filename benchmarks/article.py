"""The article's eight examples on public data: `python benchmarks/article.py --data-root <folder>`.

For each `experiment=article/<cell>`: the recipe itself, a linear probe on frozen pretrained features, one on frozen
random features, and the target from random weights on the same budget, whose learning rate is chosen on validation;
beside these, what an example's own question needs. Writes `docs/article.md`. Runs that are finished are not repeated,
unfinished ones go on, so the command can be stopped at any time.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

Config = dict[str, Any]
Change = Callable[[Config, Path], None]
ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "article.md"
GRID = (0.3, 1.0, 3.0, 10.0)  # times the recipe's learning rate, tried with the first seed
T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
TESTS = {"half": ", one input missing from half of the test set", "usps": ""}  # on the page, after the arm
SETTLING = 20  # batches that BatchNorm's statistics of random networks are of
IMAGENET = "weights/mobilenet_v2_tf2ptq-bd4cb33c.pth"


class Arm(NamedTuple):
    """One way to train for an example's target.

    Args:
        says: What it is, for the page.
        change: Changes the recipe's configuration; gets the data's folder.
        grid: Whether its learning rate is chosen on validation.
        start: Weights that a probe starts from: `untrained`, or a file below the data's folder.
        metric: The metric that counts where it is not the example's.
        tests: Other test sets that its checkpoint is tried on, by name: changes of the configuration.
    """

    says: str
    change: Change
    grid: bool = False
    start: str | None = None
    metric: str | None = None
    tests: Mapping[str, Change] = {}


class Example(NamedTuple):
    """One of the eight.

    Args:
        title: What is learned from what.
        metric: The target's test metric.
        arms: By name; `transfer` is the recipe.
        aims: What was hoped for: a text, and a function from the results to whether it came true and the figures.
        seeds: How many seeds, more where the differences are small and the runs short.
    """

    title: str
    metric: str
    arms: Mapping[str, Arm]
    aims: Sequence[tuple[str, Callable[[Results], tuple[bool, str]]]]
    seeds: int = 3


class Results:
    """What the runs of an example gave.

    Args:
        example: The example.
        found: Results by arm, each a list over seeds.
    """

    def __init__(self, example: Example, found: Mapping[str, list[dict[str, Any]]]) -> None:
        self.example, self.found = example, dict(found)

    def values(self, arm: str, metric: str | None = None, test: str | None = None) -> list[float]:
        """Return a test metric over the seeds, of another test set where one is named."""
        name = metric or self.example.arms[arm].metric or self.example.metric
        return [(run["tests"][test] if test else run["test"])[name] for run in self.found[arm]]

    def mean(self, arm: str, metric: str | None = None, test: str | None = None) -> float:
        """Return its mean."""
        return statistics.fmean(self.values(arm, metric, test))

    def seconds(self, arm: str) -> float:
        """Return the mean CPU seconds of an arm's runs."""
        return statistics.fmean(run["cpu"] for run in self.found[arm])


def interval(differences: Sequence[float]) -> tuple[float, float, float]:
    """Return mean and 95 % interval of paired differences, by Student's t."""
    mean, count = statistics.fmean(differences), len(differences)
    half = T95[count] * statistics.stdev(differences) / math.sqrt(count) if count > 1 else math.inf
    return mean, mean - half, mean + half


def recipe(config: Config, root: Path) -> None:
    """Leave the recipe as it is."""


def without_source(config: Config, root: Path, weights: bool = False) -> None:
    """Train the target alone, from random weights unless the recipe has some and these are kept."""
    from tl_modules.run.baselines import weights_in

    if not weights:
        forget(config["backbone"])
    name = "finetune" if weights_in("backbone", config["backbone"]) else "scratch"
    config["cell"] |= {"_target_": "tl_modules.TransferModule", "name": name}
    config["finetuning"] = {"name": "full", "freeze": [], "lr": {}} if name == "finetune" else None
    config["datamodule"]["mode"] = "sequential"


def forget(backbone: Config) -> None:
    """Take the weights out of a backbone's options and of its encoders'."""
    if "weights" in backbone:
        backbone["weights"] = None
    for encoder in backbone.get("encoders", {}).values():
        if isinstance(encoder, dict):
            forget(encoder)


def random_features(config: Config, root: Path) -> None:
    """Forget all weights; the arm's start is what they are drawn as."""
    forget(config["backbone"])


def probe(config: Config, weights: Path) -> None:
    """Train a linear head on a backbone that is kept as some weights have it."""
    target = config["target"]
    config["cell"] |= {"_target_": "tl_modules.TaskFineTuning", "name": "task_finetuning"}
    config["finetuning"] = {"name": "linear_probe", "freeze": ["stem", "trunk"], "lr": {"head": 10.0}}
    config["datamodule"]["mode"] = "sequential"
    same = {key: target[key] for key in ("kind", "task", "domain")}
    made = {"_target_": "datamodules.pretrained.Pretrained", "_convert_": "all", "name": "pretrained"}
    config["source"] = {**made, **same, "weights": str(weights)}
    config["backbone"]["weights"] = None
    target["augment"] = None


def role_alone(config: Config, root: Path, role: str) -> None:
    """Train one role's dataset alone, with the recipe's weights."""
    config["target"] = copy.deepcopy(config[role])
    without_source(config, root, weights=True)


def source_alone(config: Config, root: Path) -> None:
    """Train the source of `parallel_training` without its target."""
    config["cell"]["_target_"] = "benchmarks.source_alone.SourceAlone"


def one_input(config: Config, root: Path, name: str) -> None:
    """Read one input of the documents, without a source."""
    one_encoder(config, root, name)
    without_source(config, root, weights=True)


def one_encoder(config: Config, root: Path, name: str) -> None:
    """Read one input of the documents, in the recipe's cell."""
    config["backbone"]["encoders"] = {name: config["backbone"]["encoders"][name]}


def fewer_labels(config: Config, root: Path, count: int) -> None:
    """Leave some of the target's training samples."""
    config["target"]["train_size"] = count


def half_missing(config: Config, root: Path) -> None:
    """Hide one input of half of the test set."""
    config["target"]["missing"] = {"test": 0.5}


def usps(config: Config, root: Path) -> None:
    """Test on the recipe's own target."""


def mnist_alone(config: Config, root: Path) -> None:
    """Train on the source alone."""
    config["target"] = {**copy.deepcopy(config["source"]), "train_size": None}
    without_source(config, root)


def compared(found: tuple[float, float, float]) -> tuple[bool, str]:
    """Return whether a difference is above zero, and its figures; within its interval it may be luck."""
    mean, low, high = found
    luck = ", so it may be luck" if low <= 0 < mean else ""
    return mean > 0, f"{mean:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}{luck}"


def above(first: str, second: str, test: str | None = None) -> Callable[[Results], tuple[bool, str]]:
    """Return a check that the first arm is better than the second, with the interval of the difference."""

    def check(results: Results) -> tuple[bool, str]:
        pairs = zip(results.values(first, test=test), results.values(second, test=test), strict=True)
        return compared(interval([a - b for a, b in pairs]))

    return check


def at_least(arm: str, value: float) -> Callable[[Results], tuple[bool, str]]:
    """Return a check that an arm's mean reaches a value."""
    return lambda results: (results.mean(arm) >= value, f"{results.mean(arm):.3f}")


def times(first: str, second: str, factor: float) -> Callable[[Results], tuple[bool, str]]:
    """Return a check that an arm is so many times as good as another."""

    def check(results: Results) -> tuple[bool, str]:
        a, b = results.mean(first), results.mean(second)
        return a >= factor * b, f"{a:.3f} against {b:.3f}" + (f", {a / b:.1f} times" if b > 0.005 else "")

    return check


def joint(results: Results, test: str | None) -> tuple[bool, str]:
    """Compare documents read whole with the better single input."""
    better = max(("image", "text"), key=lambda arm: results.mean(arm, test=test))
    pairs = zip(results.values("transfer", test=test), results.values(better, test=test), strict=True)
    mean, low, high = interval([a - b for a, b in pairs])
    good = mean >= 0 if test is None else low > 0
    return good, f"{mean:+.3f} against {better} alone, 95 % interval {low:+.3f} to {high:+.3f}"


def content(results: Results) -> tuple[bool, str]:
    """Compare pages read whole with the better single input, at the source's task."""
    metric = "source/accuracy"
    better = max(("image", "text"), key=lambda arm: results.mean(arm, metric))
    pairs = zip(results.values("transfer", metric), results.values(better, metric), strict=True)
    good, figures = compared(interval([a - b for a, b in pairs]))
    return good, f"against {better} alone {figures}"


def one_model(results: Results) -> tuple[bool, str]:
    """Compare one model for two tasks with one for each."""
    tasks = {"target": "target/map50", "source": "source/miou"}
    changes = []
    for role, metric in tasks.items():
        alone = results.mean(f"{role}_alone", metric.replace("source/", "target/"))
        changes.append((results.mean("transfer", metric) - alone) / alone)
    mean = statistics.fmean(changes)
    shown = ", ".join(f"{role} {change:+.1%}" for role, change in zip(tasks, changes, strict=True))
    return mean >= -0.02, f"mean relative change {mean:+.1%} ({shown})"


def one_cost(results: Results) -> tuple[bool, str]:
    """Compare the time of one model for two tasks with that of two models."""
    ratio = results.seconds("transfer") / (results.seconds("target_alone") + results.seconds("source_alone"))
    return ratio <= 0.65, f"{ratio:.2f} of their CPU seconds"


def exactly(results: Results) -> tuple[bool, str]:
    """Tell whether two models trained side by side equal each trained alone, digit for digit."""
    pairs = [("target/f1", "target_alone"), ("source/macro_f1", "source_alone")]
    equal = all(results.values("transfer", metric) == results.values(arm, metric) for metric, arm in pairs)
    return equal, "equal in every digit" if equal else "they differ"


SCRATCH = Arm("scratch: the target alone, from random weights", without_source, grid=True)
PRETRAINED = Arm("linear probe on frozen ImageNet features", recipe, start=IMAGENET)
RANDOM = Arm("linear probe on frozen random features", random_features, start="untrained")
RECIPE = Arm("the recipe", recipe)
EXAMPLES: dict[str, Example] = {
    "task_finetuning": Example(
        "ImageNet weights to ants or bees: a linear probe on features computed once",
        "target/accuracy",
        {"transfer": RECIPE, "random": RANDOM, "scratch": SCRATCH},
        [("accuracy 0.96, give or take 0.03 on 153 pictures", at_least("transfer", 0.93))],
    ),
    "domain_adaptation": Example(
        "ImageNet weights to chest X-rays",
        "target/auroc",
        {
            "transfer": RECIPE,
            "probe": PRETRAINED,
            "random": RANDOM,
            "scratch": SCRATCH,
            "transfer_200": Arm("the recipe with 200 labels", partial(fewer_labels, count=200)),
            "probe_200": PRETRAINED._replace(says="the probe with 200 labels", change=partial(fewer_labels, count=200)),
            "transfer_50": Arm("the recipe with 50 labels", partial(fewer_labels, count=50)),
            "probe_50": PRETRAINED._replace(says="the probe with 50 labels", change=partial(fewer_labels, count=50)),
        },
        [
            ("AUROC above 0.935, logistic regression on frozen 65-px features", at_least("transfer", 0.935)),
            ("above the linear probe", above("transfer", "probe")),
            ("above 0.897 with 200 labels, likewise", at_least("transfer_200", 0.897)),
            ("above 0.896 with 50 labels, likewise", at_least("transfer_50", 0.896)),
        ],
    ),
    "task_adaptation": Example(
        "ImageNet weights to boxes of raccoons",
        "target/map50",
        {"transfer": RECIPE, "probe": PRETRAINED, "random": RANDOM, "scratch": SCRATCH},
        [("mAP50 three times scratch's", times("transfer", "scratch", 3))],
    ),
    "modality_transfer": Example(
        "ImageNet weights to boxes of blood cells under a microscope",
        "target/map50",
        {"transfer": RECIPE, "probe": PRETRAINED, "random": RANDOM, "scratch": SCRATCH},
        [
            ("mAP50 of 0.5", at_least("transfer", 0.5)),
            ("mAP50 three times scratch's", times("transfer", "scratch", 3)),
        ],
    ),
    "dataset_merging": Example(
        "MNIST added to 100 labelled digits of USPS",
        "target/accuracy",
        {
            "transfer": RECIPE,
            "probe": Arm("linear probe on frozen features of MNIST", recipe, start="source"),
            "random": RANDOM,
            "scratch": SCRATCH,
            "source": Arm("MNIST alone, tested on USPS", mnist_alone, tests={"usps": usps}),
        },
        [
            ("above USPS alone", above("transfer", "scratch")),
            ("above MNIST alone", lambda results: above_source(results)),
        ],
        seeds=6,
    ),
    "weight_sharing": Example(
        "The text and the picture of a receipt to its supplier",
        "target/accuracy",
        {
            "transfer": Arm("both inputs", recipe, tests={"half": half_missing}),
            "image": Arm("picture alone", partial(one_input, name="image"), tests={"half": half_missing}),
            "text": Arm("text alone", partial(one_input, name="text"), tests={"half": half_missing}),
            "probe": Arm("linear probe on frozen features: picture ImageNet's, text random", recipe, start="untrained"),
            "random": RANDOM,
            "scratch": SCRATCH,
        },
        [
            ("both no worse than the better single input", partial(joint, test=None)),
            ("with one input missing from half of the test set better than either", partial(joint, test="half")),
        ],
    ),
    "multitask": Example(
        "Boxes and segmentation of the street from one pass",
        "target/map50",
        {
            "transfer": RECIPE,
            "target_alone": Arm("boxes alone, ImageNet weights", partial(without_source, weights=True)),
            "source_alone": Arm(
                "segmentation alone, ImageNet weights", partial(role_alone, role="source"), metric="target/miou"
            ),
            "probe": PRETRAINED,
            "random": RANDOM,
            "scratch": SCRATCH,
        },
        [
            ("within 2 % of each single-task model, in the mean over tasks", one_model),
            ("at most 0.65 of the sum of their costs", one_cost),
        ],
    ),
    "pages": Example(
        "What a page is of and whether it starts a document, two tasks at once (the article's weight sharing)",
        "target/accuracy",
        {
            "transfer": RECIPE,
            "image": Arm("both tasks, picture alone", partial(one_encoder, name="image")),
            "text": Arm("both tasks, text alone", partial(one_encoder, name="text")),
        },
        [
            ("both inputs no worse than the better one, where a document starts", partial(joint, test=None)),
            ("both inputs better than the better one, what a page is of", content),
        ],
    ),
    "parallel_training": Example(
        "Content moderation beside spam messages: nothing shared",
        "target/f1",
        {
            "transfer": RECIPE,
            "target_alone": Arm("messages alone", without_source),
            "source_alone": Arm("moderation alone", source_alone, metric="source/macro_f1"),
            "random": RANDOM,
            "scratch": SCRATCH,
        },
        [("both exactly as trained alone", exactly)],
    ),
}


def above_source(results: Results) -> tuple[bool, str]:
    """Compare merging with the source alone."""
    pairs = zip(results.values("transfer"), results.values("source", test="usps"), strict=True)
    return compared(interval([a - b for a, b in pairs]))


def composed(cell: str, root: Path, seed: int) -> Config:
    """Return a recipe's configuration."""
    from hydra import compose, initialize_config_dir

    from tl_modules.run.cli import CONF, CONFIG_NAME, checked

    with initialize_config_dir(str(CONF), version_base="1.3"):
        options = [f"experiment=article/{cell}", f"data_root={root}", f"seed={seed}", "trainer.progress=false"]
        return checked(compose(CONFIG_NAME, options))


def untrained(config: Config, file: Path, settled: bool) -> Path:
    """Write the weights that a configuration's target backbone starts with, once, and return the file.

    Where it is to be settled, the statistics of its BatchNorm are those of training batches: with the initial ones what
    comes out of a deep random network hardly depends on what goes in.
    """
    import torch

    from datamodules.paired import fetch
    from tl_modules.backbones import Backbone
    from tl_modules.run.build import build_data, build_module

    if not file.exists():
        alone = copy.deepcopy(config)
        without_source(alone, file, weights=True)
        data = build_data(alone)
        data.prepare_data()
        data.setup()
        parts = build_module(alone, data).parts
        backbone = Backbone(parts.of("target", "stem"), parts.of("target", "trunk"))  # type: ignore[arg-type]
        dataset, size = data.split("target", "train"), alone["datamodule"]["batch_size"]
        for norm in backbone.modules():
            if settled and isinstance(norm, torch.nn.BatchNorm2d):
                norm.reset_running_stats()
                norm.momentum = None  # the plain mean over the batches: a rest of the initial ones adds up with depth
        with torch.no_grad():
            for i in range(SETTLING if settled else 0):
                rows = [row % len(dataset) for row in range(i * size, (i + 1) * size)]
                backbone.train()(fetch(dataset, rows, data.tasks["target"]))
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(backbone.state_dict(), file)
    return file


def run(cell: str, name: str, seed: int, factor: float, root: Path, runs: Path) -> tuple[str, str, int, float]:
    """Train and test one arm with one seed, unless that is done.

    Args:
        cell: The example.
        name: The arm.
        seed: The seed.
        factor: On the learning rate.
        root: Folder of the data.
        runs: Folder of the runs.
    """
    import torch
    from lightning.pytorch import Trainer

    from tl_modules.run.build import build_data
    from tl_modules.run.folder import write_json
    from tl_modules.run.predicting import load
    from tl_modules.run.runner import execute, quiet
    from tl_modules.run.schema import check

    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // 2))
    arm, folder = EXAMPLES[cell].arms[name], place(runs, cell, name, seed, factor)
    given = composed(cell, root, seed)
    config = copy.deepcopy(given)
    config["cell"]["lr"] *= factor
    arm.change(config, root)
    if arm.start == "untrained":
        random = arm.change is random_features
        probe(config, untrained(config, runs / cell / f"{name}_{seed}.pth", settled=random))
    elif arm.start == "source":
        probe(config, place(runs, cell, "source", seed, 1.0))
    elif arm.start is not None:
        probe(config, root / arm.start)
    check(config)
    if not (folder / "results.json").exists():
        began = time.process_time()
        execute(config, folder)
        write_json(folder / "cpu.json", {"seconds": time.process_time() - began})
    quiet()
    for test, change in arm.tests.items():
        if not (folder / f"test_{test}.json").exists():
            other = copy.deepcopy(given)
            change(other, root)
            without_source(other, root, weights=True)
            data = build_data(other)
            data.prepare_data()
            data.setup()
            trainer = Trainer(logger=False, enable_progress_bar=False, enable_model_summary=False, precision="32")
            tested = trainer.test(load(folder, None), data.whole("test", ["target"]), verbose=False)[0]
            write_json(folder / f"test_{test}.json", {k.removeprefix("test/"): v for k, v in tested.items()})
    return cell, name, seed, factor


def place(runs: Path, cell: str, name: str, seed: int, factor: float) -> Path:
    """Return a run's folder."""
    return runs / cell / f"{name}_x{factor:g}" / str(seed)


def read(folder: Path) -> dict[str, Any] | None:
    """Return a run's results, with those on other test sets, or None if it is not finished."""
    if not (folder / "results.json").exists():
        return None
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    tests = {file.stem.removeprefix("test_"): json.loads(file.read_text()) for file in folder.glob("test_*.json")}
    cpu = json.loads((folder / "cpu.json").read_text())["seconds"] if (folder / "cpu.json").exists() else math.nan
    return {**found, "tests": tests, "cpu": cpu}


def best_factor(runs: Path, cell: str, name: str, seed: int) -> float | None:
    """Return the learning rate's factor with the best validation score, or None if a run is missing."""
    scores = {}
    for factor in GRID:
        found = read(place(runs, cell, name, seed, factor))
        if found is None:
            return None
        scores[factor] = next(iter(found["val"].values()))
    return max(scores, key=lambda factor: (scores[factor], -abs(math.log(factor))))


def table(cell: str, runs: Path) -> list[str]:
    """Return an example's section of the page; arms that are not finished are left out and named."""
    example = EXAMPLES[cell]
    seeds = range(example.seeds)
    found: dict[str, list[dict[str, Any]]] = {}
    unfinished = []
    for name, arm in example.arms.items():
        factor = best_factor(runs, cell, name, seeds[0]) if arm.grid else 1.0
        read_all = [None if factor is None else read(place(runs, cell, name, seed, factor)) for seed in seeds]
        if any(one is None for one in read_all):
            unfinished.append(arm.says)
        else:
            found[name] = [one for one in read_all if one is not None]
    results = Results(example, found)
    lines = [f"## {cell}", "", f"{example.title}. `experiment=article/{cell}`", ""]
    lines += [
        "| | metric | test, mean ± sd | by seed | chosen by | lr | steps | CPU s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, several in found.items():
        arm = example.arms[name]
        metric = arm.metric or example.metric
        rows = [(arm.says, metric, results.values(name))] if "usps" not in arm.tests else []
        rows += [(f"{arm.says}{TESTS[test]}", metric, results.values(name, test=test)) for test in arm.tests]
        other = {"multitask": "source/miou", "parallel_training": "source/macro_f1", "pages": "source/accuracy"}.get(
            cell
        )
        if other is not None and (name == "transfer" or cell == "pages"):
            rows.append((arm.says, other, results.values(name, other)))
        if cell in ("weight_sharing", "pages") and name == "transfer":
            for one in ("image", "text"):
                key = f"target/{one}_alone/accuracy"
                rows.append((f"{arm.says}, given the {one} alone", key, results.values(name, key)))
        last = several[0]
        own = last["selection"].replace("val/", "").replace(" max", "")
        rule = "last step" if own == "last" else f"best {own} on validation"
        spent = results.seconds(name)
        for says, key, values in rows:
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            shown = ", ".join(f"{value:.3f}" for value in values)
            cost = f"{last['lr']:g} | {last['steps']} | {spent:.0f}"
            mean = f"{statistics.fmean(values):.3f} ± {spread:.3f}"
            lines.append(f"| {says} | {key} | {mean} | {shown} | {rule} | {cost} |")
    lines.append("")
    for text, check in example.aims:
        try:
            good, figures = check(results)
        except KeyError:
            lines.append(f"- Aim: {text}. Not yet run.")
            continue
        lines.append(f"- Aim: {text}. **{'Met' if good else 'Missed'}**: {figures}.")
    if unfinished:
        lines.append(f"- Not yet run: {'; '.join(unfinished)}.")
    return [*lines, ""]


def write_page(runs: Path) -> None:
    """Write the page from the runs that are there."""
    head = [
        "# The article's eight examples",
        "",
        "Made by `python benchmarks/article.py --data-root <folder>`; not written by hand. Public data, MobileNetV2",
        "with ImageNet weights where photographs are the source, three seeds or more. All arms of an example have",
        "the same steps, batch size and selection rule. The learning rate of *scratch* is the best on validation of",
        f"{', '.join(map(str, GRID))} times the recipe's, tried with the first seed. CPU seconds are of a whole run,",
        "data, training and test; they mean little but beside each other. Intervals are 95 % by Student's t over the",
        "seeds' paired differences; with three seeds they are wide.",
        "",
    ]
    body = [line for cell in EXAMPLES for line in table(cell, runs)]
    PAGE.write_text("\n".join([*head, *body]).rstrip() + "\n")
    print(f"written: {PAGE}")


def jobs_of(cell: str, runs: Path, second: bool) -> list[tuple[str, str, int, float]]:
    """Return what is to be run: first all that waits for nothing, then what waits for a learning rate or a source."""
    made: list[tuple[str, str, int, float]] = []
    seeds = range(EXAMPLES[cell].seeds)
    for name, arm in EXAMPLES[cell].arms.items():
        if not arm.grid:
            made += [(cell, name, seed, 1.0) for seed in seeds if (arm.start == "source") == second]
        elif not second:
            made += [(cell, name, seeds[0], factor) for factor in GRID]
        else:
            factor = best_factor(runs, cell, name, seeds[0])
            made += [(cell, name, seed, factor) for seed in seeds[1:] if factor is not None]
    return made


def main() -> None:
    """Run what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the public data")
    parser.add_argument("--runs", type=Path, default=Path("outputs/article"), help="folder of the runs")
    parser.add_argument("--only", nargs="+", default=list(EXAMPLES), choices=list(EXAMPLES), help="some examples")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    parser.add_argument("--page-only", action="store_true", help="write the page from what is there")
    given = parser.parse_args()
    runs, root = given.runs.resolve(), given.data_root.resolve()
    todo = [] if given.page_only else [(cell, second) for cell in given.only for second in (False, True)]
    for cell, second in todo:
        jobs = jobs_of(cell, runs, second)
        with ProcessPoolExecutor(given.jobs, multiprocessing.get_context("spawn")) as pool:
            waiting = {pool.submit(run, *job, root, runs): job for job in jobs}
            for done in as_completed(waiting):
                error = done.exception()
                print(f"{' '.join(map(str, waiting[done]))}: {error or 'done'}", flush=True)
        write_page(runs)
    write_page(runs)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
