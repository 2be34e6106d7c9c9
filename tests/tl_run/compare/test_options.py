from __future__ import annotations

import pytest

from tl_run.compare.arms import check_unlabelled, read_arms
from tl_run.compare.cli import check_source
from tl_run.compare.options import GRID, options, translated
from tl_run.paths import folders
from tl_run.schema import ConfigError


def test_quick_is_three_seeds_without_a_grid_unless_said_otherwise():
    assert (options({}).all_seeds(), options({}).grid()) == ([0, 1, 2, 3, 4], list(GRID))
    quick = options({"quick": True})
    assert (quick.all_seeds(), quick.grid()) == ([0, 1, 2], [])
    said = options({"quick": True, "seeds": 4, "rates": [0.1, 0.01, 0.1]})
    assert (said.all_seeds(), said.grid()) == ([0, 1, 2, 3], [0.01, 0.1])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"seeds": 1}, "compare.seeds=1: must be at least 2"),
        ({"rates": [0.1, -1.0]}, "compare.rates.1=-1.0: must be greater than 0"),
        ({"quick": "yes"}, "compare.quick=yes: must be true or false"),
        ({"arms": []}, "compare.arms=[]: must not be empty"),
        ({"race": True, "seeds": 2}, "compare.race=true: has no effect with 2 seeds, arms stop after 3"),
        ({"race": True, "quick": True}, "compare.race=true: has no effect with 3 seeds, arms stop after 3"),
    ],
)
def test_a_wrong_option_is_one_line(given, says):
    with pytest.raises(ConfigError) as error:
        options(given)
    assert str(error.value) == says


def test_options_of_a_comparison_stand_where_hydra_reads_a_sweepers():
    assert translated(["compare.seeds=3", "steps=5"]) == ["hydra.sweeper.seeds=3", "steps=5"]


@pytest.mark.parametrize("given", ["cell=multitask", "seed=1", "resume=x", "finetuning=full", "optimized_metric=a"])
def test_what_a_comparison_sets_itself_is_refused(given):
    with pytest.raises(ConfigError, match=f"^{given}: "):
        translated([given])


def test_several_arms_are_a_list():
    with pytest.raises(ConfigError, match=r"^compare.arms=a,b: must be a list; compare.arms=\[a,b\]$"):
        translated(["compare.arms=a,b"])
    assert translated(["compare.arms=[a,b]"]) == ["hydra.sweeper.arms=[a,b]"]


def test_an_unknown_option_is_named():
    with pytest.raises(ConfigError, match=r"compare\.seed=1: unknown option; did you mean seeds\? allowed: seeds, "):
        translated(["compare.seed=1"])


def test_advice_may_be_asked_for_without_the_prefix():
    for given in ("advise=true", "compare.advise=true"):
        assert translated([given, "steps=3"]) == ["hydra.sweeper.advise=true", "steps=3"]
    assert options({"advise": True}).advise


def test_a_rule_without_labels_needs_an_arm_that_reads_none():
    arms = read_arms(folders())
    check_unlabelled("source", [arms["scratch"], arms["mcc"]])
    with pytest.raises(ConfigError, match=r"^compare\.without_labels=source: has no effect"):
        check_unlabelled("source", [arms["scratch"], arms["multitask"]])


def test_a_target_of_ones_own_needs_a_source():
    check_source(["dataset@target=scenes/plain_detect"])
    check_source(["dataset@target=mnist", "dataset@source=usps"])
    check_source(["+experiment=mine", "dataset@target=mnist"])
    with pytest.raises(ConfigError, match=r"^dataset@source=: is missing beside dataset@target=mnist; name a dataset"):
        check_source(["dataset@target=mnist", "steps=5"])
