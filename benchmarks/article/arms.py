"""What is run: the arms of each example, as overrides of its recipe on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

PATIENCE, MOST = 5, 3  # validations without improvement, ten of which are a budget; the most budgets
MORE_SEEDS, FEWER_SEEDS = 5, 3


class Arm(NamedTuple):
    """One way to train for an example's target.

    Args:
        says: What it is, for the page.
        overrides: Options of `train.py` beside the recipe's.
        rate: Where its learning rate comes from: `grid` (the best on validation, tried with the first seed), the name
            of the arm whose rate it takes, or `rule` (the recipe's or the default's, for which no label is used).
        metric: The test metric that counts where it is not the example's.
        longer: The factor on the recipe's steps.
        naive: Whether `overrides` are all there is: what a newcomer would type, everything else by default.
        threads: Of the processor, to see how much of a difference is the machine's.
        seeds: How many, where they are not the example's.
    """

    says: str
    overrides: Sequence[str] = ()
    rate: str = "grid"
    metric: str | None = None
    longer: int = 1
    naive: bool = False
    threads: int = 1
    seeds: int | None = None


class Example(NamedTuple):
    """One example of the article.

    Args:
        title: What is learned from what.
        metric: The target's test metric.
        arms: By name; `transfer` is the recipe.
        seeds: How many seeds: five where a run takes less than a minute, else three.
        notes: What a reader must know of the data.
        also: More test metrics to be told, by arm.
    """

    title: str
    metric: str
    arms: Mapping[str, Arm]
    seeds: int = FEWER_SEEDS
    notes: Sequence[str] = ()
    also: Mapping[str, Sequence[str]] = {}


RECIPE = Arm("the recipe")
RULE = Arm("the recipe", rate="rule")
SCRATCH = Arm("scratch: the target alone, from random weights, on the same budget", ("cell=scratch",))
PLATEAU = Arm(
    f"scratch, trained until half a budget ({PATIENCE} validations) brings nothing better, at most {MOST} budgets",
    ("cell=scratch", "cell.schedule=constant", f"trainer.patience={PATIENCE}", f"trainer.validations={10 * MOST}"),
    rate="scratch",
    longer=MOST,
)
PROBE = Arm("linear probe on frozen ImageNet features", ("finetuning=linear_probe", "target.augment=null"))
SEQUENTIAL = "datamodule.mode=sequential"
WEIGHTS = "${data_root}/weights/mobilenet_v2_tf2ptq-bd4cb33c.pth"
BOTH = {"scratch": SCRATCH, "plateau": PLATEAU}
LONG = {"scratch": SCRATCH, "plateau": PLATEAU._replace(seeds=1)}  # where a run to the plateau takes half an hour


def labelled(count: int) -> dict[str, Arm]:
    """Return recipe and probe with few labels, at the rate that the rule gives without looking at any."""
    few = f"target.labelled={count}"
    return {
        f"transfer_{count}": Arm(f"the recipe with {count} labels, validation included", (few,), "rule"),
        f"probe_{count}": Arm(f"the probe with {count} labels, validation included", (*PROBE.overrides, few), "rule"),
    }


def naive(*overrides: str) -> dict[str, Arm]:
    """Return what a newcomer would type who has the weights and a folder of data.

    Args:
        overrides: The cell and the data.
    """
    weights = ("dataset@source=pretrained", f"source.weights={WEIGHTS}", "backbone=mobilenet_v2")
    says = "the naive command on as many steps, all else by default"
    return {"naive": Arm(says, (*weights, *overrides), "rule", naive=True)}


def alone(name: str, encoder: str, says: str, *overrides: str) -> Arm:
    """Return an arm that reads one input of the documents.

    Args:
        name: The input.
        encoder: The encoder's option.
        says: What it is, for the page.
        overrides: More options.
    """
    return Arm(says, ("~backbone.encoders", f"+backbone.encoders={{{name}: {encoder}}}", *overrides))


def without(*weights: str) -> dict[str, Arm]:
    """Return the two baselines from random weights, for a recipe whose backbone has weights and two datasets a step.

    Args:
        weights: Options that are set to null, or others that a baseline needs.
    """
    return {name: arm._replace(overrides=(*arm.overrides, *weights)) for name, arm in BOTH.items()}


EXAMPLES: dict[str, Example] = {
    "task_finetuning": Example(
        "ImageNet weights to twelve species of flowers",
        "target/accuracy",
        {"transfer": RECIPE, "probe": PROBE, **LONG, **labelled(120)},
        notes=["Of the twelve species ImageNet has one, the daisy. 120 labels are ten per species."],
    ),
    "hymenoptera": Example(
        "ImageNet weights to ants or bees: a smoke test",
        "target/accuracy",
        {
            "transfer": RULE,
            **naive(
                "cell=task_finetuning",
                "dataset@target=image_folder",
                "target.root=${data_root}/hymenoptera",
                "target.splits={train: train, test: val}",
                "steps=120",
            ),
        },
        notes=["These pictures are a subset of ImageNet: the weights were trained on them, so this shows nothing."],
    ),
    "domain_adaptation": Example(
        "ImageNet weights to chest X-rays",
        "target/auroc",
        {
            "transfer": RECIPE,
            "probe": PROBE,
            **LONG,
            **labelled(50),
            **labelled(200),
            **naive("cell=domain_adaptation", "dataset@target=npz", "target.root=${data_root}/pneumoniamnist.npz"),
        },
        also={"transfer": ("target/accuracy",)},
    ),
    "task_adaptation": Example(
        "ImageNet weights to boxes of raccoons",
        "target/map50",
        {
            "transfer": RECIPE,
            "probe": PROBE,
            **BOTH,
            **naive(
                "cell=task_adaptation",
                "dataset@target=voc",
                "target.root=${data_root}/raccoon",
                "target.pictures=images",
                "target.annotations=annotations",
                "steps=120",
            ),
        },
    ),
    "modality_transfer": Example(
        "ImageNet weights to boxes of blood cells under a microscope",
        "target/map50",
        {"transfer": RECIPE, "probe": PROBE, **LONG},
    ),
    "dataset_merging": Example(
        "Clothes of two catalogues that name some of them differently: the other one's added to 100 labels",
        "target/accuracy",
        {"transfer": RECIPE, **without("datamodule.source_share=null")},
        seeds=MORE_SEEDS,
    ),
    "weight_sharing": Example(
        "The text and the picture of a receipt, either of which may be missing, to its supplier",
        "target/accuracy",
        {
            "transfer": RECIPE,
            "image": alone("image", f"{{name: mobilenet_v2, weights: {WEIGHTS}}}", "picture alone", "cell=finetune"),
            "text": alone("text", "transformer", "text alone", "cell=scratch"),
            **without("backbone.encoders.image.weights=null"),
        },
    ),
    "pages": Example(
        "What a page is of and whether it starts a document, from its picture and its text",
        "target/auroc",
        {
            "transfer": RECIPE,
            "image": alone("image", "small", "both tasks, picture alone"),
            "text": alone("text", "bag", "both tasks, text alone"),
            **without(SEQUENTIAL),
        },
        notes=["The article files these under weight sharing; with two tasks the cube calls it multi-task learning."],
        also={name: ("source/accuracy", "target/accuracy") for name in ("transfer", "image", "text")},
    ),
    "multitask": Example(
        "Boxes and segmentation of the street from one pass",
        "target/map50",
        {
            "transfer": RULE,
            "boxes": Arm("boxes alone, ImageNet weights", ("cell=finetune", SEQUENTIAL), "rule"),
            "street": Arm(
                "segmentation alone, ImageNet weights",
                ("cell=finetune", SEQUENTIAL, "dataset@target=label_maps", "target.boxes=null", "target.task=street"),
                "rule",
                metric="target/miou",
            ),
            "scratch": without("backbone.weights=null", SEQUENTIAL)["scratch"],
        },
        also={"transfer": ("source/miou",)},
    ),
    "parallel_training": Example(
        "Content moderation beside spam messages: nothing shared",
        "target/f1",
        {
            "transfer": RULE,
            "messages": Arm("messages alone", ("cell=scratch",), "rule"),
            "threads": Arm("messages alone, two threads instead of one", ("cell=scratch",), "rule", threads=2),
            "float32": Arm("messages alone, float32", ("cell=scratch", "precision=32"), "rule"),
            "scratch": SCRATCH,
            "plateau": PLATEAU,
        },
        notes=["The arms on threads and arithmetic say how much of a difference is the machine's, not the method's."],
        also={"transfer": ("source/macro_f1",)},
    ),
}
