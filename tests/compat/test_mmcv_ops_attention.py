"""Multi-scale deformable attention against mmcv's PyTorch fallback and against loops."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

import mmconvnext  # noqa: F401  (provides mmcv._ext)

# isort: split
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)

SHAPES = torch.tensor([[5, 7], [3, 4], [1, 1]])
STARTS = torch.tensor([0, 35, 47])


def make(batch=2, heads=2, channels=3, queries=4, points=2, dtype=torch.float64):
    torch.manual_seed(0)
    value = torch.randn(batch, 48, heads, channels, dtype=dtype)
    # Beyond 0..1 as well: there, samples lie outside the picture.
    locations = torch.rand(batch, queries, heads, 3, points, 2, dtype=dtype) * 1.6 - 0.3
    weights = torch.rand(batch, queries, heads, 3, points, dtype=dtype)
    return [tensor.requires_grad_() for tensor in (value, locations, weights)]


def attend(value, locations, weights, im2col_step=64):
    apply = MultiScaleDeformableAttnFunction.apply
    return apply(value, SHAPES, STARTS, locations, weights, im2col_step)


def test_equals_loops_over_the_definition():
    value, locations, weights = (tensor.detach() for tensor in make())
    wanted = torch.zeros(2, 4, 2, 3, dtype=torch.float64)
    for n, q, head, level, p in itertools.product(*map(range, (2, 4, 2, 3, 2))):
        (height, width), start = SHAPES[level].tolist(), STARTS[level].item()
        x = locations[n, q, head, level, p, 0].item() * width - 0.5
        y = locations[n, q, head, level, p, 1].item() * height - 0.5
        for row, column in itertools.product(
            (math.floor(y), math.floor(y) + 1), (math.floor(x), math.floor(x) + 1)
        ):
            if 0 <= row < height and 0 <= column < width:
                share = (1 - abs(y - row)) * (1 - abs(x - column))
                seen = value[n, start + row * width + column, head]
                wanted[n, q, head] += weights[n, q, head, level, p] * share * seen
    torch.testing.assert_close(attend(value, locations, weights), wanted.flatten(2))


@pytest.mark.parametrize("im2col_step", [1, 64])
def test_values_and_gradients_equal_mmcvs_fallback(im2col_step):
    mine, theirs = make(), make()
    found = attend(*mine, im2col_step)
    wanted = multi_scale_deformable_attn_pytorch(theirs[0], SHAPES, *theirs[1:])
    grad = torch.randn_like(wanted)
    found.backward(grad)
    wanted.backward(grad)
    torch.testing.assert_close(found, wanted)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_gradients_by_finite_differences():
    assert torch.autograd.gradcheck(attend, make(batch=1, queries=2), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_float32_rounded(dtype):
    tensors = [tensor.detach().to(dtype) for tensor in make()]
    low = [tensor.clone().requires_grad_() for tensor in tensors]
    high = [tensor.float().requires_grad_() for tensor in tensors]
    found = attend(*low)
    wanted = multi_scale_deformable_attn_pytorch(high[0], SHAPES, *high[1:])
    assert found.dtype == dtype
    torch.testing.assert_close(found, wanted.to(dtype))
    grad = torch.randn_like(found)
    found.backward(grad)
    wanted.backward(grad.float())
    for a, b in zip(low, high, strict=True):
        torch.testing.assert_close(a.grad, b.grad.to(dtype))


def test_half_values_with_float32_locations_as_autocast_gives_them():
    value, locations, weights = make(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        output = attend(value.bfloat16(), locations, weights)
        output.float().sum().backward()
    wanted = multi_scale_deformable_attn_pytorch(value, SHAPES, locations, weights)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), wanted, rtol=0.05, atol=0.1)
    assert locations.grad.dtype == torch.float32
    assert locations.grad.isfinite().all()


@pytest.mark.parametrize("empty", [dict(batch=0), dict(queries=0)])
def test_no_pictures_or_no_queries_give_an_empty_output_and_zero_gradients(empty):
    tensors = make(**empty)
    output = attend(*tensors)
    assert output.numel() == 0
    output.sum().backward()
    assert tensors[0].grad.abs().sum() == 0
