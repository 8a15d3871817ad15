"""PSANet's masks against loops written from the definition."""

from __future__ import annotations

import itertools

import pytest
import torch

import mmconvnext  # noqa: F401  (provides mmcv._ext)

# isort: split
from mmcv.ops import PSAMask

# feature size, mask size: smaller, larger than, and just covering the feature map
SIZES = [((4, 5), (3, 3)), ((3, 4), (5, 7)), ((2, 3), (9, 5)), ((4, 2), (1, 5))]


def lay_out(masks, kind, mask_size):
    batch, _, height, width = masks.shape
    output = masks.new_zeros(batch, height, width, height, width)
    half_h, half_w = (mask_size[0] - 1) // 2, (mask_size[1] - 1) // 2
    for y, x, i, j in itertools.product(
        range(height), range(width), range(mask_size[0]), range(mask_size[1])
    ):
        row, column = y + i - half_h, x + j - half_w
        if 0 <= row < height and 0 <= column < width:
            seen = masks[:, i * mask_size[1] + j, y, x]
            if kind == "collect":
                output[:, row, column, y, x] = seen
            else:
                output[:, y, x, row, column] = seen
    return output.view(batch, height * width, height, width)


@pytest.mark.parametrize("kind", ["collect", "distribute"])
@pytest.mark.parametrize(("size", "mask_size"), SIZES)
def test_values_and_gradients_equal_the_definition(kind, size, mask_size):
    torch.manual_seed(0)
    masks = torch.randn(2, mask_size[0] * mask_size[1], *size)
    mine, theirs = masks.clone().requires_grad_(), masks.clone().requires_grad_()
    found = PSAMask(kind, mask_size)(mine)
    wanted = lay_out(theirs, kind, mask_size)
    assert torch.equal(found, wanted)
    grad = torch.randn_like(found)
    found.backward(grad)
    wanted.backward(grad)
    assert torch.equal(mine.grad, theirs.grad)


@pytest.mark.parametrize("kind", ["collect", "distribute"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_moves_numbers_unchanged(kind, dtype):
    torch.manual_seed(0)
    masks = torch.randn(1, 9, 3, 4).to(dtype)
    found = PSAMask(kind, (3, 3))(masks)
    assert found.dtype == dtype
    assert torch.equal(found.float(), PSAMask(kind, (3, 3))(masks.float()))


def test_a_transposed_gradient_is_read_correctly():
    masks = torch.randn(1, 9, 3, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(9, 9, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda t: PSAMask("distribute", (3, 3))(t).flatten(2).transpose(1, 2) @ weight, (masks,)
    )


def test_an_empty_batch_has_an_empty_output():
    masks = torch.randn(0, 9, 3, 4, requires_grad=True)
    output = PSAMask("collect", (3, 3))(masks)
    assert output.shape == (0, 12, 3, 4)
    output.sum().backward()
