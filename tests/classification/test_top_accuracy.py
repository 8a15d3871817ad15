"""Top-1 and top-5 against a case made by hand."""

from __future__ import annotations

import pytest
import torch

from mmconvnext.classification import TopAccuracy
from mmconvnext.classification.top_accuracy import rank_of


def figures(cases: list[tuple[list[float], int]], **settings) -> dict[str, float]:
    metric = TopAccuracy(**settings)
    for scores, label in cases:
        sample = {"pred_scores": torch.tensor(scores), "gt_label": torch.tensor(label)}
        metric.process(None, [sample])
    return metric.evaluate(len(cases))


# Six classes in falling order, so that the label is how many come before it.
FALLING = [0.6, 0.5, 0.4, 0.3, 0.2, 0.1]


def test_figures_of_a_case_made_by_hand():
    found = figures([(FALLING, label) for label in (0, 0, 1, 4, 5)])
    assert found == {"accuracy/top1": 40.0, "accuracy/top5": 80.0}


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_with_five_classes_or_fewer_there_is_no_top5(classes):
    assert figures([(FALLING[:classes], 0), (FALLING[:classes], 1)]) == {"accuracy/top1": 50.0}


def test_of_equal_scores_the_first_classs_comes_first_as_argmax_has_it():
    scores = torch.tensor([0.1, 0.3, 0.3, 0.3])
    assert [rank_of(scores, label) for label in range(4)] == [3, 0, 1, 2]
    assert scores.argmax() == 1
    # A network that says the same of everything is right by chance, not always.
    assert figures([([0.25] * 4, label) for label in range(4)], topk=(1, 2)) == {
        "accuracy/top1": 25.0,
        "accuracy/top2": 50.0,
    }


@pytest.mark.parametrize("scores", [[float("nan")] * 6, [float("nan"), 0.9, 0, 0, 0, 0]])
def test_scores_that_are_no_numbers_are_wrong(scores):
    assert figures([(scores, 0)]) == {"accuracy/top1": 0.0, "accuracy/top5": 0.0}


@pytest.mark.parametrize("topk", [(), (0,), (1, -5)])
def test_a_wrong_k_is_named(topk):
    with pytest.raises(ValueError, match="expected numbers of 1 and above"):
        TopAccuracy(topk=topk)
