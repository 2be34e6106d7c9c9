"""The short form of the proof that a run is never lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_nothing_is_lost_in_the_short_proof(tmp_path: Path) -> None:
    out = tmp_path / "seen.json"
    call = [sys.executable, "-m", "benchmarks.reliability", "--quick", "--folder", str(tmp_path / "runs")]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*call, "--out", str(out)], cwd=ROOT, env=env, capture_output=True, text=True)
    seen = json.loads(out.read_text())
    assert [one for one in seen if one["outcome"] == "lost"] == []
    assert done.returncode == 0, done.stderr
    assert {one["proof"] for one in seen} == {
        "kills",
        "signals",
        "damaged folders",
        "hostile folders",
        "two processes",
    }
    assert sum(one["kills"] for one in seen) >= 4
