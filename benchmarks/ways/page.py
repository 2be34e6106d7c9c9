"""The page of the single ways, from their records in `docs/ways/`: `python -m benchmarks.ways.page`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from benchmarks.pairs import ROOT
from benchmarks.ways import uda

FOLDER, PAGE = ROOT / "docs" / "ways", ROOT / "docs" / "ways.md"
Record = Mapping[str, Any]
HEAD = """# Ways to transfer, measured

Made by `python -m benchmarks.ways.page` from the records in [ways/](ways); not written by hand. Each section names the
command that makes its record. Intervals are 95 % of the paired difference per seed (Student's t); with three seeds they
are wide. *Samples* are those of the target and, after a plus, of the source that a run saw.
"""


def main() -> None:
    """Write the page."""
    sections = {"uda": of_uda, "finetunings": of_finetunings, "objectives": of_objectives, "merging": of_merging}
    sections["replay"] = of_replay
    lines = [HEAD]
    for name, section in sections.items():
        path = FOLDER / f"{name}.json"
        if path.exists():
            lines += section(json.loads(path.read_text()))
    PAGE.write_text("\n".join(lines).rstrip() + "\n")
    print(f"written: {PAGE}")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    return [*(f"| {' | '.join(line)} |" for line in (columns, ["---"] * len(columns), *rows)), ""]


def spread(values: Sequence[float]) -> str:
    """Return a mean with the standard deviation."""
    return f"{fmean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")


def gap(found: Sequence[float | None] | None) -> str:
    """Return a difference with its interval, as `[mean, low, high]`."""
    if found is None or None in found:
        return ""
    mean, low, high = (float(one or 0) for one in found)
    return f"{mean:+.4f} ({low:+.4f} to {high:+.4f})"


def of_uda(record: Record) -> Iterator[str]:
    """Yield the section on adaptation without labels."""
    yield "## Without a label of the target"
    yield ""
    yield "Their own page is [ways_uda.md](ways_uda.md); here the accuracy on the test set in percent."
    yield ""
    rows = []
    for name, pair in uda.PAIRS.items():
        of = {one: {k: r for k, r in record.items() if k.startswith(f"{name}/{one}/")} for one in uda.OBJECTIVES}
        for objective, runs in of.items():
            values = [100 * float(one["test"]["target/accuracy"]) for one in runs.values()]
            if values:
                told = f"{fmean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")
                rows.append([pair.title, objective, told, str(len(values)), "0"])
    yield from table(["pair", "objective", "test", "seeds", "labels of the target"], rows)


def of_finetunings(record: Record) -> Iterator[str]:
    """Yield the section on finetunings."""
    yield "## Finetunings from ImageNet's weights at few labels"
    yield ""
    yield "`python -m benchmarks.ways.finetunings --data-root <folder>`: MobileNetV2, twelve species of flowers at 65"
    yield "pixels, 60 steps. `domain_adaptation` is `finetuning=full`; *against full* is on the test set. FLOP are too"
    yield "high: they were recorded when gradients of depthwise convolutions' weights still counted like those of full."
    yield ""
    for count, found in record.items():
        rows = []
        for row in found["rows"]:
            cost = row["cost"]
            name = f"**{row['arm']}**" if row["arm"] == found["recommended"] else row["arm"]
            figures = [spread(row["tests"]), gap(row["gain"]), gap(row["against_full"]), row["verdict"]]
            rows.append([name, *figures, str(row["seeds"]), f"{cost['target']:,.0f}", f"{cost['flops']:.1e}"])
        yield f"### {count} labels"
        yield ""
        yield str(found["headline"])
        yield ""
        columns = ["arm", found["metric"], "against scratch", "against full", "verdict", "seeds", "samples", "FLOP"]
        yield from table(columns, rows)


def of_objectives(record: Record) -> Iterator[str]:
    """Yield the section on joint objectives."""
    yield "## Joint objectives on the two tasks of MultiMNIST"
    yield ""
    yield "`python -m benchmarks.ways.objectives --data-root <folder>`: the mean accuracy of both tasks on the test"
    yield f"set, against the sum with the weight that validation chose (`{record['tuned']}`)."
    yield f"Found: {record['finding']}."
    yield ""
    rows = []
    for row in record["rows"]:
        against = row.get("against_tuned")
        told = "" if against is None else gap([against["mean"], against["low"], against["high"]])
        verdict = "" if against is None else against["verdict"]
        samples = " + ".join(f"{row['samples'].get(role, 0):,.0f}" for role in ("target", "source"))
        rows.append([row["arm"], spread(row["test"]), told, verdict, str(len(row["seeds"])), samples])
    yield from table(["objective", "test", "against the tuned sum", "verdict", "seeds", "samples"], rows)


def of_merging(record: Record) -> Iterator[str]:
    """Yield the section on merging."""
    yield "## Naive and masked merging of two halves"
    yield ""
    yield "`python -m benchmarks.ways.merging --data-root <folder>`: each half annotates some of the names; told on"
    yield "test pictures with all names annotated. Naive takes what a half does not annotate for absent, masked does"
    yield "not judge it."
    yield ""
    rows = []
    for name, found in record["answers"].items():
        against = found["masked_minus_naive"]
        means = [f"{found['mean'][arm]:.4f}" for arm in ("naive", "masked")]
        told = gap([against["mean"], against["low"], against["high"]])
        rows.append([name, found["metric"], *means, told, str(against["seeds"])])
    yield from table(["set", "metric", "naive", "masked", "masked against naive", "seeds"], rows)


def of_replay(record: Record) -> Iterator[str]:
    """Yield the section on keeping the old skill."""
    yield "## The old skill kept while a new one is learned"
    yield ""
    yield "`python -m benchmarks.ways.replay --data-root <folder>`: digits (MNIST), then clothes (Fashion-MNIST, 500"
    yield "labels) with a head of their own; *old* is the final accuracy on the digits' test set, *new* that on the"
    yield "clothes', each by its own head."
    yield ""
    yield "![New against old skill: points are runs, shares of replay are joined by a line](pictures/replay.svg)"
    yield ""
    rows = []
    for row in record["rows"]:
        old = spread(row["old"]) if row["old"] else ""
        samples = " + ".join(f"{row['samples'].get(role, 0):,.0f}" for role in ("target", "source"))
        rows.append([row["arm"], old, spread(row["new"]), gap(row["gain"]), str(len(row["new"])), samples])
    yield from table(["arm", "old", "new", "new against scratch", "seeds", "samples"], rows)


if __name__ == "__main__":
    main()
