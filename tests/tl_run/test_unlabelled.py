"""What a run tells of the rules that choose without labels."""

import pytest

from tl_modules import DomainAdaptation, Task
from tl_run.unlabelled import best, chosen_without_labels

TASK = Task("a", "classification", ("x", "y"))
ROWS = {
    2: {"val/source/accuracy": 0.9, "val/source/loss": 0.2, "val/target/importance_weighted": 0.7},
    5: {"val/source/accuracy": 0.9, "val/source/loss": 0.1, "val/target/importance_weighted": 0.8},
    8: {"val/source/accuracy": 0.8, "val/source/loss": 0.0, "val/target/importance_weighted": 0.8},
}
ORACLE = {2: 0.5, 5: 0.6, 8: 0.4}


def module(objective="mcc", **options):
    return DomainAdaptation(target=TASK, source=TASK, objective=objective, **options)


@pytest.fixture
def metrics(tmp_path):
    lines = ["stage,step,metric,value", "source,2,val/source/accuracy,1.0", "adapt,2,train/source/loss,0.1"]
    for step, seen in ROWS.items():
        lines += [f"adapt,{step},{name},{value}" for name, value in seen.items()]
        lines += [f"adapt,{step},oracle/target/accuracy,{ORACLE[step]}"]
    path = tmp_path / "metrics.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_each_rule_tells_the_step_that_it_chooses_and_the_oracle_of_it(metrics):
    records = [{"selection": "val/target/importance_weighted max"}]
    found = chosen_without_labels(records, metrics, module(without_labels="importance_weighted"))
    assert found == {
        "rule": "importance_weighted",
        "rules": {
            "source": {"step": 6, "score": 0.9, "oracle": 0.6},  # of equal ones that with the lower loss
            "importance_weighted": {"step": 9, "score": 0.8, "oracle": 0.4},  # of equal ones the later
        },
        "oracle": {"metric": "target/accuracy", "step": 6, "value": 0.6},
    }
    assert chosen_without_labels([{"selection": "last"}], metrics, module())["rule"] == "last"


def test_a_run_that_reads_labels_tells_nothing(metrics):
    assert chosen_without_labels([{"selection": "val/target/accuracy max"}], metrics, module("sum")) is None


def test_the_best_of_what_was_never_measured_is_none():
    assert best({3: {"a": float("nan")}}, "a", "max") is None
    assert best({3: {"a": 1.0}, 6: {"a": 2.0}}, "a", "min") == 3
