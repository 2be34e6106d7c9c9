"""Run what is missing of the article's examples, then write the page."""

from __future__ import annotations

import argparse
import multiprocessing
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

from benchmarks.article import __doc__ as purpose
from benchmarks.article import page
from benchmarks.article.arms import EXAMPLES
from benchmarks.article.runs import Job, Record, Run, run


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=purpose, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the public data")
    parser.add_argument("--runs", type=Path, default=Path("outputs/article"), help="folder of the runs")
    parser.add_argument("--only", nargs="+", default=list(EXAMPLES), choices=list(EXAMPLES), help="some examples")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    parser.add_argument("--page-only", action="store_true", help="write the page from what is there")
    given = parser.parse_args()
    root, record = given.data_root.resolve(), Record()
    record.drop_stale(root)
    if not given.page_only:
        schedule(record, given.only, root, given.runs.resolve(), given.jobs)
    page.write(record)
    print(f"written: {page.PAGE}")


def schedule(record: Record, examples: list[str], root: Path, runs: Path, most: int) -> None:
    """Run all that is missing, as many at once as are asked for; a run that fails is named and left out.

    Args:
        record: The finished runs.
        examples: Which examples, in this order.
        root: Folder of the data.
        runs: Folder of the runs.
        most: Runs at once.
    """
    failed: set[Job] = set()
    running: dict[Future[Run], Job] = {}
    with ProcessPoolExecutor(most, multiprocessing.get_context("spawn")) as pool:
        while True:
            busy = failed | set(running.values())
            waiting = [job for example in examples for job in record.jobs(example) if job not in busy]
            waiting.sort(key=lambda job: EXAMPLES[job.example].arms[job.arm].longer)  # the long ones last of all
            for job in waiting[: most - len(running)]:
                running[pool.submit(run, job, root, runs)] = job
            if not running:
                return
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(done)
                error = done.exception()
                print(f"{job.key}: {error or 'done'}", flush=True)
                if error is None:
                    record.add(job, done.result())
                    page.write(record)
                else:
                    failed.add(job)


if __name__ == "__main__":
    main()
