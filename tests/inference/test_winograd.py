"""Winograd's convolutions give a plain one's numbers, and leave alone what they cannot do."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from mmconvnext.inference import winograd
from mmconvnext.inference.winograd import WinogradConv2d


def convolution(channels=128, **options):
    torch.manual_seed(0)
    return nn.Conv2d(channels, 128, 3, padding=1, **options).requires_grad_(False)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("at_a_time", [1, 7, 512])
@pytest.mark.parametrize("size", [(40, 7, 7), (1, 37, 41), (2, 32, 36), (70, 1, 2)])
def test_equals_a_plain_convolution(monkeypatch, size, at_a_time, bias):
    monkeypatch.setattr(winograd, "_TILES", at_a_time)
    monkeypatch.setattr(winograd, "_FEWEST", 1)
    calls = []
    convolve = winograd._convolve
    monkeypatch.setattr(winograd, "_convolve", lambda *of: calls.append(1) or convolve(*of))
    plain = convolution(bias=bias)
    fast, exact = plain, copy.deepcopy(plain).double()
    assert WinogradConv2d.take_over(fast)
    x = torch.randn(size[0], 128, *size[1:])
    for image in (x, x.contiguous(memory_format=torch.channels_last)):
        with torch.no_grad():
            found, expected = fast(image), exact(image.double())
        assert found.shape == expected.shape
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert calls


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [(100, 7, 7), (96, 8, 8), (200, 5, 6), (97, 1, 2)])
def test_many_small_maps_equal_a_plain_convolution(monkeypatch, size, bias):
    calls = []
    convolve = winograd._convolve_rois
    monkeypatch.setattr(winograd, "_convolve_rois", lambda *of: calls.append(1) or convolve(*of))
    plain = [convolution(bias=bias), convolution(bias=bias)]
    fast, exact = plain, copy.deepcopy(plain)
    assert all(map(WinogradConv2d.take_over, fast))
    x = torch.randn(size[0], 128, *size[1:])
    for maps in (x, x.contiguous(memory_format=torch.channels_last)):
        with torch.no_grad():
            found = fast[1](fast[0](maps).relu_())
            expected = exact[1].double()(exact[0].double()(maps.double()).relu_())
        assert found.shape == expected.shape
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert len(calls) == 4


def test_few_small_maps_are_left_to_the_plain_one(monkeypatch):
    monkeypatch.setattr(winograd, "_convolve_rois", None)
    fast, other = convolution(), convolution()
    assert WinogradConv2d.take_over(fast)
    x = torch.randn(95, 128, 7, 7)
    with torch.no_grad():
        assert torch.equal(fast(x), other(x))


def test_keeps_its_state():
    """Copied, loaded and moved like any other."""
    fast, other = convolution(), nn.Conv2d(128, 128, 3, padding=1)
    assert WinogradConv2d.take_over(fast)
    assert fast.state_dict().keys() == other.state_dict().keys()
    fast.load_state_dict(other.state_dict())
    x = torch.randn(1, 128, 60, 60)
    with torch.no_grad():
        torch.testing.assert_close(copy.deepcopy(fast)(x), other(x), rtol=1e-4, atol=1e-5)
        found, expected = fast.double()(x.double()), other.double()(x.double())
    assert torch.equal(found, expected)


@pytest.mark.parametrize("size", [(1, 128, 60, 60), (96, 128, 7, 7)])
def test_a_changed_weight_is_used(size):
    fast, other = convolution(), convolution()
    assert WinogradConv2d.take_over(fast)
    x = torch.randn(size)

    def check():
        with torch.no_grad():
            found, expected = fast(x), other(x)
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()

    check()
    for _ in range(2):
        with torch.no_grad():
            other.weight.normal_()
            fast.weight.copy_(other.weight)
        check()
    other.weight.data = torch.randn_like(other.weight)
    fast.weight.data = other.weight.data.clone()
    check()
    other.weight = nn.Parameter(torch.randn_like(other.weight), requires_grad=False)
    fast.load_state_dict(copy.deepcopy(other.state_dict()), assign=True)
    check()
    with torch.no_grad():
        fast.half().float(), other.half().float()
    check()


def test_a_weight_of_inference_mode_is_never_held():
    with torch.inference_mode():
        fast, other = convolution(), convolution()
        assert WinogradConv2d.take_over(fast)
        x = torch.randn(1, 128, 60, 60)
        for factor in (1, 2):
            fast.weight.mul_(factor), other.weight.mul_(factor)
            torch.testing.assert_close(fast(x), other(x), rtol=1e-4, atol=1e-4)


def test_transforms_its_weight_once_for_each_kind_of_map(monkeypatch):
    calls = []
    at_points = winograd._at_points
    monkeypatch.setattr(winograd, "_at_points", lambda *of: calls.append(1) or at_points(*of))
    fast = convolution()
    assert WinogradConv2d.take_over(fast)
    with torch.inference_mode():
        first, second = fast(torch.ones(1, 128, 60, 60)), fast(torch.ones(1, 128, 60, 60))
        assert torch.equal(first, second) and len(calls) == 1
        fast(torch.ones(1, 128, 64, 60))
        assert len(calls) == 1
        fast(torch.ones(96, 128, 7, 7))
        assert len(calls) == 2


def test_a_copy_holds_the_weight_alone():
    fast = convolution()
    assert WinogradConv2d.take_over(fast)
    before = len(pickle.dumps(fast))
    x = torch.randn(1, 128, 60, 60)
    with torch.no_grad():
        expected = fast(x)
        assert len(pickle.dumps(fast)) == before
        for twin in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
            assert type(twin) is WinogradConv2d and "_kernels" not in vars(twin)
            assert torch.equal(twin(x), expected)
            twin.weight.zero_()
            assert torch.equal(fast(x), expected)


def test_with_gradients_it_is_the_plain_one():
    fast = convolution()
    expected = fast(torch.ones(1, 128, 60, 60))
    assert WinogradConv2d.take_over(fast)
    x = torch.ones(1, 128, 60, 60, requires_grad=True)
    assert torch.equal(fast(x), expected)
    fast(x).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(128, 128, 1),
        nn.Conv2d(128, 128, 3),
        nn.Conv2d(128, 128, 3, padding=1, stride=2),
        nn.Conv2d(128, 128, 3, padding=1, groups=2),
        nn.Conv2d(128, 128, 3, padding=2, dilation=2),
        nn.Conv2d(128, 128, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(128, 3, 3, padding=1),
        nn.Conv2d(512, 128, 3, padding=1),
        nn.ConvTranspose2d(128, 128, 3, padding=1),
        nn.Linear(128, 128),
        type("Own", (nn.Conv2d,), {})(128, 128, 3, padding=1),
    ],
    ids=str,
)
def test_leaves_alone(conv):
    kind = type(conv)
    assert not WinogradConv2d.take_over(conv)
    assert type(conv) is kind
