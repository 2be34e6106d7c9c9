import csv
import json
import re

import pytest

from tests.tl_run.report.made_up import run, stage, sweep, table
from tl_run.report import charts
from tl_run.report.answer import skills
from tl_run.report.comparison import report
from tl_run.report_cli import main


def with_tables(folder):
    """Three seeds of two arms, of which one is right on two samples more."""
    sweep(folder, scratch=[0.5, 0.52, 0.48], multitask=[0.7, 0.73, 0.67], parallel_training=[0.5, 0.52, 0.48])
    for seed in (0, 1, 2):
        same = [("x0", "a", "a", 0.9, 1.0), ("x1", "b", "a", 0.6, 0.0)]
        wrong = [("x2", "b", "a", 0.8, 0.0), ("x3", "a", "b", 0.7, 0.0)]
        table(folder / f"scratch_{seed}", same + wrong)
        table(folder / f"multitask_{seed}", [*same, ("x2", "b", "b", 0.8, 1.0), ("x3", "a", "a", 0.7, 1.0)])
    return folder


@pytest.fixture
def page(tmp_path):
    report(with_tables(tmp_path))
    return (tmp_path / "report.html").read_text()


def test_the_page_stands_by_itself(page):
    assert not re.findall(r"(?:src|href)=['\"](?!data:|#)", page)
    assert "url(http" not in page
    assert "<script" not in page


def test_the_page_shows_answer_cube_forest_confusion_calibration_and_samples(page):
    for said in (
        "Use multitask: it helps, by +0.2000 test target/accuracy over scratch",
        "null control: 0",
        "no run",
        "multitask minus scratch",
        "Calibration",
        "Multitask right, scratch wrong",
        "x2",
    ):
        assert said in page
    assert "class='warning'" not in page


def kept(folder, share, seed, source, target, **changes):
    replayed = {"steps": 0.7, "batch": None, **({"replay": share} if share else {})}
    first = stage("source", monitor="val/source/accuracy", samples={"source": 320})
    tested = {"target/accuracy": target, "source/loss": 1.0, "source/accuracy": source}
    parts = {"stages": [first, stage("target")], "source_share": replayed, "source": {"dataset": "other"}, **changes}
    run(folder, "domain_adaptation", seed, **parts)
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps({**results, "test": tested}))


def test_old_and_new_skill_are_drawn_by_arm_and_joined_by_replay(tmp_path):
    for seed, value in enumerate((0.5, 0.6)):
        run(tmp_path / f"scratch{seed}", "scratch", seed, value)
        for share in (0.0, 0.2):
            kept(tmp_path / f"{share}_{seed}", share, seed, 0.4 + share + value / 10, 0.8 - share)
    curve = {"coefficients": [0, 1], "source": [0.9, 0.4], "target": [0.3, 0.8], "chosen": 1}
    curve["metric"] = {"source": "val/source/accuracy", "target": "val/target/accuracy"}
    kept(tmp_path / "wise", 0.0, 0, 0.5, 0.7, finetuning="wise_ft", wise_ft=curve)
    (made,) = report(tmp_path)
    found = {row.arm.name: skills(row.arm, "target/accuracy") for row in made.rows}
    assert found.pop("scratch") is None and len(found) == 3
    (replayed,) = (value for name, value in found.items() if "replay" in name and "replay 0.2" in name)
    assert replayed[0] == "source/accuracy" and replayed[1][1] == pytest.approx((0.66, 0.6))
    assert "Old and new skill" in (tmp_path / "report.html").read_text()
    drawn = charts.old_and_new(made)
    assert "old skill: test source/accuracy" in drawn and "replay 0.2" in drawn
    wise = next(row.arm for row in made.rows if "wise_ft" in row.arm.name)
    assert charts.between(wise.one, "target/accuracy") == ([0.9, 0.4], [0.3, 0.8])
    assert charts.between(wise.one, "target/macro_f1") == ([], [])


def test_without_a_source_that_was_tested_there_is_no_old_skill(tmp_path):
    (made,) = report(sweep(tmp_path, scratch=[0.5], multitask=[0.7]))
    assert charts.old_and_new(made) is None


def test_the_samples_are_listed_where_the_data_cannot_be_read_again(page):
    assert "the test&#x27;s samples cannot be shown" in page


def test_a_null_control_that_is_not_zero_stands_across_the_page(tmp_path):
    report(sweep(tmp_path, scratch=[0.5, 0.6], parallel_training=[0.5, 0.7]))

    page = (tmp_path / "report.html").read_text()
    assert page.index("class='warning'>The null control is not zero") < page.index("<h1>")
    assert "**Warning: The null control is not zero" in (tmp_path / "report.md").read_text()


def test_the_table_of_runs_has_all_that_count(tmp_path):
    report(with_tables(tmp_path), out=tmp_path / "out")

    rows = list(csv.DictReader((tmp_path / "out" / "runs.csv").open()))
    assert len(rows) == 9
    assert {row["role"] for row in rows} == {"baseline", "arm", "null control"}
    assert [row["test"] for row in rows if row["arm"] == "multitask"] == ["0.7", "0.73", "0.67"]


def test_names_are_text_and_never_markup(tmp_path):
    sweep(tmp_path, scratch=[0.5, 0.6])
    for seed in (0, 1):
        run(tmp_path / f"m{seed}", "<script>alert(1)</script>", seed, 0.6 + 0.1 * seed)

    report(tmp_path)

    assert "<script" not in (tmp_path / "report.html").read_text()


def test_gain_by_labelled_samples_is_drawn_where_they_vary(tmp_path):
    for count in (20, 40):
        for seed in (0, 1):
            target = {"dataset": "own", "labels": ["a", "b"], "labelled": {"train": count, "val": 10}}
            same = {"target": target, "baseline_key": str(count)}
            run(tmp_path / f"s{count}{seed}", "scratch", seed, 0.5, **same)
            run(tmp_path / f"m{count}{seed}", "multitask", seed, 0.6 + 0.01 * seed, **same)

    answers = report(tmp_path)

    page = (tmp_path / "report.html").read_text()
    assert [one.setting.title for one in answers] == ["labelled samples 30", "labelled samples 50"]
    assert page.count("Gain by labelled samples") == 1


def test_command_line_reports_and_says_what_is_wrong_in_a_line(tmp_path, capsys):
    sweep(tmp_path / "runs", scratch=[0.5, 0.6], multitask=[0.7, 0.8])
    (tmp_path / "empty").mkdir()

    main([str(tmp_path / "runs"), f"out={tmp_path / 'out'}", "draw=false"])
    assert (tmp_path / "out" / "report.html").exists()
    for arguments, status, said in (
        ([str(tmp_path / "empty")], 1, "there is no run to report"),
        ([str(tmp_path / "nowhere")], 2, "nowhere: must be a folder that exists"),
        ([str(tmp_path / "runs"), "drew=false"], 2, "drew=false: unknown option; did you mean draw?"),
        ([str(tmp_path / "runs"), "draw=no"], 2, "draw=no: must be true or false"),
        ([str(tmp_path / "runs"), "baseline=x"], 1, "baseline=x: no runs have it; allowed: scratch, multitask"),
        (["out=x"], 2, "a folder is missing"),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(arguments)
        error = capsys.readouterr().err
        assert left.value.code == status
        assert said in error
        assert error.count("\n") == 1


def test_a_report_is_called_by_its_datasets_and_their_folders(tmp_path):
    places = sweep(tmp_path / "runs", scratch=[0.5, 0.6], multitask=[0.6, 0.7])
    report(places, draw=False)
    assert "<title>other to own</title>" in (places / "report.html").read_text()
    for folder in places.iterdir():
        if folder.is_dir():
            roots = "data_root: /all\nsource: {root: /all/drawings}\ntarget: {root: /all}\n"
            (folder / "config.yaml").write_text(roots)
    report(places, draw=False)
    assert "<title>drawings (other) to own</title>" in (places / "report.html").read_text()
    run(places / "third", "task_finetuning", 0, 0.7, source={"dataset": "third"})
    report(places, draw=False)
    assert "<title>several sources to own</title>" in (places / "report.html").read_text()
