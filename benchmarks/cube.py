"""Compare the eight ways on the embedded data by one command, and keep its report, a picture of it, and what it took.

`python -m benchmarks.cube` compares twice, on two cores: quickly, with three seeds and the rate by rule, and with five
seeds and the grid of rates, which then goes on with `scratch` until nothing gets better; the page is the second one's
report. Stopped, it goes on. The picture needs Chromium.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image

from tl_modules.cube import BY_NAME

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "comparison.md"
TAKEN = "taken.json"  # seconds so far, in the runs' folder, by name
OPTIONS = ["experiment=cube", "hydra/launcher=joblib_cores", f"compare.arms=[{','.join(BY_NAME)}]"]
QUICK, PLATEAU = "compare.quick=true", "compare.plateau=true"
PICTURE = ROOT / "docs" / "pictures" / "comparison.png"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT = 1080, 1440  # pixels of the page that the picture shows: the answer, the table and the cube
COLOURS = 64  # of the picture, which is small that way


def compared(folder: Path, options: list[str], name: str) -> tuple[Path, dict[str, float]]:
    """Run the comparison, or go on with it, and return its folder with the seconds that it took, all calls together.

    Args:
        folder: Where runs, comparison and store lie.
        options: Those of `compare.py`.
        name: What the seconds are kept under.

    Raises:
        RuntimeError: If it fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": str(folder / "cache"),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    call = [sys.executable, str(ROOT / "compare.py"), *options]
    code = subprocess.run(call, cwd=folder, env=environment, check=False).returncode
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    clock = folder / f"{name}.{TAKEN}"
    earlier = json.loads(clock.read_text()) if clock.exists() else {"seconds": 0, "cpu_seconds": 0}
    now = {"seconds": time.perf_counter() - began, "cpu_seconds": cpu}
    taken = {key: round(earlier[key] + value) for key, value in now.items()}
    clock.write_text(json.dumps(taken) + "\n")
    if code:
        raise RuntimeError(f"compare.py {' '.join(options)}: ended with status {code}")
    newest = max(folder.glob("comparisons/*/report.md"), key=lambda path: path.stat().st_mtime).parent
    return newest, taken


def page(report: str, quick: str, taken: dict[str, dict[str, float]]) -> str:
    """Return the report in Markdown as a page of the documentation.

    Args:
        report: The long comparison's `report.md`.
        quick: The quick one's.
        taken: Seconds and CPU seconds of the two, by name.
    """
    title, _, rest = report.partition("\n")
    own = re.sub(r"(?m)^( *)(python |tl-)?\S*compare\.py ", r"\1python compare.py ", rest)
    took = {
        name: f"{of['seconds'] / 60:.0f} minutes ({of['cpu_seconds'] / 60:.0f} CPU minutes)"
        for name, of in taken.items()
    }
    more = f"\nWith `{PLATEAU}` it went on for {took['plateau']}." if "plateau" in took else ""
    answer = next(line for line in quick.splitlines() if line.startswith("**")).strip("*")
    return f"""{title}

What `python compare.py {" ".join(OPTIONS)}` says of the embedded data; made by `python -m benchmarks.cube`, not
written by hand. It took {took["long"]} on two cores. With `{QUICK}`, three seeds and the rate by rule,
it took {took["quick"]} and said: "{answer}"{more}
{own}"""


def picture(report: Path, into: Path) -> None:
    """Take a picture of the top of a report's page.

    Args:
        report: `report.html`.
        into: The PNG file.

    Raises:
        RuntimeError: If there is no browser.
    """
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise RuntimeError(f"no browser is installed; one of {', '.join(BROWSERS)} takes the picture")
    size = [f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={into}"]
    call = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *size, report.as_uri()]
    subprocess.run(call, check=True, capture_output=True)
    Image.open(into).convert("RGB").quantize(COLOURS).save(into, optimize=True)


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("outputs/cube"), help="of the runs")
    given = parser.parse_args()
    reports, taken = {}, {}
    for name, more in {"quick": [QUICK], "long": [], "plateau": [PLATEAU]}.items():
        folder = given.folder.resolve() / ("quick" if name == "quick" else "long")  # each with a store of its own
        found, taken[name] = compared(folder, [*OPTIONS, *more], name)
        reports[name] = (found / "report.md").read_text()
        if name != "quick":
            PAGE.write_text(page(reports[name], reports["quick"], taken))
            picture(found / "report.html", PICTURE)
            print(f"written: {PAGE} and {PICTURE}", flush=True)


if __name__ == "__main__":
    main()
