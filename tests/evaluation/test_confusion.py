from __future__ import annotations

import numpy as np
import pytest
import torch

from mmconvnext.evaluation.confusion import (
    box_overlaps,
    class_ious,
    detection_confusion,
    f1_of,
    match_boxes,
    pixel_confusion,
)


def boxes(*corners: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(corners, float).reshape(-1, 4)


def test_overlaps_are_torchvisions():
    from torchvision.ops import box_iou

    corners = torch.rand(20, 2, 2, generator=torch.Generator().manual_seed(0)) * 50
    made = torch.cat([corners.amin(1), corners.amax(1) + 1], dim=1).double()
    expected = box_iou(made[:12], made[12:]).numpy()
    assert expected.max() > 0.3
    assert box_overlaps(made[:12].numpy(), made[12:].numpy()) == pytest.approx(expected)


def test_the_right_class_is_matched_before_a_closer_wrong_one():
    truth = boxes((0, 0, 10, 10))
    found = boxes((0, 0, 10, 10), (0, 0, 10, 8))
    pairs = match_boxes(truth, np.array([1]), found, np.array([0, 1]))
    assert pairs == [(0, 1)]
    confusion = detection_confusion(truth, np.array([1]), found, np.array([0, 1]), 2)
    assert confusion.tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 0]]
    assert f1_of(confusion) == pytest.approx(2 / 3)


def test_every_kind_of_outcome_has_its_cell():
    truth = boxes((0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10))
    found = boxes((0, 0, 10, 10), (20, 0, 30, 10), (41, 6, 51, 16), (80, 80, 90, 90))
    confusion = detection_confusion(truth, np.array([0, 0, 1]), found, np.array([0, 1, 1, 0]), 2)
    # found, taken for the other, missed and found elsewhere (IoU below one half), found in nothing
    assert confusion.tolist() == [[1, 1, 0], [0, 0, 1], [1, 1, 0]]
    assert f1_of(confusion) == pytest.approx(2 * 1 / (3 + 4))


def test_what_lies_in_a_crowd_is_no_error():
    found, labels = boxes((2, 2, 8, 8), (50, 50, 60, 60)), np.array([0, 0])
    nothing = boxes(), np.array([], int)
    confusion = detection_confusion(*nothing, found, labels, 1, boxes((0, 0, 20, 20)))
    assert confusion.tolist() == [[0, 0], [1, 0]]


def test_a_picture_with_nothing_has_no_score():
    nothing = boxes(), np.array([], int)
    assert f1_of(detection_confusion(*nothing, *nothing, 2)) is None
    missed = detection_confusion(boxes((0, 0, 1, 1)), np.array([0]), *nothing, 2)
    assert f1_of(missed) == 0.0


def test_pixels_give_mmsegs_ious():
    from mmconvnext.evaluation.iou_metric import FastIoUMetric

    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 4, (2, 30, 40))
    truth[:5] = 255
    truth[truth == 3] = 2
    predicted[predicted == 3] = 1
    both, union, *_ = FastIoUMetric.intersect_and_union(
        torch.from_numpy(predicted), torch.from_numpy(truth), 4, 255
    )
    counts = pixel_confusion(truth, predicted, 4)
    assert counts.sum() == 25 * 40
    assert class_ious(counts)[:3] == pytest.approx((both / union).numpy()[:3])
    assert np.isnan(class_ious(counts)[3])
