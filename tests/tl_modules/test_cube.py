from __future__ import annotations

from importlib import import_module
from itertools import product

import pytest

from tl_modules.cube import BY_NAME, CELLS, cell_for, check_pair, suggested
from tl_modules.task import Task

TASKS = {
    (same_task, same_domain): Task(
        "digits" if same_task else "places", "classification", ("a", "b"), "paper" if same_domain else "screen"
    )
    for same_task, same_domain in product((True, False), repeat=2)
}
TARGET = Task("digits", "classification", ("b", "c"), "paper")


def test_every_corner_has_one_cell():
    corners = [cell[1:4] for cell in CELLS]
    assert sorted(corners) == sorted(product((True, False), repeat=3))
    assert {cell_for(*corner) for corner in corners} == set(BY_NAME)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_class_is_where_the_table_says(cell):
    package, _, name = cell.path.rpartition(".")
    assert name in import_module(package).__all__
    assert cell_for(cell.same_task, cell.same_domain, cell.sequential) == cell.name


@pytest.mark.parametrize("pair", TASKS)
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_judgement_is_a_name_and_two_tasks_need_two_heads(cell, pair):
    fits = cell_for(*pair, cell.sequential)
    assert suggested(cell.name, TASKS[pair], TARGET) == fits
    if pair[0] or not cell.same_task:
        check_pair(cell.name, TASKS[pair], TARGET)
        return
    with pytest.raises(ValueError, match=f"fits is {fits}$") as error:
        check_pair(cell.name, TASKS[pair], TARGET)
    text = str(error.value)
    assert "\n" not in text and "different tasks" in text
    assert ("the same domain paper" if pair[1] else "different domains screen and paper") in text


def test_labels_do_not_make_another_task_but_the_kind_does():
    check_pair("task_finetuning", Task("digits", "classification", ("x",), "paper"), TARGET)
    check_pair("task_adaptation", Task("digits", "multilabel", ("b", "c"), "paper"), TARGET)


def test_scratch_takes_any_source_and_others_are_unknown():
    for source in TASKS.values():
        check_pair("scratch", source, TARGET)
    with pytest.raises(ValueError, match=r"cell=multitsk: unknown; allowed: task_finetuning, .*, scratch"):
        check_pair("multitsk", TARGET, TARGET)
