"""The benchmark of the article's examples: its arms fit the configuration, its figures are right."""

from __future__ import annotations

import json

import pytest
from scipy import stats

from benchmarks.article import aims, page, runs
from benchmarks.article.arms import EXAMPLES
from benchmarks.article.runs import FIRST, Job, Record

ARMS = [(name, arm) for name, example in EXAMPLES.items() for arm in example.arms]
FILES = ("pneumoniamnist.npz", "sroie/index.csv", "moderation/labeled_data.csv", "sms_spam/SMSSpamCollection")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    pictures = [f"hymenoptera/{split}/{label}/1.png" for split in ("train", "val") for label in "ab"]
    pictures += [f"flowers12/{split}/{label}/1.png" for split in ("train", "test") for label in "ab"]
    for file in [*FILES, *pictures, "weights/mobilenet_v2_tf2ptq-bd4cb33c.pth"]:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    for folder in ("raccoon", "BCCD", "camvid", "FashionMNIST"):
        (root / folder).mkdir()
    return root


@pytest.mark.parametrize(("example", "arm"), ARMS, ids=lambda value: value)
def test_every_arm_is_a_run_that_would_start_on_the_recipes_terms(root, example, arm):
    recipe = runs.composed([f"experiment=article/{example}"], root)
    made = runs.composed(runs.overrides(Job(example, arm, 3, 0.002), root), root)
    assert made["cell"]["lr"] == 0.002
    assert made["seed"] == 3
    if EXAMPLES[example].arms[arm].naive:
        return
    assert made["steps"] == EXAMPLES[example].arms[arm].longer * recipe["steps"]
    assert made["selection"]["rule"] == recipe["selection"]["rule"]
    assert made["datamodule"]["batch_size"] == recipe["datamodule"]["batch_size"]
    if arm in ("scratch", "plateau"):
        assert "weights/" not in json.dumps(made["backbone"])
        assert made["cell"]["name"] == "scratch"


def finished(score, rule="val/target/map50 max"):
    role = {"labelled": {"train": 8, "val": 2}}
    stage = {"name": "target", "steps": 5, "samples": {"target": 40}}
    found = {"digest": "", "cpu": 1.0, "lr": 0.001, "selection": rule, "val": {"target/map50": score}, "flops": 2e15}
    return {
        **found,
        "test": {"target/map50": score},
        "target": role,
        "stages": [stage],
        "machine": {"processor": "one", "precision": "32-true"},
    }


def test_the_grid_is_widened_until_the_best_is_inside(tmp_path):
    record = Record(tmp_path / "record.json")
    assert record.rate("task_adaptation", "scratch") == (None, list(FIRST))
    for rate, score in zip(FIRST, (0.5, 0.6, 0.7), strict=True):
        record.add(Job("task_adaptation", "scratch", 0, rate), finished(score))
    assert record.rate("task_adaptation", "scratch") == (0.003, [0.01])
    assert record.of("task_adaptation", "scratch") is None
    record.add(Job("task_adaptation", "scratch", 0, 0.01), finished(0.65))
    assert record.rate("task_adaptation", "scratch") == (0.003, [])
    jobs = [job for job in record.jobs("task_adaptation") if job.arm == "scratch"]
    assert jobs == [Job("task_adaptation", "scratch", seed, 0.003) for seed in (1, 2)]
    assert record.rate("task_adaptation", "plateau") == (0.003, [])
    assert Record(tmp_path / "record.json").runs == record.runs


def test_a_metric_whose_smaller_values_are_better_is_chosen_by_its_smallest(tmp_path):
    record = Record(tmp_path / "record.json")
    for rate, score in zip(FIRST, (0.5, 0.3, 0.7), strict=True):
        record.add(Job("task_adaptation", "scratch", 0, rate), finished(score, "val/target/mae min"))
    assert record.rate("task_adaptation", "scratch") == (0.001, [])


def test_a_run_of_a_changed_recipe_is_dropped(tmp_path, root):
    record = Record(tmp_path / "record.json")
    job = Job("task_adaptation", "transfer", 0, 0.001)
    config = runs.composed(runs.overrides(job, root), root)
    record.add(job, {**finished(0.5), "digest": runs.digest(config, root)})
    record.drop_stale(root)
    assert record.get(job) is not None
    record.add(job, {**finished(0.5), "digest": runs.digest({**config, "steps": 7}, root)})
    record.drop_stale(root)
    assert record.get(job) is None


def test_intervals_are_students():
    differences = [0.1, 0.25, 0.3, 0.12]
    mean, low, high = aims.interval(differences)
    expected = stats.t.interval(0.95, 3, loc=mean, scale=stats.sem(differences))
    assert (low, high) == pytest.approx(expected)


def test_aims_tell_met_from_missed():
    def several(values):
        return [{"test": {"m": value}, "flops": 1.0} for value in values]

    found = {"a": several([0.90, 0.92, 0.91]), "b": several([0.80, 0.82, 0.80]), "c": several([0.91, 0.92, 0.90])}
    assert aims.above("a", "b", "m")(found)[0]
    assert not aims.above("a", "c", "m")(found)[0]
    assert aims.above("a", "c", "m", clearly=False)(found)[0]
    assert not aims.above("b", "a", "m", clearly=False)(found)[0]
    assert aims.as_good("a", "c", "m")(found)[0] and not aims.as_good("b", "a", "m")(found)[0]
    assert aims.above_better("a", ("b", "c"), "m")(found)[1].startswith("against c")
    assert aims.at_least("a", "m", 0.91)(found)[0]
    assert not aims.exactly([("a", "c", "m")])(found)[0]
    assert not aims.cheaper("a", ("b", "c"), 0.4)(found)[0]


def test_the_page_has_labels_exposure_and_what_is_missing(tmp_path):
    record = Record(tmp_path / "record.json")
    for rate, score in zip(FIRST, (0.5, 0.7, 0.6), strict=True):
        record.add(Job("task_adaptation", "scratch", 0, rate), finished(score))
    for seed in (1, 2):
        record.add(Job("task_adaptation", "scratch", seed, 0.001), finished(0.6))
    text = "\n".join(page.section("task_adaptation", record))
    assert "0.633 ± 0.058 | 0.700, 0.600, 0.600 | 8 + 2 | 40 | 2.0 P | best target/map50 on validation" in text
    assert "Not yet run: the recipe; " in text
    assert "Aim: better than scratch. Not yet run." in text


def test_the_page_says_which_arms_were_run_where_if_not_all_on_one_machine():
    here, there = finished(0.5), {**finished(0.5), "machine": {"processor": "other", "precision": "bf16-mixed"}}
    assert page.mixed({"a": [here, here], "b": [here]}) == []
    said = "Differences between these are the machine's too: a: one, 32-true and other, bf16-mixed; b: one, 32-true."
    assert page.mixed({"a": [here, there], "b": [here]})[0] == said
    assert page.mixed({"a": [there], "b": [here]})
