import pytest

from tests.tl_run.report.made_up import run, stage
from tl_run.report.arms import settings_of
from tl_run.report.reading import read
from tl_run.report.unlabelled import lines_on

ORACLE = {"metric": "target/accuracy", "step": 9, "value": 0.9}


def told(source, information, rule="information_maximisation", steps=(3, 6), oracle=(0.6, 0.7)):
    """Return what a run says of two rules: their scores, steps and oracles."""
    pairs = zip(("source", "information_maximisation"), (source, information), steps, oracle, strict=True)
    rules = {name: {"score": score, "step": step, "oracle": seen} for name, score, step, seen in pairs}
    return {"rule": rule, "rules": rules, "oracle": ORACLE}


def blind(folder, objective, seed, test, said):
    monitor = "val/target/information_maximisation"
    return run(
        folder,
        "domain_adaptation",
        seed,
        test,
        objective=objective,
        without_labels=said,
        val={"target/information_maximisation": 2.0},
        selection=f"{monitor} max",
        stages=[stage("source"), stage("adapt", monitor=monitor)],
    )


def setting(folder):
    found, left_out = read([folder])
    assert left_out == []
    return settings_of(found)[0][0]


def test_the_rule_chooses_among_arms_without_labels_and_a_disagreement_is_told(tmp_path):
    for seed in (0, 1):
        run(tmp_path / f"s{seed}", "scratch", seed)
        blind(tmp_path / f"a{seed}", "mcc", seed, 0.8, told(0.99, 2.1))
        blind(tmp_path / f"b{seed}", "adabn", seed, 0.6, told(0.9, 2.2, steps=(6, 6), oracle=(0.4, 0.4)))
    one = setting(tmp_path)
    assert (one.metric, one.direction, one.baseline) == ("target/accuracy", "max", "scratch")
    first, second, third = lines_on(one)
    assert "information_maximisation chooses domain_adaptation, objective adabn: test target/accuracy 0.6000" in first
    assert "disagree on the arm: source chooses domain_adaptation, objective mcc, information_maximisation" in second
    assert second.endswith("is for domain_adaptation, objective mcc.")
    assert third.startswith("domain_adaptation, objective mcc: the rules disagree on the step in 2 of its 2 runs")
    assert "by up to 0.1000 of the oracle's target/accuracy" in third


def test_rules_that_agree_are_said_to(tmp_path):
    blind(tmp_path / "a", "mcc", 0, 0.8, told(0.99, 2.3, steps=(6, 6)))
    blind(tmp_path / "b", "adabn", 0, 0.6, told(0.9, 2.2, steps=(6, 6)))
    said = lines_on(setting(tmp_path))
    assert len(said) == 2 and said[1].startswith("All rules choose domain_adaptation, objective mcc")


@pytest.mark.parametrize("cell", ["scratch", "multitask"])
def test_nothing_is_said_of_arms_that_read_labels(cell, tmp_path):
    run(tmp_path / "a", cell, 0)
    assert lines_on(setting(tmp_path)) == []
