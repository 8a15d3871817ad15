import math

import numpy as np
import pytest
import torch

from mmconvnext.compat.mmcv_ops import install

install()

from mmcv.ops import batched_nms, nms, nms_match, soft_nms  # noqa: E402


def random_boxes(count, seed=0, grid=False):
    """Boxes that overlap a lot; on a grid there are many equal overlaps and scores."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * 60
    boxes = torch.cat([corners, corners + torch.rand(count, 2, generator=generator) * 40], 1)
    scores = torch.rand(count, generator=generator)
    if grid:
        return (boxes / 10).round() * 10, (scores * 5).round() / 5
    return boxes, scores


def iou(a, b, offset):
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    area = [(x2 - x1 + offset) * (y2 - y1 + offset) for x1, y1, x2, y2 in (a, b)]
    union = area[0] + area[1] - width * height
    return width * height / union if union else 0.0


def nms_reference(boxes, scores, threshold, offset=0):
    order = sorted(range(len(boxes)), key=lambda i: -scores[i])
    kept = []
    for i in order:
        if all(iou(boxes[i], boxes[k], offset) <= threshold for k in kept):
            kept.append(i)
    return kept


def soft_nms_reference(boxes, scores, threshold, sigma, min_score, method, offset):
    """One box after the other, with mmcv's swapping, so that equal scores come in its order."""
    pool = [(list(box), score, i) for i, (box, score) in enumerate(zip(boxes, scores, strict=True))]
    result = []
    while pool:
        best = max(range(len(pool)), key=lambda i: (pool[i][1], -i))
        pool[0], pool[best] = pool[best], pool[0]
        box, score, index = pool.pop(0)
        result.append((index, score))
        i = 0
        while i < len(pool):
            overlap = iou(box, pool[i][0], offset)
            factor = math.exp(-overlap * overlap / sigma) if method == "gaussian" else 1.0
            if method != "gaussian" and overlap >= threshold:
                factor = 1 - overlap if method == "linear" else 0.0
            pool[i] = (pool[i][0], pool[i][1] * factor, pool[i][2])
            if pool[i][1] < min_score:
                pool[i] = pool[-1]
                pool.pop()
            else:
                i += 1
    return result


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("grid", [False, True])
def test_nms_keeps_what_brute_force_keeps(offset, threshold, grid):
    boxes, scores = (part.double() for part in random_boxes(60, grid=grid))
    dets, kept = nms(boxes, scores, threshold, offset)
    assert kept.tolist() == nms_reference(boxes.tolist(), scores.tolist(), threshold, offset)
    assert torch.equal(dets, torch.cat([boxes[kept], scores[kept, None]], 1))


@pytest.mark.parametrize("threshold", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
def test_an_overlap_equal_to_the_threshold_suppresses_nothing(threshold):
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, threshold * 10]])
    assert nms(boxes, torch.tensor([0.9, 0.8]), threshold)[1].tolist() == [0, 1]


def test_the_offset_decides_between_touching_boxes():
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [1.0, 0.0, 2.0, 1.0]])  # with the offset: IoU 1/3
    scores = torch.tensor([0.9, 0.8])
    assert nms(boxes, scores, 0.3, offset=0)[1].tolist() == [0, 1]
    assert nms(boxes, scores, 0.3, offset=1)[1].tolist() == [0]


def test_boxes_of_zero_size_suppress_nothing_without_offset():
    boxes = torch.tensor([[5.0, 5.0, 5.0, 5.0]] * 3)
    scores = torch.tensor([0.5, 0.9, 0.5])
    assert nms(boxes, scores, 0.5, offset=0)[1].tolist() == [1, 0, 2]
    assert nms(boxes, scores, 0.5, offset=1)[1].tolist() == [1]


def test_nms_filters_by_score_and_cuts_to_the_best():
    boxes, scores = random_boxes(40)
    kept = [i for i in nms_reference(boxes.tolist(), scores.tolist(), 0.5) if scores[i] > 0.4]
    assert len(kept) > 5
    assert nms(boxes, scores, 0.5, score_threshold=0.4, max_num=5)[1].tolist() == kept[:5]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_nms_takes_half_precision_boxes_or_scores(dtype):
    boxes, scores = random_boxes(40)
    half_boxes, half_scores = boxes.to(dtype), scores.to(dtype)
    expected = nms_reference(half_boxes.tolist(), half_scores.tolist(), 0.5)
    assert nms(half_boxes, half_scores, 0.5)[1].tolist() == expected
    mixed = nms_reference(boxes.tolist(), half_scores.tolist(), 0.5)
    with torch.autocast("cpu", torch.bfloat16):
        assert nms(boxes, half_scores, 0.5)[1].tolist() == mixed


def test_numpy_boxes_give_numpy_results():
    boxes, scores = (part.numpy() for part in random_boxes(20))
    dets, kept = nms(boxes, scores, 0.5)
    assert isinstance(dets, np.ndarray)
    assert kept.tolist() == nms_reference(boxes.tolist(), scores.tolist(), 0.5)
    assert isinstance(soft_nms(boxes, scores)[1], np.ndarray)


@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("grid", [False, True])
def test_soft_nms_scores_and_order_equal_one_by_one(method, offset, grid):
    boxes, scores = (part.double() for part in random_boxes(50, seed=1, grid=grid))
    settings = (0.3, 0.5, 0.05, method, offset)
    dets, kept = soft_nms(boxes, scores, *settings)
    expected = soft_nms_reference(boxes.tolist(), scores.tolist(), *settings)
    assert kept.tolist() == [index for index, _ in expected]
    expected_scores = torch.tensor([score for _, score in expected], dtype=torch.float64)
    torch.testing.assert_close(dets[:, 4], expected_scores)
    assert torch.equal(dets[:, :4], boxes[kept])


def test_soft_nms_handles_boxes_of_zero_size_as_mmcv_documents():
    boxes = torch.tensor([[4.0, 3, 5, 3], [4, 3, 5, 4]] + [[3.0, 1, 3, 1]] * 4)
    scores = torch.tensor([0.9, 0.9, 0.5, 0.5, 0.4, 0.0])
    for method in ("naive", "linear", "gaussian"):
        dets, kept = soft_nms(boxes, scores, 0.6, sigma=0.5, method=method)
        assert kept.tolist() == [0, 1, 2, 3, 4]
        torch.testing.assert_close(dets[:, 4], scores[:5])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_soft_nms_keeps_the_precision_of_its_input(dtype):
    boxes, scores = (part.to(dtype) for part in random_boxes(20))
    dets, kept = soft_nms(boxes, scores, 0.3)
    wide_dets, wide_kept = soft_nms(boxes.float(), scores.float(), 0.3)
    assert dets.dtype == dtype
    assert torch.equal(kept, wide_kept)
    assert torch.equal(dets, wide_dets.to(dtype))


def test_input_boxes_and_scores_stay_untouched():
    boxes, scores = random_boxes(30)
    copies = boxes.clone(), scores.clone()
    nms(boxes, scores, 0.5, offset=1)
    soft_nms(boxes, scores, method="gaussian")
    assert torch.equal(boxes, copies[0])
    assert torch.equal(scores, copies[1])


def test_no_boxes_give_empty_results():
    boxes, scores = torch.zeros(0, 4), torch.zeros(0)
    for dets, kept in (
        nms(boxes, scores, 0.5),
        nms(boxes, scores, 0.5, 1),
        soft_nms(boxes, scores),
    ):
        assert dets.shape == (0, 5)
        assert kept.shape == (0,)
        assert kept.dtype == torch.long
    assert nms_match(torch.zeros(0, 5), 0.5) == []


@pytest.mark.parametrize("grid", [False, True])
def test_nms_match_groups_each_box_under_the_one_that_suppresses_it(grid):
    boxes, scores = random_boxes(40, seed=2, grid=grid)
    groups = [group.tolist() for group in nms_match(torch.cat([boxes, scores[:, None]], 1), 0.4)]
    left = sorted(range(40), key=lambda i: -scores[i].item())
    expected = []
    while left:
        first, *rest = left
        taken = [i for i in rest if iou(boxes[first].tolist(), boxes[i].tolist(), 0) >= 0.4]
        expected.append([first, *taken])
        left = [i for i in rest if i not in taken]
    assert groups == expected
    assert any(len(group) > 1 for group in expected)


def test_nms_match_suppresses_at_equality_and_keeps_boxes_of_zero_size():
    equal = torch.tensor([[0.0, 0, 10, 10, 0.9], [0, 0, 10, 5, 0.8]])
    assert [group.tolist() for group in nms_match(equal, 0.5)] == [[0, 1]]
    points = torch.tensor([[5.0, 5, 5, 5, 0.8], [5, 5, 5, 5, 0.9]])
    assert [group.tolist() for group in nms_match(points, 0.5)] == [[1], [0]]
    assert [group.tolist() for group in nms_match(equal.numpy(), 0.5)] == [[0, 1]]


@pytest.mark.parametrize("kind", ["nms", "soft_nms"])
@pytest.mark.parametrize("split_thr", [10000, 10])
def test_batched_nms_suppresses_only_within_a_class(kind, split_thr):
    boxes, scores = random_boxes(45, seed=3)
    classes = torch.arange(45) % 3
    settings = {"type": kind, "iou_threshold": 0.4, "split_thr": split_thr}
    dets, kept = batched_nms(boxes, scores, classes, settings)
    expected = {}
    for k in range(3):
        members = (classes == k).nonzero().flatten()
        part = boxes[members].tolist(), scores[members].tolist()
        if kind == "nms":
            found = [(i, part[1][i]) for i in nms_reference(*part, 0.4)]
        else:
            found = soft_nms_reference(*part, 0.4, 0.5, 1e-3, "linear", 0)
        expected.update({members[i].item(): score for i, score in found})
    assert sorted(kept.tolist()) == sorted(expected)
    assert torch.equal(dets[:, :4], boxes[kept])
    wanted = torch.tensor([expected[i] for i in kept.tolist()])
    # The split by classes shifts the boxes: their overlaps lose a few of fp32's digits.
    torch.testing.assert_close(dets[:, 4], wanted, rtol=1e-4, atol=1e-5)
    assert (dets[:-1, 4] >= dets[1:, 4]).all()
