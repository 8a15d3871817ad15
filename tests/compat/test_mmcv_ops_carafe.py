"""CARAFE against loops written from the definition, and in parts against the whole."""

from __future__ import annotations

import itertools

import pytest
import torch

import mmconvnext  # noqa: F401  (provides mmcv._ext)
from mmconvnext.compat.mmcv_ops import carafe as implementation

# isort: split
from mmcv.ops.carafe import CARAFEPack, carafe, carafe_naive

# kernel, groups, scale
CASES = [(3, 1, 2), (5, 2, 2), (1, 1, 3), (3, 4, 1)]


def make(kernel, groups, scale, batch=2, dtype=torch.float64):
    torch.manual_seed(0)
    features = torch.randn(batch, 4, 5, 6, dtype=dtype)
    masks = torch.rand(batch, kernel**2 * groups, 5 * scale, 6 * scale, dtype=dtype)
    return features.requires_grad_(), masks.requires_grad_()


def reassemble(features, masks, kernel, groups, scale):
    batch, channels, height, width = features.shape
    output = features.new_zeros(batch, channels, height * scale, width * scale)
    half = kernel // 2
    for c, y, x in itertools.product(range(channels), range(height * scale), range(width * scale)):
        group = c // (channels // groups)
        for i, j in itertools.product(range(kernel), range(kernel)):
            row, column = y // scale + i - half, x // scale + j - half
            if 0 <= row < height and 0 <= column < width:
                weight = masks[:, (group * kernel + i) * kernel + j, y, x]
                output[:, c, y, x] += weight * features[:, c, row, column]
    return output


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("operator", [carafe, carafe_naive])
def test_equals_the_definition(operator, case):
    features, masks = (tensor.detach() for tensor in make(*case))
    found = operator(features, masks, *case)
    torch.testing.assert_close(found, reassemble(features, masks, *case))


@pytest.mark.parametrize("case", CASES)
def test_gradients_by_finite_differences(case):
    assert torch.autograd.gradcheck(
        lambda *tensors: carafe(*tensors, *case), make(*case), fast_mode=True
    )


def test_the_naive_operators_gradients_are_carafes():
    case = CASES[1]
    features, masks = make(*case)
    output = carafe(features, masks, *case)
    grad = torch.randn_like(output)
    output.backward(grad)
    found = [torch.zeros_like(features), torch.zeros_like(masks)]
    implementation.carafe_naive_backward(grad, features.detach(), masks.detach(), *found, *case)
    torch.testing.assert_close(found, [features.grad, masks.grad])


@pytest.mark.parametrize("elements", [1, 2500])
def test_working_in_parts_changes_nothing(monkeypatch, elements):
    case = CASES[1]
    whole, parts = make(*case), make(*case)
    wanted = carafe(*whole, *case)
    grad = torch.randn_like(wanted)
    wanted.backward(grad)
    monkeypatch.setattr(implementation, "PATCH_ELEMENTS", elements)
    found = carafe(*parts, *case)
    found.backward(grad)
    torch.testing.assert_close(found, wanted)
    for a, b in zip(parts, whole, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_near_float32(dtype):
    case = CASES[0]
    low = [tensor.detach().to(dtype).requires_grad_() for tensor in make(*case)]
    high = [tensor.detach().float().requires_grad_() for tensor in low]
    found, wanted = carafe(*low, *case), carafe(*high, *case)
    assert found.dtype == dtype
    tolerance = dict(rtol=4 * torch.finfo(dtype).eps, atol=4 * torch.finfo(dtype).eps)
    torch.testing.assert_close(found.float(), wanted, **tolerance)
    grad = torch.randn_like(found)
    found.backward(grad)
    wanted.backward(grad.float())
    for a, b in zip(low, high, strict=True):
        assert a.grad.dtype == dtype
        torch.testing.assert_close(a.grad.float(), b.grad, rtol=0.02, atol=0.05)


def test_autocast_with_float32_features_and_half_masks_stays_float32():
    case = CASES[0]
    features, masks = make(*case, dtype=torch.float32)
    wanted = carafe(features, masks.bfloat16().float(), *case)
    with torch.autocast("cpu", torch.bfloat16):
        found = carafe(features, masks.bfloat16(), *case)
        found.sum().backward()
    torch.testing.assert_close(found, wanted)
    assert features.grad.isfinite().all()
    assert masks.grad.isfinite().all()


def test_an_empty_batch_has_an_empty_output():
    case = CASES[0]
    features, masks = make(*case, batch=0)
    output = carafe(features, masks, *case)
    assert output.shape == (0, 4, 10, 12)
    output.sum().backward()


def test_the_upsampler_keeps_a_constant_picture_inside_the_border():
    torch.manual_seed(0)
    layer = CARAFEPack(4, 2)
    output = layer(torch.full((1, 4, 8, 8), 3.0))
    torch.testing.assert_close(output[..., 4:-4, 4:-4], torch.full((1, 4, 8, 8), 3.0))
