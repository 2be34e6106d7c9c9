from __future__ import annotations

import json
from pathlib import Path

from tl_run.compare.arms import Arm, Needs
from tl_run.compare.book import Book, Entry, Job, Outcome, outcome_of

METRIC = "val/target/accuracy"


def run(folder: Path, status: str = "complete", monitor: str = METRIC) -> Path:
    folder.mkdir()
    (folder / "journal.json").write_text(json.dumps({"schema": 1, "status": status, "value": 0.5, "stages": {}}))
    if status == "complete":
        (folder / "results.json").write_text(json.dumps({"stages": [{"monitor": monitor}]}))
    else:
        (folder / "error.json").write_text(json.dumps({"error": "loss is nan"}))
    return folder


def test_what_became_of_a_run_is_read_from_its_folder(tmp_path):
    assert outcome_of(tmp_path / "none") is None
    assert outcome_of(run(tmp_path / "a")) == Outcome("complete", 0.5, None, METRIC)
    assert outcome_of(run(tmp_path / "b", "diverged")) == Outcome("diverged", None, "loss is nan")
    (tmp_path / "a" / "results.json").write_text("{")
    found = outcome_of(tmp_path / "a")
    assert found is not None and found.status == "failed" and found.value is None


def test_the_record_names_runs_from_its_own_folder_and_only_like_scores_are_compared(tmp_path):
    entries = [Entry(Arm(name=name, says="x", needs=Needs(), overrides=["a=b"]), name) for name in ("scratch", "coral")]
    book = Book(tmp_path / "comparisons" / "x", entries, METRIC, "max", "python compare.py")
    for entry in entries:
        entry.planned = [Job(entry.arm.name, 0, None)]
        book.folders[entry.planned[0]] = run(tmp_path / entry.arm.name)
    book.outcomes[entries[0].planned[0]] = Outcome("complete", 0.5, None, METRIC)
    book.outcomes[entries[1].planned[0]] = Outcome("complete", 0.9, None, "val/source/accuracy")
    assert book.scores() == {"scratch": {0: 0.5}, "coral": {}}
    book.write()
    kept = json.loads((book.folder / "comparison.json").read_text())
    assert [(one["folder"], one["status"]) for one in kept["runs"]] == [
        ("../../scratch", "complete"),
        ("../../coral", "complete"),
    ]
    assert book.failed() == {}
