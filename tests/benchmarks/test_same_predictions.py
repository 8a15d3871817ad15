"""Equal predictions pass whatever their order; each kind of difference is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from mmengine.structures import InstanceData

from mmconvnext.benchmarks.same_predictions import check_same, compare


def predictions(count: int = 40) -> InstanceData:
    """Boxes side by side, in rows of eight, each with a mask of its upper half."""
    corner = torch.stack([torch.arange(count) % 8, torch.arange(count) // 8], 1) * 20.0
    masks = torch.zeros(count, 120, 160, dtype=torch.bool)
    for mask, (x, y) in zip(masks, corner.int().tolist(), strict=True):
        mask[y : y + 8, x : x + 16] = True
    return InstanceData(
        bboxes=torch.cat([corner, corner + 16], 1),
        scores=torch.linspace(0.9, 0.1, count),
        labels=torch.arange(count) % 3,
        masks=masks,
    )


def test_the_order_does_not_matter() -> None:
    expected = predictions()
    shuffled = predictions()[torch.randperm(40)]
    shuffled.bboxes += 1e-3
    shuffled.masks[0, 119, 159] = True
    found = check_same(shuffled, expected, "peer")
    assert (found.count, found.alone) == (80, 0)
    assert found.box == pytest.approx(1e-3, rel=0.01)
    assert found.mask == pytest.approx(1 / (40 * 8 * 16 + 1))
    assert str(found) == (
        "80 of both models' 80 detections are in both; they differ by 0.001 px, 0 in score, 0.0002 "
        "of the masks' pixels"
    )


def _box(p: InstanceData) -> None:
    p.bboxes[3, 2] += 0.02


def _score(p: InstanceData) -> None:
    p.scores[5] += 2e-4


def _nan(p: InstanceData) -> None:
    p.scores[5] = torch.nan


def _nan_box(p: InstanceData) -> None:
    p.bboxes[0] = torch.nan


def _mask(p: InstanceData) -> None:
    p.masks[7, :60, :1] = ~p.masks[7, :60, :1]


def _labels(p: InstanceData) -> None:
    p.labels[:2] = 5


def _places(p: InstanceData) -> None:
    p.bboxes[:2] += 3


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_box, r"boxes differ by 0\.02 px \(at most 0\.01\)"),
        (_score, r"scores differ by 0\.0002 \(at most 0\.0001\)"),
        (_nan, r"scores differ by nan"),
        (_nan_box, r"80 of both models' 80 detections have no partner"),
        (_mask, r"masks differ in 0\.01\d of their pixels \(at most 0\.001\)"),
        (
            _labels,
            r"4 of both models' 80 detections have no partner of their label and IoU >= 0\.9",
        ),
        (_places, r"4 of both models' 80 .* \(at most 3% may\)"),
    ],
)
def test_each_difference_is_named(spoil: Callable[[InstanceData], None], message: str) -> None:
    other = predictions()
    spoil(other)
    for pair in ((other, predictions()), (predictions(), other)):
        with pytest.raises(RuntimeError, match=f"^peer: predictions differ: {message}") as error:
            check_same(*pair, "peer")
        assert "\n" not in str(error.value)


def test_several_differences_are_one_line() -> None:
    other = predictions()
    _box(other), _score(other)
    with pytest.raises(RuntimeError, match=r"boxes differ by .*; scores differ by .*"):
        check_same(other, predictions(), "peer")


def test_a_tie_that_fell_the_other_way_is_counted_and_let_pass() -> None:
    """Of two boxes with all but equal scores NMS kept one here and the other there."""
    other = predictions()
    other.bboxes[39] += 6
    assert check_same(other, predictions(), "peer").alone == 2
    assert check_same(predictions()[:39], predictions(), "peer").alone == 1
    with pytest.raises(RuntimeError, match="3 of both models' 77 detections"):
        check_same(predictions()[:37], predictions(), "peer")


def test_a_detection_is_nobodys_partner_twice() -> None:
    twice = InstanceData.cat([predictions(30), predictions(30)])
    assert compare(twice, predictions(30)).alone == 30


def test_without_masks_and_without_detections() -> None:
    one, other = predictions(), predictions()
    del one.masks, other.masks
    assert check_same(one, other, "peer").mask == 0
    with pytest.raises(RuntimeError, match=r"^peer: no detections"):
        check_same(one[:0], other[:0], "peer")
    with pytest.raises(RuntimeError, match="40 of both models' 40 detections have no partner"):
        check_same(one[:0], other, "peer")
