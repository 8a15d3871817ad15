"""Deformable convolution against loops written from the definition, in values and gradients."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import mmconvnext  # noqa: F401  (provides mmcv._ext)

# isort: split
from mmcv.ops import deform_conv2d, modulated_deform_conv2d
from mmcv.ops.deform_conv import DeformConv2d


def sample(image: Tensor, y: float, x: float) -> Tensor:
    """Bilinear sample of ``image`` (C, H, W), zero outside."""
    total = image.new_zeros(image.size(0))
    for row, column in itertools.product(
        (math.floor(y), math.floor(y) + 1), (math.floor(x), math.floor(x) + 1)
    ):
        if 0 <= row < image.size(1) and 0 <= column < image.size(2):
            total += (1 - abs(y - row)) * (1 - abs(x - column)) * image[:, row, column]
    return total


def convolve(x, offset, mask, weight, bias, stride, padding, dilation, groups, deform_groups):
    batch, channels = x.shape[:2]
    out_channels, _, kernel_h, kernel_w = weight.shape
    out_h, out_w = offset.shape[2:]
    output = x.new_zeros(batch, out_channels, out_h, out_w)
    per_deform = channels // deform_groups
    for n, i, j in itertools.product(range(batch), range(out_h), range(out_w)):
        patch = x.new_zeros(channels, kernel_h, kernel_w)
        for d, u, v in itertools.product(range(deform_groups), range(kernel_h), range(kernel_w)):
            tap = (d * kernel_h + u) * kernel_w + v
            dy, dx = offset[n, 2 * tap : 2 * tap + 2, i, j].tolist()
            y = i * stride[0] - padding[0] + u * dilation[0] + dy
            xx = j * stride[1] - padding[1] + v * dilation[1] + dx
            chosen = slice(d * per_deform, (d + 1) * per_deform)
            patch[chosen, u, v] = sample(x[n, chosen], y, xx) * mask[n, tap, i, j]
        shares = zip(patch.chunk(groups), weight.chunk(groups), strict=True)
        output[n, :, i, j] = torch.cat([(w * p).sum((1, 2, 3)) for p, w in shares])
    return output + bias[:, None, None]


GEOMETRIES = {
    "plain": dict(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1, deform_groups=1),
    "unlike axes": dict(stride=(2, 1), padding=(0, 2), dilation=(1, 2), groups=1, deform_groups=1),
    "groups": dict(stride=(1, 2), padding=(1, 1), dilation=(2, 1), groups=2, deform_groups=4),
}


def make(geometry, batch=2, dtype=torch.float64):
    torch.manual_seed(0)
    kernel = (3, 2)
    x = torch.randn(batch, 4, 6, 7)
    weight = torch.randn(6, 4 // geometry["groups"], *kernel)
    size = [
        (x.size(a + 2) + 2 * geometry["padding"][a] - geometry["dilation"][a] * (kernel[a] - 1) - 1)
        // geometry["stride"][a]
        + 1
        for a in range(2)
    ]
    taps = geometry["deform_groups"] * 6
    offset = 2 * torch.randn(batch, 2 * taps, *size)
    mask = torch.rand(batch, taps, *size)
    return [t.to(dtype) for t in (x, offset, mask, weight, torch.randn(6))]


def leaves(tensors):
    return [tensor.clone().requires_grad_() for tensor in tensors]


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_v1_equals_the_definition(geometry):
    x, offset, mask, weight, bias = make(geometry)
    found = deform_conv2d(x, offset, weight, *geometry.values())
    wanted = convolve(x, offset, mask.fill_(1), weight, bias.zero_(), **geometry)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_v2_equals_the_definition(geometry):
    tensors = make(geometry)
    found = modulated_deform_conv2d(*tensors, *geometry.values())
    torch.testing.assert_close(found, convolve(*tensors, **geometry))
    without_bias = modulated_deform_conv2d(*tensors[:4], None, *geometry.values())
    torch.testing.assert_close(without_bias, found - tensors[4][:, None, None])


def test_v1_gradients_by_finite_differences():
    geometry = GEOMETRIES["groups"]
    x, offset, _, weight, _ = leaves(make(geometry, batch=2))
    assert torch.autograd.gradcheck(
        lambda *t: deform_conv2d(*t, *geometry.values()), (x, offset, weight), fast_mode=True
    )


@pytest.mark.parametrize("with_bias", [True, False])
def test_v2_gradients_by_finite_differences(with_bias):
    geometry = GEOMETRIES["unlike axes"]
    tensors = leaves(make(geometry))[: 4 + with_bias]
    rest = () if with_bias else (None,)
    assert torch.autograd.gradcheck(
        lambda *t: modulated_deform_conv2d(*t, *rest, *geometry.values()), tensors, fast_mode=True
    )


def test_without_offsets_it_is_a_convolution_in_values_and_gradients():
    x, _, _, weight, _ = make(GEOMETRIES["plain"])
    weight = torch.randn(6, 4, 3, 3, dtype=x.dtype)
    mine, theirs = leaves((x, weight)), leaves((x, weight))
    zeros = x.new_zeros(2, 18, 6, 7)
    found = deform_conv2d(mine[0], zeros, mine[1], 1, 1)
    wanted = F.conv2d(*theirs, padding=1)
    grad = torch.randn_like(found)
    found.backward(grad)
    wanted.backward(grad)
    torch.testing.assert_close(found, wanted)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize(("batch", "im2col_step"), [(6, 2), (4, 4), (3, 1)])
def test_a_batch_in_several_steps_equals_its_pictures_one_by_one(batch, im2col_step):
    geometry = GEOMETRIES["plain"]
    x, offset, _, weight, _ = make(geometry, batch=batch)
    together, alone = leaves((x, offset, weight)), leaves((x, offset, weight))
    found = deform_conv2d(*together, *geometry.values(), False, im2col_step)
    wanted = torch.cat(
        [
            deform_conv2d(alone[0][n : n + 1], alone[1][n : n + 1], alone[2], *geometry.values())
            for n in range(batch)
        ]
    )
    torch.testing.assert_close(found, wanted)
    grad = torch.randn_like(found)
    found.backward(grad)
    wanted.backward(grad)
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_the_border_counts_up_to_one_pixel_outside_and_nothing_beyond():
    x, weight = torch.full((1, 1, 3, 3), 4.0), torch.ones(1, 1, 1, 1)
    for dy, expected in ((-0.5, 2.0), (-0.75, 1.0), (-1.0, 0.0), (-7.0, 0.0)):
        offset = torch.zeros(1, 2, 3, 3)
        offset[:, 0] = dy
        assert deform_conv2d(x, offset, weight)[0, 0, 0].tolist() == pytest.approx([expected] * 3)


def test_a_graph_that_is_kept_gives_each_output_gradient_its_own_weight_gradient():
    x, offset, _, weight, _ = leaves(make(GEOMETRIES["plain"]))
    output = deform_conv2d(x, offset, weight, 1, 1)
    first, second = torch.randn_like(output), torch.randn_like(output)
    torch.autograd.grad(output, x, first, retain_graph=True)
    (late,) = torch.autograd.grad(output, weight, second, retain_graph=True)
    again = torch.autograd.grad(output, (x, weight), second, retain_graph=True)[1]
    torch.testing.assert_close(late, again)
    torch.autograd.grad(output, x, second, retain_graph=True)
    second.mul_(3)
    (changed,) = torch.autograd.grad(output, weight, second)
    torch.testing.assert_close(changed, 3 * again)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_float32_rounded(dtype):
    tensors = [t.to(dtype) for t in make(GEOMETRIES["groups"], dtype=torch.float32)]
    geometry = GEOMETRIES["groups"].values()
    low, high = leaves(tensors), leaves([t.float() for t in tensors])
    found, wanted = (modulated_deform_conv2d(*t, *geometry) for t in (low, high))
    assert found.dtype == dtype
    torch.testing.assert_close(found, wanted.to(dtype))
    grad = torch.randn_like(found)
    found.backward(grad)
    wanted.backward(grad.float())
    for a, b in zip(low, high, strict=True):
        torch.testing.assert_close(a.grad, b.grad.to(dtype))


def test_autocast_around_forward_and_backward_changes_rounding_only():
    torch.manual_seed(0)
    layer, x = DeformConv2d(4, 4, 3, padding=1), torch.randn(2, 4, 6, 6, requires_grad=True)
    offset = torch.randn(2, 18, 6, 6)
    wanted = torch.autograd.grad(layer(x, offset).sum(), (x, layer.weight))
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x, offset.bfloat16().float())
        found = torch.autograd.grad(output.sum(), (x, layer.weight))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0.05, atol=0.2)


def test_v2_reads_a_larger_field_as_packed_memory_as_dyhead_expects():
    x, offset, mask, weight, bias = make(GEOMETRIES["plain"])
    height, width = offset.shape[2:]
    larger = [
        torch.randn(2, field.size(1), 2 * height, 2 * width).double() for field in (offset, mask)
    ]
    taken = [
        field.reshape(2, -1)[:, : field.size(1) * height * width].view(2, -1, height, width)
        for field in larger
    ]
    mine, theirs = leaves((x, *larger, weight, bias)), leaves((x, *taken, weight, bias))
    found, wanted = (
        modulated_deform_conv2d(*tensors, *GEOMETRIES["plain"].values())
        for tensors in (mine, theirs)
    )
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(found, convolve(x, *taken, weight, bias, **GEOMETRIES["plain"]))
    grad = torch.randn_like(found)
    found.backward(grad)
    wanted.backward(grad)
    for index in (1, 2):
        used = theirs[index].grad.flatten(1)
        torch.testing.assert_close(mine[index].grad.flatten(1)[:, : used.size(1)], used)
        assert mine[index].grad.flatten(1)[:, used.size(1) :].abs().sum() == 0


def test_v2_refuses_a_field_smaller_than_the_output():
    x, offset, mask, weight, bias = make(GEOMETRIES["plain"])
    with pytest.raises(ValueError, match=r"need the output's size, \(6, 8\); found \(3, 8\)"):
        modulated_deform_conv2d(x, offset[:, :, :3], mask, weight, bias, 1, 1)
