import pytest
import torch

from mmconvnext.compat.mmcv_ops.lanes import line_nms_forward


def lane(start, length, x, slope=0.0):
    """Straight, from row ``start`` over ``length`` rows; where it is not, x makes no sense."""
    rows = torch.arange(72.0)
    xs = torch.where((rows >= start) & (rows < start + length), x + slope * rows, -1e5)
    return torch.cat([torch.tensor([0, 0, start / 71, 0, length]), xs])


def random_lanes(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(count, 4, generator=generator).tolist()
    lanes = [lane(int(40 * a), int(60 * b), 200 * c, 2 * d) for a, b, c, d in draw]
    return torch.stack(lanes), torch.rand(count, generator=generator)


def near(a, b, threshold):
    starts, lengths = [round(one[2] * 71) for one in (a, b)], [int(one[4]) for one in (a, b)]
    rows = [set(range(s, min(s + n, 72))) for s, n in zip(starts, lengths, strict=True)]
    common = rows[0] & rows[1]
    return bool(common) and (
        sum(abs(a[5 + row] - b[5 + row]) for row in common) < threshold * len(common)
    )


def reference(lanes, scores, threshold, top_k):
    order = sorted(range(len(lanes)), key=lambda i: -scores[i])
    kept, gone, went_for = [], set(), [0] * len(lanes)
    for place, i in enumerate(order):
        if i in gone or len(kept) == top_k:
            continue
        kept.append(i)
        for j in order[place:]:
            if j == i or near(lanes[i], lanes[j], threshold):
                gone.add(j)
                went_for[j] = len(kept)
    return kept, went_for


@pytest.mark.parametrize("top_k", [3, 1000])
@pytest.mark.parametrize("threshold", [5.0, 50.0])
def test_line_nms_keeps_what_a_loop_keeps(threshold, top_k):
    lanes, scores = random_lanes(60)
    keep, count, went_for = line_nms_forward(lanes, scores, threshold, top_k)
    expected, expected_for = reference(lanes.tolist(), scores.tolist(), threshold, top_k)
    assert 1 < len(expected) < 60
    assert keep[: int(count)].tolist() == expected
    assert keep.shape == (60,) and not keep[int(count) :].any()
    assert went_for.tolist() == expected_for


def test_lanes_without_a_common_row_are_not_near():
    lanes = torch.stack([lane(0, 30, 100), lane(30, 42, 100), lane(0, 31, 100)])
    keep, count, _ = line_nms_forward(lanes, torch.tensor([0.9, 0.8, 0.7]), 10.0, 10)
    assert keep[: int(count)].tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_line_nms_in_other_precisions(dtype):
    lanes = torch.stack([lane(0, 72, 100), lane(0, 72, 104), lane(0, 72, 200)]).clamp(min=-1e4)
    scores = torch.tensor([0.5, 0.9, 0.7], dtype=dtype)
    keep, count, went_for = line_nms_forward(lanes.to(dtype), scores, 5.0, 10)
    assert keep[: int(count)].tolist() == [1, 2] and went_for.tolist() == [1, 1, 2]


def test_line_nms_of_nothing():
    keep, count, went_for = line_nms_forward(torch.zeros(0, 77), torch.zeros(0), 5.0, 10)
    assert keep.shape == went_for.shape == (0,) and count == 0


def test_onedls_mmcv_calls_it():
    ops = pytest.importorskip("mmcv.ops")
    if not hasattr(ops, "line_nms"):
        pytest.skip("only onedl-mmcv has line_nms")
    lanes, scores = random_lanes(20)
    found = ops.line_nms(lanes, scores, overlap=20.0, top_k=10)
    assert found[0].tolist() == line_nms_forward(lanes, scores, 20.0, 10)[0].tolist()
