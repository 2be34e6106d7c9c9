import pytest
import torch

from tl_modules.heads import HEADS, Judged
from tl_modules.heads.base import Head


def head(kind, labels=("a", "b", "c")):
    made = HEADS[kind]
    maps = ([8, 8], [4, 8]) if made.needs_maps else ([], [])
    return made(8, *maps, list(labels), made.field or kind)


def test_classification_says_names_the_probability_and_whether_they_agree():
    predictions = torch.tensor([[0.25, 0.75, 0.0], [0.5, 0.25, 0.25]])

    judged = head("classification").judged(predictions, torch.tensor([1, 2]), ["a", "b", "c"])

    assert judged == [Judged("b", "b", 0.75, 1.0), Judged("c", "a", 0.5, 0.0)]


def test_multilabel_says_the_share_of_names():
    judged = head("multilabel").judged(torch.tensor([[0.9, 0.8, 0.1]]), torch.tensor([[1, 0, 0]]), ["a", "b", "c"])

    assert (judged[0].truth, judged[0].prediction) == ("a", "a; b")
    assert judged[0].right == pytest.approx(2 / 3)


def test_regression_says_the_error_below_zero():
    assert head("regression").judged(torch.tensor([1.5]), torch.tensor([2.0]), []) == [Judged(2.0, 1.5, None, -0.5)]


def test_segmentation_says_the_share_of_pixels_that_have_a_name():
    truth = torch.tensor([[[0, 1], [2, 255]]])
    judged = head("segmentation").judged(torch.tensor([[[0, 1], [1, 0]]]), truth, ["a", "b", "c"])

    assert judged[0].right == pytest.approx(2 / 3)


def test_detection_says_f1_and_finds_each_box_once():
    box = [10.0, 10.0, 30.0, 30.0]
    found = {
        "boxes": torch.tensor([box, box, [50.0, 50, 60, 60]]),
        "scores": torch.tensor([0.9, 0.8, 0.1]),
        "labels": torch.tensor([0, 0, 0]),
    }
    true = {"boxes": torch.tensor([box]), "labels": torch.tensor([0])}
    nothing = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.long)}
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}

    judged = head("detection").judged([found, nothing, nothing, found], [true, true, empty, empty], ["a"])

    assert [one.right for one in judged] == [pytest.approx(2 / 3), 0.0, 1.0, 0.0]


def test_a_head_of_ones_own_need_not_judge():
    assert Head([], "x").judged(torch.zeros(2), torch.zeros(2), []) == []


def test_boxes_that_are_not_counted_need_not_be_found():
    box, other = [10.0, 10.0, 30.0, 30.0], [40.0, 40.0, 60.0, 60.0]
    nothing = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.long)}
    both = {"boxes": torch.tensor([box, other]), "labels": torch.tensor([0, 0]), "flags": torch.tensor([0, 1])}
    hard = {key: values[1:] for key, values in both.items()}
    one = {"boxes": torch.tensor([box]), "scores": torch.tensor([0.9]), "labels": torch.tensor([0])}
    two = {"boxes": torch.tensor([box, other]), "scores": torch.tensor([0.9, 0.8]), "labels": torch.tensor([0, 0])}

    judged = head("detection").judged([nothing, one, two, two], [hard, both, both, hard], ["a"])

    assert [one.right for one in judged] == [1.0, 1.0, 1.0, 0.0]


def test_a_label_map_with_nothing_to_judge_is_not_wrong():
    judged = head("segmentation").judged(torch.zeros(1, 2, 2).long(), torch.full((1, 2, 2), 255), ["a", "b"])

    assert judged[0].right == 1.0
