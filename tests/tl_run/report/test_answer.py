import math

import pytest

from tests.tl_run.report.made_up import run, stage, sweep
from tl_run.report import words
from tl_run.report.answer import CONTROL, answer
from tl_run.report.arms import Arm, settings_of
from tl_run.report.reading import read, read_run
from tl_run.report.statistics import CANNOT_TELL, HELPS, HURTS


def answered(folder):
    return answer(settings_of(read([folder])[0])[0][0])


def test_who_helps_who_hurts_and_of_whom_it_cannot_be_told(tmp_path):
    sweep(
        tmp_path,
        scratch=[0.50, 0.52, 0.48],
        multitask=[0.70, 0.73, 0.67],
        weight_sharing=[0.30, 0.31, 0.29],
        dataset_merging=[0.55, 0.40, 0.58],
    )
    found = answered(tmp_path)

    assert {row.arm.name: row.verdict for row in found.rows} == {
        "scratch": "",
        "multitask": HELPS,
        "weight_sharing": HURTS,
        "dataset_merging": CANNOT_TELL,
    }
    assert found.best == "multitask"
    assert words.headline(found).startswith("Use multitask: it helps, by +0.2000 test target/accuracy over scratch")


def test_the_arm_is_chosen_on_validation_and_its_gain_told_on_the_test_set(tmp_path):
    for seed in (0, 1, 2):
        run(tmp_path / f"s{seed}", "scratch", seed, test=0.5, val=0.5)
        run(tmp_path / f"a{seed}", "multitask", seed, test=0.4 + 0.001 * seed, val=0.9)
        run(tmp_path / f"b{seed}", "weight_sharing", seed, test=0.9, val=0.6)

    found = answered(tmp_path)

    assert found.best == "multitask"
    assert found.row("multitask").on_test.mean == pytest.approx(-0.099)
    assert "best on validation but not on the test set" in words.headline(found)


def test_null_control_is_exactly_zero_and_no_arm(tmp_path):
    found = answered(sweep(tmp_path, scratch=[0.5, 0.6], parallel_training=[0.5, 0.6], multitask=[0.7, 0.8]))
    row = found.row("parallel_training")

    assert (row.role, row.gap, row.verdict, found.warnings) == (CONTROL, 0.0, "", [])
    assert found.row("multitask").corrected == found.row("multitask").on_test.p


def test_a_null_control_that_is_not_zero_is_a_warning(tmp_path):
    found = answered(sweep(tmp_path, scratch=[0.5, 0.6], parallel_training=[0.5, 0.625]))

    assert found.warnings[0].startswith("The null control is not zero")
    assert "0.025" in found.warnings[0]


@pytest.mark.parametrize("changes", [{"mode": "proportional"}, {"objective": "uncertainty"}, {"baseline_key": "x"}])
def test_what_shares_nothing_but_is_trained_otherwise_is_no_null_control(tmp_path, changes):
    from tl_run.report.answer import is_control
    from tl_run.report.arms import Arm
    from tl_run.report.reading import read_run

    base = Arm("scratch", {0: read_run(run(tmp_path / "s"))}, cell="scratch")
    arm = Arm("p", {0: read_run(run(tmp_path / "p", "parallel_training", **changes))}, cell="parallel_training")
    equal = Arm("p", {0: read_run(run(tmp_path / "q", "parallel_training"))}, cell="parallel_training")

    assert not is_control(arm, base)
    assert is_control(equal, base)


def test_what_is_missing_comes_with_the_command_that_fills_it(tmp_path):
    sweep(tmp_path, scratch=[0.5, 0.52, 0.48], multitask=[0.56, 0.55, 0.57])
    for seed in (0, 1, 2):
        run(tmp_path / f"w{seed}", "weight_sharing", seed, 0.5 + (0.1, -0.04, 0.03)[seed])
    (tmp_path / "multitask_2" / "results.json").unlink()
    found = answered(tmp_path)
    gaps = {gap.what: gap.command for gap in words.missing(found)}
    row = found.row("weight_sharing")

    assert gaps["multitask with seed 2"] == "python train.py cell=multitask steps=20 seed=2"
    more = row.needed - 3
    assert row.more_seconds == more * 20
    said = next(what for what in gaps if what.startswith(f"weight_sharing: about {more} more seeds"))
    assert gaps[said].splitlines()[0].startswith("python train.py -m cell=weight_sharing steps=20 ")
    assert any("trainer.patience=5" in (command or "") for command in gaps.values())
    assert "give report.py these folders too" in (words.afterwards(found) or "")


def test_what_a_comparison_is_missing_is_filled_by_its_own_command(tmp_path):
    sweep(tmp_path, scratch=[0.5, 0.52, 0.48], multitask=[0.56, 0.55, 0.57], weight_sharing=[0.56, 0.55])
    (setting,), _ = settings_of(read([tmp_path])[0])
    setting.again = "python compare.py compare.seeds=3 'compare.rates=[0.001,0.003]' dataset@target=mnist"

    gaps = {gap.what: gap.command for gap in words.missing(answer(setting))}

    again = "python compare.py 'compare.rates=[0.001,0.003]' dataset@target=mnist compare.seeds=3"
    assert gaps["weight_sharing with seed 2"] == again
    said = next(
        what for what in gaps if what.startswith("multitask: about") or what.startswith("weight_sharing: about")
    )
    name = said.partition(":")[0]
    assert f"'compare.arms=[{name}]' compare.seeds=" in gaps[said]


def test_a_command_of_one_arm_leaves_out_what_does_nothing_there_and_folds_are_a_sweep(tmp_path):
    sweep(tmp_path, scratch=[0.5, 0.52, 0.48], multitask=[0.52, 0.5, 0.53])
    (setting,), _ = settings_of(read([tmp_path])[0])
    setting.again = "python compare.py compare.race=true compare.without_labels=source compare.seeds=3"
    found = answer(setting)
    (said,) = [gap.command for gap in words.missing(found) if gap.what.startswith("multitask: about")]
    assert said is not None and said.startswith("python compare.py 'compare.arms=[multitask]' compare.seeds=")
    assert "a report of its own" in (words.afterwards(found) or "")
    assert words.command(["cell=scratch", "target.fold=1/2,2/2"], [0]).startswith("python train.py -m cell=scratch")


def test_without_a_baseline_it_is_what_is_missing(tmp_path):
    found = answered(sweep(tmp_path, multitask=[0.5, 0.6]))

    assert found.baseline is None
    (gap,) = words.missing(found)
    assert (gap.what, gap.command) == ("a baseline", "python train.py -m cell=scratch steps=20 seed=0,1")


def test_a_baselines_command_leaves_out_what_is_of_a_source(tmp_path):
    sweep(tmp_path, domain_adaptation=[0.5, 0.6])
    of_it = [
        "objective=mcc",
        "+objective.weight=2",
        "selection.without_labels=source",
        "cell.replay=0.1",
        "cell.clip=2",
    ]
    for seed in (0, 1):
        lines = ["cell=domain_adaptation", f"seed={seed}", "steps=20", *of_it]
        (tmp_path / f"domain_adaptation_{seed}" / ".hydra" / "overrides.yaml").write_text(
            "".join(f"- {line}\n" for line in lines)
        )
    (gap,) = words.missing(answered(tmp_path))
    assert gap.command == "python train.py -m cell=scratch steps=20 cell.clip=2 seed=0,1"


def test_with_one_seed_more_of_the_baseline_are_missing_too(tmp_path):
    gaps = {gap.what: gap.command for gap in words.missing(answered(sweep(tmp_path, scratch=[0.5], multitask=[0.6])))}
    assert gaps["multitask: two seeds at least"].splitlines() == [
        "python train.py -m cell=multitask steps=20 seed=1,2",
        "python train.py -m cell=scratch steps=20 seed=1,2",
    ]


def test_equal_scores_are_told_as_no_difference(tmp_path):
    gaps = [gap.what for gap in words.missing(answered(sweep(tmp_path, scratch=[0.5, 0.6], multitask=[0.5, 0.6])))]
    assert "multitask: a difference; it scores as scratch does with every seed" in gaps


def test_a_baseline_that_had_not_reached_its_plateau_is_told_as_such(tmp_path):
    sweep(tmp_path, scratch=[0.5, 0.52], multitask=[0.8, 0.811])
    setting = settings_of(read([tmp_path])[0])[0]
    ends = ("all steps", "no better val/target/accuracy in 5 validations")
    for seed, ended in enumerate(ends):
        run(
            tmp_path / f"long{seed}",
            "scratch",
            seed,
            0.6 + 0.012 * seed,
            stages=[stage("target", ended=ended, steps=200)],
        )
    longer = {seed: read_run(tmp_path / f"long{seed}") for seed in (0, 1)}
    setting[0].plateau = Arm("scratch_plateau", longer, "", [], "scratch")
    said = words.lasting(answer(setting[0]))
    assert (
        said.startswith("Better or only faster? Not clear")
        and "(200 steps; 1 of 2 runs were still getting better)" in said
    )


@pytest.mark.parametrize(
    ("again", "says"),
    [
        (None, "steps=200 cell.schedule=constant trainer.patience=5"),
        ("compare.py steps=20", "compare.py steps=20 compare.plateau=true"),
        ("compare.py compare.plateau=true", "compare.py compare.plateau=true"),
    ],
)
def test_the_run_to_the_plateau_is_asked_for_by_a_command_that_is_part_of_the_same_report(tmp_path, again, says):
    sweep(tmp_path, scratch=[0.5, 0.52], multitask=[0.7, 0.711])
    setting = settings_of(read([tmp_path])[0])[0][0]
    setting.again = again
    (gap,) = [gap for gap in words.missing(answer(setting)) if "only faster" in gap.what]
    assert gap.command == says if again else says in gap.command


@pytest.mark.parametrize(("values", "says"), [((0.55, 0.56), "Better, not only"), ((0.8, 0.81), "Only faster")])
def test_better_or_only_faster_is_against_scratch_at_its_plateau(tmp_path, values, says):
    sweep(tmp_path, scratch=[0.5, 0.52], multitask=[0.7, 0.711])
    long = stage("target", ended="no better val/target/accuracy in 5 validations", steps=200)
    for seed, value in enumerate(values):
        run(tmp_path / f"long{seed}", "scratch", seed, value, stages=[long], baseline_key="other")

    assert words.lasting(answered(tmp_path)).startswith(says)


def test_a_lower_error_is_better_where_the_metric_is_an_error(tmp_path):
    for cell, values in {"scratch": (2.0, 2.1, 1.9), "multitask": (1.0, 1.12, 0.9)}.items():
        for seed, value in enumerate(values):
            one = stage("target", monitor="val/target/mae", selection="val/target/mae min")
            same = {"selection": "val/target/mae min", "stages": [one]}
            run(tmp_path / f"{cell}{seed}", cell, seed, value, metric="target/mae", **same)

    found = answered(tmp_path)

    assert (found.best, found.row("multitask").verdict) == ("multitask", HELPS)
    assert found.row("multitask").on_test.mean == pytest.approx(0.9933, abs=1e-4)


def test_what_became_of_the_source_is_told(tmp_path):
    first = stage("source", monitor="val/source/accuracy", score=0.8)
    for seed in (0, 1):
        run(tmp_path / f"s{seed}", seed=seed)
        run(tmp_path / f"d{seed}", "domain_adaptation", seed, stages=[first, stage("target")])
    lost = answered(tmp_path).row("domain_adaptation").forgotten

    assert (lost.metric, lost.before) == ("source/accuracy", 0.8)
    assert math.isnan(lost.after)


def test_a_small_p_value_is_not_told_as_nought(tmp_path):
    sweep(tmp_path, scratch=[0.5, 0.51, 0.52, 0.53], multitask=[0.7, 0.71, 0.72, 0.7301])
    row = answered(tmp_path).row("multitask")
    assert 0 < row.corrected < 0.001 and "< 0.001" in words.cells(row)
