"""The benchmark of the article's examples: its arms fit the configuration, its figures are right."""

from __future__ import annotations

import copy
import json

import pytest

from benchmarks import article
from tl_modules.run.schema import check

ARMS = [(cell, name) for cell, example in article.EXAMPLES.items() for name in example.arms]


@pytest.fixture(scope="module")
def recipes(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    (root / "weights").mkdir()
    (root / article.IMAGENET).touch()
    for folder in ("raccoon", "BCCD", "camvid", "MNIST", "USPS"):
        (root / folder).mkdir()
    files = ["pneumoniamnist.npz", "sroie/index.csv", "moderation/labeled_data.csv", "sms_spam/SMSSpamCollection"]
    for file in [*files, *(f"hymenoptera/{split}/{label}/1.png" for split in ("train", "val") for label in "ab")]:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root, {cell: article.composed(cell, root, 0) for cell in article.EXAMPLES}


@pytest.mark.parametrize(("cell", "name"), ARMS, ids=lambda value: value)
def test_every_arm_is_a_run_that_would_start_on_the_recipes_budget(recipes, cell, name):
    root, composed = recipes
    config, arm = copy.deepcopy(composed[cell]), article.EXAMPLES[cell].arms[name]
    arm.change(config, root)
    if arm.start is not None:
        article.probe(config, root / article.IMAGENET)
    check(config)
    for key in ("steps", "epochs", "selection", "seed"):
        assert config[key] == composed[cell][key]
    assert config["datamodule"]["batch_size"] == composed[cell]["datamodule"]["batch_size"]
    if name in ("scratch", "random"):
        assert "weights/" not in json.dumps(config["backbone"])


def test_intervals_and_the_chosen_learning_rate(tmp_path):
    mean, low, high = article.interval([0.1, 0.2, 0.3])
    assert (mean, low, high) == pytest.approx((0.2, 0.2 - 0.2484, 0.2 + 0.2484), abs=1e-4)
    for factor, score in zip(article.GRID, (0.5, 0.7, 0.6, 0.1), strict=True):
        folder = article.place(tmp_path, "multitask", "scratch", 0, factor)
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps({"val": {"target/map50": score}}))
    assert article.best_factor(tmp_path, "multitask", "scratch", 0) == 1.0
    assert article.best_factor(tmp_path, "multitask", "scratch", 1) is None
    jobs = article.jobs_of("multitask", tmp_path, second=True)
    assert jobs == [("multitask", "scratch", 1, 1.0), ("multitask", "scratch", 2, 1.0)]
