import math

import pytest
import torch

from mmconvnext.compat.mmcv_ops import install

install()

from mmcv.ops import RoIAlign, RoIPool, roi_align, roi_pool  # noqa: E402

# Image, x1 y1 x2 y2: usual ones, one over the edges, one far outside, one of no size, one thin.
ROIS = torch.tensor(
    [
        [0, 1.3, 2.1, 10.9, 8.7],
        [1, 0.0, 0.0, 15.0, 11.0],
        [1, -6.2, -3.7, 7.4, 30.3],
        [0, 90.0, 90.0, 99.0, 99.0],
        [0, 5.2, 4.1, 5.2, 4.1],
        [1, 3.3, 1.2, 3.9, 10.6],
    ],
    dtype=torch.float64,
)


def features(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, 3, 6, 8, generator=generator, dtype=torch.float64)
    return values.to(dtype).requires_grad_()


def bilinear(plane, y, x):
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return plane.sum() * 0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = math.floor(y), math.floor(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = plane[top, left] * (1 - x + left) + plane[top, right] * (x - left)
    lower = plane[bottom, left] * (1 - x + left) + plane[bottom, right] * (x - left)
    return upper * (1 - y + top) + lower * (y - top)


def align_reference(x, rois, size, scale, ratio, mode, aligned):
    """RoIAlign by definition, one sample after the other; autograd gives the gradient."""
    output = []
    for image, *box in rois.tolist():
        x1, y1, x2, y2 = (side * scale - 0.5 * aligned for side in box)
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1), max(height, 1)
        step_y, step_x = height / size[0], width / size[1]
        rows, columns = ratio or math.ceil(step_y), ratio or math.ceil(step_x)
        for plane in x[int(image)]:
            for i in range(size[0]):
                for j in range(size[1]):
                    samples = [
                        bilinear(
                            plane,
                            y1 + (i + (u + 0.5) / rows) * step_y,
                            x1 + (j + (v + 0.5) / columns) * step_x,
                        )
                        for u in range(rows)
                        for v in range(columns)
                    ] or [plane.sum() * 0]
                    stacked = torch.stack(samples)
                    output.append(stacked.mean() if mode == "avg" else stacked.max())
    return torch.stack(output).view(len(rois), x.size(1), *size)


def pool_reference(x, rois, size, scale):
    """mmcv's RoIPool: bins that reach to whole pixels outwards, no rounding of RoIs."""
    output = []
    for image, x1, y1, x2, y2 in rois.tolist():
        left, top, right, bottom = x1 * scale, y1 * scale, (x2 + 1) * scale, (y2 + 1) * scale
        for plane in x[int(image)]:
            for i in range(size[0]):
                for j in range(size[1]):
                    rows = bin_range(top, bottom, i, size[0], plane.size(0))
                    columns = bin_range(left, right, j, size[1], plane.size(1))
                    pixels = plane[rows, columns]
                    output.append(pixels.max() if pixels.numel() else plane.sum() * 0)
    return torch.stack(output).view(len(rois), x.size(1), *size)


def bin_range(start, end, index, bins, limit):
    step = (end - start) / bins
    low, high = math.floor(index * step + start), math.ceil((index + 1) * step + start)
    return slice(min(max(low, 0), limit), min(max(high, 0), limit))


def assert_same_gradient(output, expected, x, y):
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(output.shape, generator=generator, dtype=torch.float64)
    (output * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_roi_align_and_its_gradient_equal_the_definition(mode, aligned, ratio, scale):
    x, y = features(), features()
    output = roi_align(x, ROIS, (3, 2), scale, ratio, mode, aligned)
    expected = align_reference(y, ROIS, (3, 2), scale, ratio, mode, aligned)
    torch.testing.assert_close(output, expected)
    assert_same_gradient(output, expected, x, y)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_roi_pool_and_its_gradient_equal_the_definition(scale):
    x, y = features(), features()
    output = roi_pool(x, ROIS, (3, 2), scale)
    expected = pool_reference(y, ROIS, (3, 2), scale)
    torch.testing.assert_close(output, expected)
    assert_same_gradient(output, expected, x, y)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("aligned", [True, False])
def test_roi_align_passes_gradcheck(mode, aligned):
    assert torch.autograd.gradcheck(
        lambda x: roi_align(x, ROIS[:3], (2, 2), 0.7, 2, mode, aligned), (features(),)
    )


def test_roi_pool_passes_gradcheck():
    assert torch.autograd.gradcheck(lambda x: roi_pool(x, ROIS[:2], 2, 0.7), (features(),))


def test_roi_align_of_a_ramp_gives_the_bin_centres():
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)
    roi = torch.tensor([[0, 2.0, 2.0, 10.0, 10.0]])
    # Pixel centres lie at half coordinates: bins [2, 6] and [6, 10] have centres 4 and 8.
    output = RoIAlign(2, sampling_ratio=4)(ramp, roi)
    torch.testing.assert_close(output[0, 0], torch.tensor([[3.5, 7.5]] * 2))
    unaligned = RoIAlign(2, sampling_ratio=4, aligned=False)(ramp, roi)
    torch.testing.assert_close(unaligned[0, 0], torch.tensor([[4.0, 8.0]] * 2))


def test_roi_pool_counts_the_last_pixel_in_and_leaves_an_inverted_roi_empty():
    ramp = torch.arange(16.0).view(1, 1, 4, 4)
    rois = torch.tensor([[0, 0.0, 0.0, 1.0, 1.0], [0, 3.0, 3.0, 1.0, 1.0]])
    output = RoIPool(1)(ramp, rois)
    assert output.flatten().tolist() == [5.0, 0.0]


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_roi_align_is_fp32_rounded_once(mode, dtype):
    x = features(dtype)
    wide = x.detach().float().requires_grad_()
    rois = ROIS.to(dtype)  # as mmdet's extractor casts them
    output = roi_align(x, rois, (3, 2), 0.5, 2, mode, True)
    expected = roi_align(wide, rois.float(), (3, 2), 0.5, 2, mode, True)
    assert output.dtype == dtype
    torch.testing.assert_close(output, expected.to(dtype))
    output.sum().backward()
    expected.sum().backward()
    # Where the maximum lies is kept in the input's precision, as in mmcv.
    tolerance = {"rtol": 0.05, "atol": 0.05} if mode == "max" else {}
    torch.testing.assert_close(x.grad, wide.grad.to(dtype), **tolerance)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_roi_pool_is_fp32_rounded_once(dtype):
    x = features(dtype)
    wide = x.detach().float().requires_grad_()
    output, expected = roi_pool(x, ROIS, 2, 0.5), roi_pool(wide, ROIS, 2, 0.5)
    assert output.dtype == dtype
    assert torch.equal(output, expected.to(dtype))
    output.sum().backward()
    expected.sum().backward()
    assert torch.equal(x.grad, wide.grad.to(dtype))


@pytest.mark.parametrize("pool", [roi_align, roi_pool])
def test_autocast_takes_half_features_with_fp32_rois(pool):
    x = features(torch.bfloat16)
    rois = ROIS.float()
    with torch.autocast("cpu", torch.bfloat16):
        output = pool(x, rois, 2, 0.5)
        output.sum().backward()
    expected = pool(x.detach().float(), rois, 2, 0.5)
    assert output.dtype == x.grad.dtype == torch.bfloat16
    torch.testing.assert_close(output, expected.to(torch.bfloat16))


@pytest.mark.parametrize("pool", [RoIAlign(2), RoIAlign(2, pool_mode="max"), RoIPool(2)])
def test_no_rois_give_an_empty_output_and_a_zero_gradient(pool):
    x = features(torch.float32)
    output = pool(x, torch.zeros(0, 5))
    assert output.shape == (0, 3, 2, 2)
    output.sum().backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_an_aligned_roi_of_no_size_gives_zero(mode):
    roi = torch.tensor([[0, 3.0, 3.0, 3.0, 3.0]])
    x = features(torch.float32)
    output = roi_align(x, roi, 2, 1.0, 0, mode, True)
    assert torch.equal(output, torch.zeros(1, 3, 2, 2))
    output.sum().backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_channels_last_and_expanded_tensors_give_the_same():
    x = features()
    strided = x.detach().to(memory_format=torch.channels_last).requires_grad_()
    for pool in (RoIAlign(2), RoIAlign(2, pool_mode="max"), RoIPool(2)):
        x.grad = strided.grad = None
        torch.testing.assert_close(pool(strided, ROIS), pool(x, ROIS))
        pool(strided, ROIS).sum().backward()  # its gradient is an expanded scalar
        pool(x, ROIS).backward(torch.ones(len(ROIS), 3, 2, 2, dtype=torch.float64))
        torch.testing.assert_close(strided.grad, x.grad)
