"""The report as a page that needs nothing else, as Markdown, and as a table of runs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from tl_run.report import charts, words
from tl_run.report.advice import HEADER as FORETOLD_HEADER
from tl_run.report.answer import BASELINE, CONTROL, Answer, Row
from tl_run.report.crossing import TABLE, added, read
from tl_run.report.judged import Told, differing, pictures
from tl_run.report.reading import LeftOut
from tl_run.report.statistics import Calibration
from tl_run.report.unlabelled import lines_on

STYLE = """
:root { --ink: #24292f; --pale: #57606a; --line: #d0d7de; --soft: #f6f8fa; --gain: #0969da; --loss: #bc4c00; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 1.5rem 1.25rem 4rem; color: var(--ink); background: #fff;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 .3rem; } p { margin: .4rem 0; }
.answer { border-left: 5px solid var(--pale); background: var(--soft); padding: .8rem 1rem; margin: .8rem 0; }
.answer.helps { border-color: var(--gain); } .answer.hurts { border-color: var(--loss); }
.answer strong { font-size: 1.1rem; }
.warning { background: #b42318; color: #fff; padding: .8rem 1rem; margin: 0 0 1rem; font-weight: 600; }
.note, figcaption { color: var(--pale); font-size: .85rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; min-width: 100%; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { color: var(--pale); font-weight: 600; } th:first-child, td:first-child { text-align: left; }
td:first-child { white-space: normal; min-width: 9rem; } tr.best td { background: #eef6ff; }
.helps { color: var(--gain); } .hurts { color: var(--loss); } .bad { color: #b42318; font-weight: 600; }
div.answer.helps, div.answer.hurts { color: var(--ink); }
figure { margin: .6rem 0; } .drawn { overflow-x: auto; } svg, img { width: 100%; height: auto; display: block; }
svg.wide { min-width: 560px; } img { min-width: 760px; } svg.square { max-width: 480px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(270px, 1fr)); gap: .5rem; }
pre { background: var(--soft); padding: .5rem .7rem; margin: .2rem 0 .7rem; font-size: .8rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
details { margin: .6rem 0; } summary { cursor: pointer; }
@media print { body { max-width: none; padding: 0; font-size: 11px; } h2, h3 { break-after: avoid; }
  figure, .answer, .warning, tr, .missing { break-inside: avoid; } table { font-size: 9px; }
  th, td { padding: .15rem .25rem; white-space: normal; } .table, .drawn { overflow: visible; }
  svg.wide, img { min-width: 0; } .pair { grid-template-columns: repeat(3, 1fr); }
  .warning, .answer, tr.best td, pre { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
@page { margin: 14mm; }
"""
MOST_MATRICES = 6
MOST_SETTINGS = 3  # whose test samples are drawn


@dataclass
class Section:
    """What a setting's part of the page shows beside its tables.

    Args:
        answer: What its runs say.
        charts: Title, a line on how to read it, and SVG or an `img` element, in order.
        notes: What could not be shown, and why.
        calibrations: Calibration by arm.
        told: Samples that the best arm gets right and the other wrong, and the other way round.
        pictures: These drawn, as PNG in base64.
        names: The two arms.
    """

    answer: Answer
    charts: list[tuple[str, str, list[str]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    calibrations: dict[str, Calibration] = field(default_factory=dict)
    told: dict[str, Sequence[Told]] = field(default_factory=dict)
    pictures: dict[str, str] = field(default_factory=dict)
    names: tuple[str, str] = ("", "")


def section(answer: Answer, draw: bool = True) -> Section:
    """Return what is shown of a setting.

    Args:
        answer: What its runs say.
        draw: Whether test samples are drawn, for which the data are read again.
    """
    made = Section(answer)
    base = answer.baseline
    made.charts.append(("The cube", CUBE, [charts.cube(answer)]))
    if base is not None and len(answer.rows) > 1:
        made.charts.append(("Differences", FOREST, [charts.forest(answer)]))
    both = charts.old_and_new(answer)
    if both:
        made.charts.append(("Old and new skill", SKILLS, [both]))
    lines = charts.curves(answer)
    if lines:
        made.charts.append(("Learning curves", CURVES, [lines]))
    arms = [row.arm for row in answer.rows if row.role != CONTROL]
    found = {arm.name: charts.calibration_of(arm) for arm in arms}
    made.calibrations = {name: one for name, one in found.items() if one is not None}
    counted = {arm.name: charts.confusion(arm) for arm in arms}
    by_arm = {name: one for name, one in counted.items() if one is not None}
    small = {name: one for name, one in by_arm.items() if len(one[0]) <= charts.MOST_CLASSES}
    if small:
        chosen = [name for name in dict.fromkeys([*(n for n in (base and base.arm.name, answer.best) if n), *small])]
        chosen = [name for name in chosen if name in small][:MOST_MATRICES]
        made.charts.append(("Confusion", CONFUSION, [charts.matrix(*small[name], name) for name in chosen]))
        own = base.arm.name if base else None
        if own in small:
            changed = [charts.matrix(small[n][0], _minus(small[n][1], small[own][1]), f"{n} minus {own}", signed=True)
                       for n in chosen if n != own and small[n][0] == small[own][0]]  # fmt: skip
            if changed:
                made.charts.append(("Change of confusion", CHANGE, changed))
    elif by_arm:
        made.notes.append(f"More than {charts.MOST_CLASSES} classes: confusion matrices are not drawn.")
    across = {arm.name: added(read(run.folder / TABLE) for run in arm.runs.values()) for arm in arms}
    for name, tables in across.items():
        if tables and max(len(one.found) for one in tables.values()) <= charts.MOST_CLASSES:
            drawn = [charts.across(one, f"{name}: samples of the {role}") for role, one in tables.items()]
            made.charts.append(("Confusion across datasets", ACROSS, drawn))
    if not any(run.judged() for arm in arms for run in arm.runs.values()):
        made.notes.append("These runs have no table of their test samples, so confusion, calibration and single "
                          "samples cannot be shown.")  # fmt: skip
    if made.calibrations:
        made.charts.append(("Calibration", CALIBRATION, [charts.reliability(made.calibrations)]))
    _tell(made, draw)
    return made


def _tell(made: Section, draw: bool) -> None:
    """Find the samples on which the best arm and the baseline differ, and draw them."""
    answer, base = made.answer, made.answer.baseline
    others = [row for row in answer.rows if row.role not in (CONTROL, BASELINE)]
    if base is None or not others:
        return
    best = answer.row(answer.best) if answer.best not in (None, base.arm.name) else others[0]
    made.names = (best.arm.name, base.arm.name)
    better, worse = differing(best.arm, base.arm)
    for few, (one, other) in ((better, made.names), (worse, made.names[::-1])):
        if few:
            graded = any(told.hits is None for told in few)
            made.told[f"{one} better than {other}" if graded else f"{one} right, {other} wrong"] = few
    if draw and made.told:
        try:
            made.pictures = pictures(best.arm, made.told, made.names)
        except ValueError as error:
            made.notes.append(f"{error}.")


def _minus(one: charts.Matrix, other: charts.Matrix) -> charts.Matrix:
    return [[a - b for a, b in zip(*rows, strict=True)] for rows in zip(one, other, strict=True)]


CUBE = (
    "The test gain of each cell over the baseline: blue is better, orange worse, pale where the 95 % interval "
    "covers zero, hatched where there is no run."
)
FOREST = (
    "Mean (diamond) and 95 % interval of the differences paired by seed, on the test set; grey where the interval "
    "covers zero. Thin strokes are single seeds."
)
LABELS = "Shaded is the 95 % interval of the paired difference on the test set."
SKILLS = (
    "To the right, less of the source is forgotten; upwards, more of the target is learned. Diamonds are means over "
    "seeds, dots are runs; arms that differ in their share of replay alone are joined. Thin dotted lines are runs of "
    "wise_ft, from old weights to new ones, on validation. Dashed is the baseline, which has no old skill."
)
CURVES = (
    "Thin lines are seeds, the thick one is their mean. Samples of both roles count, so that an arm that sees more is "
    "not taken for one that learns faster."
)
CONFUSION = "Percent of each true class, over all seeds."
ACROSS = (
    "Two merged datasets, all names allowed: percent of each true name of one dataset, over all seeds. The names that "
    "only the other one has should be pale."
)
CHANGE = "Percentage points; blue is more, orange less. Blue on the diagonal and orange off it is what one wants."
CALIBRATION = (
    "On the line, predictions are as often right as they say. Points are as large as their share of the samples. ECE "
    "is the expected calibration error, the mean of the runs' own."
)
COSTS = (
    "Means over the seeds. Labelled are samples of the target that an arm may know; seen are samples that passed "
    "through training. Of the source's score, before is on validation when its stage ended, after on the test set."
)
FORETOLD = "What frozen features had foretold before anything was trained, beside what came out: places by test mean."
EXPLAINED = (
    "The arm is chosen on validation and its gain is told on the test set, which chose nothing. Differences are paired "
    "by seed; intervals are Student's, at 95 %, each by itself; p-values are corrected by Holm over the arms, and the "
    "verdict is theirs at 5 %."
)


def html(title: str, sections: Sequence[Section], left_out: Sequence[LeftOut]) -> str:
    """Return the page.

    Args:
        title: Its title.
        sections: What is shown of each setting.
        left_out: Folders that are not counted.
    """
    body = [f"<p class='warning'>{escape(line)}</p>" for one in sections for line in one.answer.warnings]
    body.append(f"<h1>{escape(title)}</h1>")
    labels = charts.by_labels([one.answer for one in sections])
    for index, one in enumerate(sections):
        if one.answer.setting.title:
            body.append(f"<h2>{escape(one.answer.setting.title)}</h2>")
        body += _shown(one)
        if index == 0 and labels:
            body += _figure("Gain by labelled samples", LABELS, [labels])
    if left_out:
        body.append("<h2>Left out</h2>")
        rows = [[str(one.folder), one.why] for one in left_out]
        body.append(_table(("folder", "why"), rows).replace("<table>", "<table style='text-align:left'>"))
    return (
        f"<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
        f"<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _shown(one: Section) -> list[str]:
    answer = one.answer
    best = answer.row(answer.best) if answer.best else None
    kind = best.verdict if best is not None and best.verdict in ("helps", "hurts") else ""
    faster = words.lasting(answer)
    lines = [f"<div class='answer {kind}'><strong>{escape(words.headline(answer))}</strong>"]
    lines += [f"<p>{escape(said)}</p>" for said in (faster, *lines_on(answer.setting)) if said]
    lines += [f"<p class='note'>{escape(EXPLAINED)}</p></div>"]
    body = ["".join(lines)]
    marks = [_mark(row, answer) for row in answer.rows]
    table = [words.cells(row) for row in answer.rows]
    body.append(_table(words.HEADER[: words.NARROW], [line[: words.NARROW] for line in table], marks))
    said = [(row.arm.name, row.arm.says) for row in answer.rows if row.arm.says]
    if said:
        body.append("<ul class='note'>" + "".join(f"<li>{escape(n)}: {escape(s)}</li>" for n, s in said) + "</ul>")
    title, how, drawn = one.charts[0]
    body += _figure(title, how, drawn)
    gaps = words.missing(answer)
    if gaps:
        body.append("<h3>What is missing for a verdict</h3>")
        for gap in gaps:
            shown = f"<pre>{escape(gap.command)}</pre>" if gap.command else ""
            body.append(f"<div class='missing'>{escape(gap.what)}{shown}</div>")
        then = words.afterwards(answer)
        body += [f"<p class='note'>{escape(then)}</p>"] if then else []
    for title, how, drawn in one.charts[1:2]:
        body += _figure(title, how, drawn)
    body.append(f"<h3>What it costs</h3><p class='note'>{escape(COSTS)}</p>")
    body.append(_table(words.COSTS, [[line[0], *line[words.NARROW :]] for line in table]))
    for title, how, drawn in one.charts[2:]:
        body += _figure(title, how, drawn)
    for what, few in one.told.items():
        body.append(f"<h3>{escape(what[0].upper() + what[1:])}</h3>")
        if what in one.pictures:
            alt = escape("; ".join(f"{told.id}: {told.truth}" for told in few), quote=True)
            image = f"<img alt='{alt}' src='data:image/png;base64,{one.pictures[what]}'>"
            body.append(f"<figure><div class='drawn'>{image}</div></figure>")
        else:
            body.append(_table(("sample", "true", *one.names), [[t.id, *t.lines()] for t in few]))
    told = words.foretold(answer)
    if told is not None:
        body.append(f"<h3>Foretold</h3><p class='note'>{escape(FORETOLD)}</p>{_table(FORETOLD_HEADER, told[2])}")
        body.append(f"<p>{escape(' '.join(told[1]))}</p><pre>{escape(chr(10).join(told[0]))}</pre>")
    body += [f"<p class='note'>{escape(note)}</p>" for note in one.notes]
    return body


def _mark(row: Row, answer: Answer) -> str:
    kinds = [row.verdict] if row.verdict in ("helps", "hurts") else []
    kinds += ["bad"] if row.role == CONTROL and row.gap != 0 else []
    kinds += ["best"] if row.arm.name == answer.best else []
    return " ".join(kinds)


def _figure(title: str, how: str, drawn: Sequence[str]) -> list[str]:
    inner = drawn[0] if len(drawn) == 1 else f"<div class='pair'>{''.join(drawn)}</div>"
    figure = f"<figure><div class='drawn'>{inner}</div><figcaption>{escape(how)}</figcaption></figure>"
    return [f"<h3>{escape(title)}</h3>{figure}"]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], marks: Sequence[str] | None = None) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    lines = []
    for index, row in enumerate(rows):
        mark = f" class='{marks[index]}'" if marks and marks[index] else ""
        lines.append(f"<tr{mark}>" + "".join(f"<td>{escape(value)}</td>" for value in row) + "</tr>")
    return f"<div class='table'><table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"


def markdown(title: str, sections: Sequence[Section], left_out: Sequence[LeftOut]) -> str:
    """Return the report as Markdown, without its pictures.

    Args:
        title: Its title.
        sections: What is shown of each setting.
        left_out: Folders that are not counted.
    """
    lines = [f"# {title}", ""]
    for one in sections:
        answer = one.answer
        lines += [f"## {answer.setting.title}", ""] if answer.setting.title else []
        lines += [f"**Warning: {line}**\n" for line in answer.warnings]
        lines += [f"**{words.headline(answer)}**", ""]
        faster = words.lasting(answer)
        for said in (faster, *lines_on(answer.setting)):
            lines += [said, ""] if said else []
        table = [words.cells(row) for row in answer.rows]
        lines += _piped(words.HEADER[: words.NARROW], [line[: words.NARROW] for line in table])
        lines += _piped(words.COSTS, [[line[0], *line[words.NARROW :]] for line in table])
        if one.calibrations:
            errors = [[name, f"{found.error:.3f}"] for name, found in one.calibrations.items()]
            lines += _piped(("arm", "expected calibration error"), errors)
        gaps = words.missing(answer)
        lines += ["Missing for a verdict:", ""] if gaps else []
        for gap in gaps:
            lines += [f"- {gap.what}", *([f"\n  ```\n{_indented(gap.command)}\n  ```"] if gap.command else [])]
        then = words.afterwards(answer)
        lines += ["", then] if then else []
        told = words.foretold(answer)
        if told is not None:
            lines += ["", FORETOLD, "", *_piped(FORETOLD_HEADER, told[2])]
            lines += [" ".join(told[1]), "", *(f"- {line.strip()}" for line in told[0])]
        lines.append("")
        lines += [note + "\n" for note in one.notes]
    lines += [EXPLAINED, ""]
    if left_out:
        lines += ["Left out:", "", *(f"- {one.folder}: {one.why}" for one in left_out), ""]
    return "\n".join(lines)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _piped(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines] + [""]


def table_of_runs(answers: Sequence[Answer]) -> str:
    """Return all runs that count as CSV, one a row.

    Args:
        answers: What the settings' runs say.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("setting", "arm", "role", "cell", "seed", "lr", "metric", "val", "test", "labelled",
                     "target_samples", "source_samples", "steps", "flops", "seconds", "parameters", "baseline_key",
                     "folder"))  # fmt: skip
    for one in answers:
        metric, plateau = one.setting.metric, one.setting.plateau
        arms = [(row.arm, row.role) for row in one.rows] + ([(plateau, "plateau")] if plateau else [])
        for arm, role in arms:
            for seed, run in arm.runs.items():
                found, seen = run.results, run.samples
                steps = sum(stage["steps"] for stage in found["stages"])
                writer.writerow((one.setting.title, arm.name, role, found["cell"], seed, found["lr"], metric,
                                 run.value("val", metric), run.value("test", metric), run.labelled,
                                 seen.get("target", 0), seen.get("source", 0), steps, found.get("flops"),
                                 found["seconds"], found["parameters"], found["baseline_key"], run.folder))  # fmt: skip
    return text.getvalue()
