import json

import pytest

from tests.tl_run.report.made_up import run, stage, sweep, table
from tl_run.report.arms import compared, settings_of
from tl_run.report.charts import calibration_of
from tl_run.report.reading import read, read_comparison


def settings(folder, **options):
    return settings_of(read([folder])[0], **options)[0]


def test_arms_are_what_differs_and_seeds_are_their_repeats(tmp_path):
    for seed in (0, 1):
        run(tmp_path / f"a{seed}", seed=seed)
        run(tmp_path / f"b{seed}", "domain_adaptation", seed, finetuning="full")
        run(tmp_path / f"c{seed}", "domain_adaptation", seed, finetuning="linear_probe")
        run(tmp_path / f"d{seed}", "multitask", seed)

    (one,) = settings(tmp_path)

    names = ["scratch", "domain_adaptation, finetuning full", "domain_adaptation, finetuning linear_probe", "multitask"]
    assert sorted(arm.name for arm in one.arms) == sorted(names)
    assert all(list(arm.runs) == [0, 1] for arm in one.arms)
    assert (one.baseline, one.arms[0].name, one.title) == ("scratch", "scratch", "")


def test_seeds_are_paired_within_one_baseline_key_and_titles_say_what_differs(tmp_path):
    run(tmp_path / "a", lr=0.01, baseline_key="x")
    run(tmp_path / "b", "multitask", lr=0.01, baseline_key="x")
    run(tmp_path / "c", lr=0.001, baseline_key="y")

    found = settings(tmp_path)

    assert [(one.title, [arm.name for arm in one.arms]) for one in found] == [
        ("lr 0.01", ["scratch", "multitask"]),
        ("lr 0.001", ["scratch"]),
    ]


def test_baseline_can_be_chosen_and_is_checked(tmp_path):
    sweep(tmp_path, scratch=[0.5], multitask=[0.6])

    assert settings(tmp_path, baseline="multitask")[0].arms[0].name == "multitask"
    with pytest.raises(ValueError, match=r"^baseline=nobody: no runs have it; allowed: scratch, multitask$"):
        settings(tmp_path, baseline="nobody")


def test_scratch_until_nothing_gets_better_is_no_arm(tmp_path):
    sweep(tmp_path, scratch=[0.5], multitask=[0.6])
    long = stage("target", ended="no better val/target/accuracy in 5 validations", steps=200)
    run(tmp_path / "long", stages=[long], baseline_key="other")

    (one,) = settings(tmp_path)

    assert [arm.name for arm in one.arms] == ["scratch", "multitask"]
    assert one.plateau is not None
    assert one.plateau.one.folder.name == "long"


def comparison(folder, **changes):
    content = {
        "schema": 1,
        "baseline": "scratch",
        "metric": "val/target/accuracy",
        "direction": "max",
        "arms": [
            {"name": "scratch", "says": "the target alone", "overrides": ["cell=scratch"], "cell": "scratch",
             "rate": 0.003, "rates_tried": [0.003]},
            {"name": "both", "says": "both at once", "overrides": ["cell=multitask"], "cell": "multitask",
             "rate": 0.01, "rates_tried": [0.003, 0.01]},
            {"name": "never", "says": "", "overrides": [], "cell": "multitask", "rate": None, "rates_tried": []},
        ],
        "runs": [
            {"arm": "scratch", "seed": 0, "rate": 0.003, "folder": "s0", "status": "complete"},
            {"arm": "both", "seed": 0, "rate": 0.003, "folder": "b0", "status": "complete"},
            {"arm": "both", "seed": 0, "rate": 0.01, "folder": "b1", "status": "complete"},
            {"arm": "both", "seed": 1, "rate": 0.01, "folder": "gone", "status": "failed"},
        ],
        **changes,
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / "comparison.json").write_text(json.dumps(content))
    return folder


def test_of_a_comparison_the_runs_at_the_chosen_rate_count(tmp_path):
    comparison(tmp_path)
    run(tmp_path / "s0", test=0.5)
    run(tmp_path / "b0", "multitask", test=0.1)
    run(tmp_path / "b1", "multitask", test=0.7, lr=0.01, baseline_key="another")

    one, left_out = compared(tmp_path, read_comparison(tmp_path))

    assert [arm.name for arm in one.arms] == ["scratch", "both"]
    assert one.arm("both").values("test", one.metric) == {0: 0.7}
    assert one.arm("both").says == "both at once"
    assert {gone.why for gone in left_out} == {"is not over: was never started", "arm never has no run that is over"}


@pytest.mark.parametrize("ended", ["all steps", "no better val/target/accuracy in 5 validations"])
def test_the_baseline_that_went_on_is_no_arm_of_a_comparison(tmp_path, ended):
    longer = {
        "name": "scratch_plateau",
        "says": "",
        "overrides": [],
        "cell": "scratch",
        "rate": 0.003,
        "longer": "scratch",
    }
    begun = {"arm": "scratch", "seed": 0, "rate": 0.003, "folder": "s0", "status": "complete"}
    content = read_comparison(comparison(tmp_path))
    more = {"arm": "scratch_plateau", "seed": 0, "rate": 0.003, "folder": "p0", "status": "complete"}
    comparison(tmp_path, arms=[*content["arms"][:2], longer], runs=[begun, more])
    run(tmp_path / "s0", test=0.5)
    run(tmp_path / "p0", test=0.6, stages=[stage("target", ended=ended, steps=200)])

    one, _ = compared(tmp_path, read_comparison(tmp_path))

    assert [arm.name for arm in one.arms] == ["scratch"]
    assert one.plateau is not None and one.plateau.values("test", one.metric) == {0: 0.6}
    one, _ = compared(tmp_path, {**read_comparison(tmp_path), "baseline": "scratch_plateau"})
    assert [arm.name for arm in one.arms] == ["scratch"] and one.baseline is one.plateau is None


def test_runs_of_a_comparison_that_are_not_begun_are_counted(tmp_path):
    runs = [
        {"arm": "both", "seed": seed, "rate": 0.01, "folder": f"x/../b{seed}", "status": "planned"} for seed in (1, 2)
    ]
    begun = {"arm": "scratch", "seed": 0, "rate": 0.003, "folder": "x/../s0", "status": "complete"}
    comparison(tmp_path, runs=[begun, *runs])
    run(tmp_path / "s0")

    one, left_out = compared(tmp_path, read_comparison(tmp_path))

    assert one.arm("scratch").runs[0].folder == tmp_path / "s0"
    assert [str(gone.why) for gone in left_out] == [
        "arm never has no run that is over",
        "its runs that are not begun: both 2; the same command goes on",
    ]


@pytest.mark.parametrize("content", ["", "[]", '{"schema": 9, "arms": []}'])
def test_a_comparison_that_cannot_be_read_is_named(tmp_path, content):
    (tmp_path / "comparison.json").write_text(content)

    with pytest.raises(ValueError, match=r"comparison\.json: (cannot be read|must be a comparison of schema 1)"):
        read_comparison(tmp_path)


def test_a_comparison_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no run of the comparison is over"):
        compared(comparison(tmp_path), read_comparison(tmp_path))


def test_folds_are_one_run_per_seed_with_the_means_of_their_scores(tmp_path):
    sizes = {"1/2": 47, "2/2": 48}
    for cell, scores in (("scratch", (0.4, 0.6)), ("multitask", (0.7, 0.7))):
        for (fold, size), score in zip(sizes.items(), scores, strict=True):
            target = {
                "dataset": "own",
                "labelled": {"train": size - 10, "val": 10},
                "train_size": size - 10,
                "fold": fold,
            }
            place = tmp_path / f"{cell}{fold[0]}"
            run(place, cell, test=score, target=target, baseline_key=f"key {fold}")
            table(place, [(f"{fold} a", "x", "x", 0.9, 1.0)])
            lines = f"- cell={cell}\n- seed=0\n- target.fold={fold}\n"
            (place / ".hydra" / "overrides.yaml").write_text(lines)

    (one,) = settings(tmp_path)

    values = {arm.name: arm.values("test", "target/accuracy") for arm in one.arms}
    assert values == {"scratch": {0: pytest.approx(0.5)}, "multitask": {0: pytest.approx(0.7)}}
    assert one.title == "" and "target.fold=1/2,2/2" in one.arms[0].overrides
    assert [sample.id for sample in one.arms[0].one.judged()] == ["1/2 a", "2/2 a"]
    assert one.arms[0].one.samples == {"target": 640}
    again = tmp_path / "again"
    again.mkdir()
    for path in (tmp_path / "scratch1").glob("*.json"):
        (again / path.name).write_text(path.read_text())
    (again / ".hydra").mkdir()
    (again / ".hydra" / "overrides.yaml").write_text("- cell=scratch\n- seed=0\n- target.fold=1/2\n")
    found, left_out = settings_of(read([tmp_path])[0])
    assert [len(arm.runs) for arm in found[0].arms] == [1, 1] and len(found) == 1
    assert [line.why[:18] for line in left_out] == ["is there twice: th"]
    (again / "results.json").unlink()
    (tmp_path / "multitask2" / "results.json").unlink()
    found, left_out = settings_of(read([tmp_path])[0])
    assert [arm.name for arm in found[0].arms] == ["scratch"]
    assert [line.why for line in left_out] == ["is of fold 1/2; its target.fold=2/2 is not there"]
    (tmp_path / "scratch1" / "results.json").unlink()
    assert [(one.title, one.arms[0].name) for one in settings(tmp_path)] == [
        ("fold 1/2, labelled samples 47", "multitask"),
        ("fold 2/2, labelled samples 48", "scratch"),
    ]


def test_an_arms_calibration_error_is_the_mean_of_its_runs(tmp_path):
    for seed, right in ((0, (1.0, 1.0)), (1, (0.0, 0.0))):
        place = run(tmp_path / f"a{seed}", seed=seed)
        table(place, [(name, "x", "x", 0.5, hit) for name, hit in zip("ab", right, strict=True)])
    (one,) = settings(tmp_path)
    found = calibration_of(one.arms[0])
    assert found.error == pytest.approx(0.5) and found.shares == [0.5]


def test_arms_are_named_by_what_differs_in_them(tmp_path):
    options = {"wise_ft": {"points": 11}, "full": None}
    for index, (finetuning, replay) in enumerate((("full", None), ("full", 0.3), ("wise_ft", None))):
        share = {"batch": None, "steps": 0.7, **({"replay": replay} if replay else {})}
        more = {"finetuning": finetuning, "finetuning_options": options[finetuning], "source_share": share}
        run(tmp_path / f"{index}", "domain_adaptation", **more)

    (one,) = settings(tmp_path)

    names = ["finetuning full", "finetuning full, replay 0.3", "finetuning wise_ft"]
    assert sorted(arm.name for arm in one.arms) == [f"domain_adaptation, {name}" for name in names]
