"""Deformable RoI pooling against loops written from the definition and against RoIAlign."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torchvision

import mmconvnext  # noqa: F401  (provides mmcv._ext)
from mmconvnext.compat.mmcv_ops import deform_roi as implementation

# isort: split
from mmcv.ops import DeformRoIPoolPack, ModulatedDeformRoIPoolPack, deform_roi_pool

SIZE = (2, 3)


def make(dtype=torch.float64):
    torch.manual_seed(0)
    features = torch.randn(2, 3, 8, 9, dtype=dtype)
    rois = torch.tensor(
        [
            [0, 1.0, 2.0, 12.0, 9.5],
            [1, 0.0, 0.0, 17.0, 15.0],
            [1, 9.0, 3.0, 30.0, 21.0],  # reaches far outside
            [0, 4.0, 4.0, 4.0, 4.0],  # no size
            [0, -3.0, -4.0, 6.0, 5.0],
        ],
        dtype=dtype,
    )
    offset = torch.randn(len(rois), 2, *SIZE, dtype=dtype)
    return features, rois, offset


def sample(image, y, x):
    height, width = image.shape[1:]
    if y < -1 or y > height or x < -1 or x > width:
        return image.new_zeros(image.size(0))
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    total = image.new_zeros(image.size(0))
    for row, column in itertools.product(
        {math.floor(y), math.ceil(y)}, {math.floor(x), math.ceil(x)}
    ):
        total += (1 - abs(y - row)) * (1 - abs(x - column)) * image[:, row, column]
    return total


def pool(features, rois, offset, scale, ratio, gamma):
    output = features.new_zeros(len(rois), features.size(1), *SIZE)
    for k, (image, *corners) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (corner * scale - 0.5 for corner in corners)
        bin_h, bin_w = (y2 - y1) / SIZE[0], (x2 - x1) / SIZE[1]
        down, across = ratio or math.ceil(bin_h), ratio or math.ceil(bin_w)
        for i, j in itertools.product(range(SIZE[0]), range(SIZE[1])):
            dx, dy = offset[k, :, i, j].tolist()
            for u, v in itertools.product(range(down), range(across)):
                y = y1 + gamma * (y2 - y1) * dy + (i + (u + 0.5) / down) * bin_h
                x = x1 + gamma * (x2 - x1) * dx + (j + (v + 0.5) / across) * bin_w
                output[k, :, i, j] += sample(features[int(image)], y, x) / (down * across)
    return output


@pytest.mark.parametrize("ratio", [0, 1, 3])
def test_equals_the_definition(ratio):
    features, rois, offset = make()
    found = deform_roi_pool(features, rois, offset, SIZE, 0.5, ratio, 0.2)
    torch.testing.assert_close(found, pool(features, rois, offset, 0.5, ratio, 0.2))


@pytest.mark.parametrize("ratio", [0, 2])
def test_without_offsets_it_is_roi_align_in_values_and_gradients(ratio):
    features, rois, _ = make(torch.float32)
    mine, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
    found = deform_roi_pool(mine, rois, None, SIZE, 0.5, ratio)
    wanted = torchvision.ops.roi_align(theirs, rois, SIZE, 0.5, ratio, aligned=True)
    torch.testing.assert_close(found, wanted)
    grad = torch.randn_like(found)
    found.backward(grad)
    wanted.backward(grad)
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("ratio", [0, 2])
def test_gradients_by_finite_differences(ratio):
    features, rois, offset = make()
    assert torch.autograd.gradcheck(
        lambda f, o: deform_roi_pool(f, rois, o, SIZE, 0.5, ratio, 0.2),
        (features.requires_grad_(), offset.requires_grad_()),
        fast_mode=True,
    )


def test_working_in_parts_changes_nothing(monkeypatch):
    features, rois, offset = make()
    wanted = deform_roi_pool(features, rois, offset, SIZE, 0.5, 2, 0.2)
    monkeypatch.setattr(implementation, "SAMPLE_ELEMENTS", 1)
    found = deform_roi_pool(features, rois, offset, SIZE, 0.5, 2, 0.2)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_features_with_float32_rois_as_autocast_gives_them(dtype):
    features, rois, offset = make(torch.float32)
    low, high = features.to(dtype).requires_grad_(), features.to(dtype).float().requires_grad_()
    found = deform_roi_pool(low, rois, offset.to(dtype), SIZE, 0.5, 0, 0.2)
    wanted = deform_roi_pool(high, rois, offset.to(dtype).float(), SIZE, 0.5, 0, 0.2)
    assert found.dtype == dtype
    torch.testing.assert_close(found, wanted.to(dtype))
    grad = torch.randn_like(found)
    found.backward(grad)
    wanted.backward(grad.float())
    torch.testing.assert_close(low.grad, high.grad.to(dtype))


def test_no_rois_give_an_empty_output_and_zero_gradients():
    features, rois, offset = make()
    features.requires_grad_()
    output = deform_roi_pool(features, rois[:0], offset[:0], SIZE)
    assert output.shape == (0, 3, *SIZE)
    output.sum().backward()
    assert features.grad.abs().sum() == 0


@pytest.mark.parametrize("layer", [DeformRoIPoolPack, ModulatedDeformRoIPoolPack])
def test_the_layers_start_as_roi_align(layer):
    features, rois, _ = make(torch.float32)
    pooled = layer(SIZE, 3, deform_fc_channels=8, spatial_scale=0.5)(features, rois)
    wanted = torchvision.ops.roi_align(features, rois, SIZE, 0.5, 0, aligned=True)
    share = 0.5 if layer is ModulatedDeformRoIPoolPack else 1.0  # the sigmoid of nothing
    torch.testing.assert_close(pooled, share * wanted)
