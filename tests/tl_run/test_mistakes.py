"""Every mistake of `mistakes.py`, made for real."""

from __future__ import annotations

import errno
import json
import os
import runpy
import shlex
import sys

import pytest
from hydra.core.global_hydra import GlobalHydra

from tests.tl_run.mistakes import PAGE, cases, make_files, page

ROOT = PAGE.parents[1]
CASES = [case for some in cases().values() for case in some]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    make_files(folder)
    return folder


def call(program, command, monkeypatch, capfd):
    """Run a program in this process; return its exit code and what it said."""
    monkeypatch.setattr(sys, "argv", [program, *shlex.split(command)])
    code = 0
    try:
        runpy.run_path(str(ROOT / program), run_name="__main__")
    except SystemExit as left:
        code = left.code
    finally:
        GlobalHydra.instance().clear()
    return code, capfd.readouterr().err.strip().splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.program} {case.command}".strip())
def test_mistake_is_answered_in_one_line(case, files, monkeypatch, capfd):
    monkeypatch.chdir(files)
    before = set(files.iterdir())
    assert call(case.program, case.command, monkeypatch, capfd) == (case.code, [case.line])
    if case.code == 2 and "check_data=true" not in case.command:  # which writes what it finds
        assert set(files.iterdir()) == before
    assert not list(files.rglob("results.json"))


def test_the_page_shows_these_cases():
    assert PAGE.read_text() == page(), "python -m tests.tl_run.mistakes writes it anew"


def test_a_full_disk_ends_the_run_with_one_line_and_looks_unfinished(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    synced = []

    def fsync(handle):
        synced.append(handle)
        if len(synced) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    command = (
        "cell=scratch experiment=quick trainer.progress=false target.train_size=16 target.val_size=8 hydra.run.dir=run"
    )
    code, said = call("train.py", command, monkeypatch, capfd)
    assert (code, said) == (1, ["[Errno 28] No space left on device"])
    assert not (tmp_path / "run" / "results.json").exists()
    for path in (tmp_path / "run").rglob("*.json"):
        json.loads(path.read_text())
