from __future__ import annotations

import json

import pytest
from scipy.stats import spearmanr

from tests.tl_run.report.made_up import run
from tl_run.report.advice import beside_outcome, rates, read_advice, said_of_record, spearman, track_record
from tl_run.report.comparison import report

ARMS = ("scratch", "multitask", "task_finetuning", "coral")


def compared(folder, scores, order, status="complete", afterwards=False):
    """Write a comparison with one run per arm and what was said before it."""
    folder.mkdir(parents=True)
    arms = [{"name": name, "cell": name, "rate": None} for name in scores]
    runs = [{"arm": name, "seed": 0, "rate": None, "folder": f"{name}_0", "status": status} for name in scores]
    for name, score in scores.items():
        run(folder / f"{name}_0", name, 0, score)
    content = {"schema": 1, "baseline": "scratch", "metric": "val/target/accuracy", "direction": "max"}
    (folder / "comparison.json").write_text(json.dumps({**content, "arms": arms, "runs": runs}))
    said = {"schema": 1, "afterwards": afterwards, "order": order, "fixed": ARMS, "lines": ["foretold so"]}
    (folder / "advice.json").write_text(json.dumps(said))
    return folder


def test_the_rank_correlation_is_scipys_and_equal_values_share_a_rank():
    ones, others = [3.0, 1.0, 4.0, 1.0, 5.0], [9.0, 2.0, 6.0, 5.0, 5.0]
    assert spearman(ones, others) == pytest.approx(spearmanr(ones, others).statistic)


def test_regret_is_of_the_span_from_worst_to_best():
    outcome = {"a": 0.9, "b": 0.5, "c": 0.8, "d": 0.6}
    assert rates(["b", "d", "c", "a"], outcome, "max") == pytest.approx((-1.0, 1.0, 0.25))
    assert rates(["b", "d", "c", "a"], outcome, "min") == pytest.approx((1.0, 0.0, 0.0))
    assert rates(["c", "b", "a", "d", "unknown"], outcome, "max")[1:] == pytest.approx((0.25, 0.0))
    assert rates(["a", "b"], outcome, "max") is None
    assert rates(["a", "b", "c"], dict.fromkeys("abc", 0.5), "max") == (0.0, 0.0, 0.0)


def test_the_hit_rate_is_of_what_was_said_before_comparisons_that_are_over(tmp_path):
    scores = {"scratch": 0.5, "multitask": 0.6, "task_finetuning": 0.7, "coral": 0.4}
    right = ["task_finetuning", "multitask", "scratch", "coral"]
    assert track_record(tmp_path) is None
    compared(tmp_path / "a", scores, right)
    compared(tmp_path / "b", scores, right[::-1])
    compared(tmp_path / "going", scores, right, status="planned")
    compared(tmp_path / "late", scores, right, afterwards=True)
    compared(tmp_path / "this", scores, right)
    (compared(tmp_path / "broken", scores, right) / "comparison.json").write_text("{")
    (compared(tmp_path / "cut", scores, right) / "advice.json").write_text('{"schema": 1')
    found = track_record(tmp_path, tmp_path / "this")
    assert found.comparisons == 2
    assert found.advised == pytest.approx((0.0, 0.5, 1 / 6))  # right once, and wrong once
    assert found.fixed == pytest.approx((0.2, 2 / 3, 0.0))
    lines = said_of_record(found)
    assert lines[0] == "hit rate of such advice on 2 comparisons stored: rank correlation +0.00, " + (
        "regret at 1 50%, at 3 17%"
    )
    assert said_of_record(None) == ["no track record: no comparison that is over keeps what was said before it"]


def test_the_report_shows_what_was_foretold_beside_what_came_out(tmp_path):
    scores = {"scratch": 0.5, "multitask": 0.6, "task_finetuning": 0.7}
    folder = compared(tmp_path / "a", scores, ["multitask", "task_finetuning", "scratch"])
    assert beside_outcome(read_advice(folder), scores, "max")[0] == ["task_finetuning", "0.7000", "1", "2", "3"]
    tied = {**scores, "task_finetuning": 0.6}
    assert [row[2] for row in beside_outcome(read_advice(folder), tied, "max")] == ["1", "1", "3"]
    report(folder, draw=False)
    page, text = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    assert "<td>task_finetuning</td><td>0.7000</td><td>1</td><td>2</td><td>3</td>" in page
    assert "<p>Advice: rank correlation +0.50, regret at 1 50%, at 3 0%. Fixed list: rank correlation " in page
    assert "<pre>foretold so</pre>" in page
    assert "| task_finetuning | 0.7000 | 1 | 2 | 3 |" in text
