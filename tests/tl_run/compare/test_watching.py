"""What is seen of runs while a launcher has them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tl_run.compare.watching import quietly, watched

SAYS = """
import os, subprocess, sys
from pathlib import Path
from tl_run.compare.watching import quietly
print("before")
with quietly(Path("log.txt")) as shown:
    print("a run")
    subprocess.run([sys.executable, "-c", "print('a process')"])
    os.write(2, b"an error\\n")
    print("told", file=shown)
print("after")
"""


def test_what_runs_say_goes_into_the_file_from_other_processes_too(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    done = subprocess.run(
        [sys.executable, "-c", SAYS], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert (done.stdout.splitlines(), done.stderr) == (["before", "told", "after"], "")
    assert sorted((tmp_path / "log.txt").read_text().splitlines()) == ["a process", "a run", "an error"]


def test_where_standard_output_is_another_that_one_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with quietly(None) as shown:
        print("a run")
        print("told", file=shown)
    assert capsys.readouterr().out == "told\n"


def test_each_job_is_told_of_once_and_those_that_do_not_end_never() -> None:
    over, told, both = {"a"}, [], threading.Event()

    def tell(job: str) -> None:
        told.append(job)
        over.add("b")
        if len(told) == 2:
            both.set()

    with watched(["a", "b", "c"], over.__contains__, tell, every=0.01):
        assert both.wait(60)
    assert told == ["a", "b"]
