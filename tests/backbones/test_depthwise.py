"""The depthwise convolution's gradients beside those of torch's convolution."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mmconvnext.backbones import depthwise, torch_state

CHANNELS = 24
SIZES = [(2, (9, 14), 2), (3, (5, 70), 1), (1, (37, 41), 1)]  # samples, size, dilation


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def pair(dilation=1):
    """Ours, and torch's with the same weights."""
    ours = depthwise.DepthwiseConv2d(CHANNELS, kernel_size=7, dilation=dilation)
    pad = 3 * dilation
    plain = nn.Conv2d(CHANNELS, CHANNELS, 7, padding=pad, dilation=dilation, groups=CHANNELS)
    plain.load_state_dict(ours.state_dict())
    return ours, plain


def gradients(conv, x, weights):
    image = x.clone().requires_grad_()
    out = conv(image)
    (out.to(weights.dtype) * weights).sum().backward()
    return out, image.grad, conv.weight.grad, conv.bias.grad


@pytest.mark.parametrize(("samples", "size", "dilation"), SIZES)
@pytest.mark.parametrize("numbers", [1, 2**20])
def test_gradients_are_torchs(monkeypatch, samples, size, dilation, numbers):
    """The weight's gradient is put together from tiles, so many numbers of them at a time."""
    monkeypatch.setattr(depthwise, "_NUMBERS", numbers)
    x = torch.randn(samples, CHANNELS, *size).contiguous(memory_format=torch.channels_last)
    weights = torch.randn(samples, CHANNELS, *size)
    ours, plain = pair(dilation)
    pairs = zip(gradients(ours, x, weights), gradients(plain, x, weights), strict=True)
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("samples", "size", "dilation"), SIZES)
def test_under_autocast_they_are_as_close_to_the_exact_ones_as_torchs(samples, size, dilation):
    """And have torch's types: what is computed in bfloat16 and what is kept in single precision."""
    x, weights = torch.randn(2, samples, CHANNELS, *size)
    ours, plain = pair(dilation)
    exact = gradients(copy.deepcopy(plain).double(), x.double(), weights.double())
    with torch.autocast("cpu", torch.bfloat16):
        found, theirs = gradients(ours, x, weights), gradients(plain, x, weights)
    for ours_is, theirs_is, right in zip(found, theirs, exact, strict=True):
        assert ours_is.dtype == theirs_is.dtype
        off = [(value.double() - right).norm() / right.norm() for value in (ours_is, theirs_is)]
        assert off[0] <= 1.2 * off[1] + 1e-4


def test_in_bfloat16_throughout():
    x, weights = torch.randn(2, 1, CHANNELS, 40, 36).bfloat16()
    ours, plain = (conv.bfloat16() for conv in pair())
    pairs = zip(gradients(ours, x, weights), gradients(plain, x, weights), strict=True)
    for found, expected in pairs:
        assert found.dtype == expected.dtype == torch.bfloat16
        assert (found - expected).norm() <= 0.01 * expected.norm()


def test_double_precision_stays_under_autocast():
    x, weights = torch.randn(2, 1, CHANNELS, 9, 8).double()
    ours, plain = (conv.double() for conv in pair())
    with torch.autocast("cpu", torch.bfloat16):
        pairs = zip(gradients(ours, x, weights), gradients(plain, x, weights), strict=True)
    for found, expected in pairs:
        torch.testing.assert_close(found, expected)


@pytest.mark.skipif(not torch_state.onednn_computes(torch.bfloat16), reason="no bfloat16 in CPU")
def test_autocast_takes_our_backward_pass_and_keeps_the_input_in_half(monkeypatch):
    taken = []
    of_weight = depthwise._of_weight
    monkeypatch.setattr(
        depthwise, "_of_weight", lambda *a: taken.append(a[1].dtype) or of_weight(*a)
    )
    with torch.autocast("cpu", torch.bfloat16):
        gradients(pair()[0], torch.randn(1, CHANNELS, 8, 8), torch.randn(1, CHANNELS, 8, 8))
    assert taken == [torch.bfloat16]


def test_a_processor_without_bfloat16_takes_torchs_way(monkeypatch):
    monkeypatch.setattr(depthwise, "_of_weight", None)
    monkeypatch.setattr(torch_state, "_BFLOAT16", False)
    with torch.autocast("cpu", torch.bfloat16):
        gradients(pair()[0], torch.randn(1, CHANNELS, 8, 8), torch.randn(1, CHANNELS, 8, 8))


@pytest.mark.parametrize("autocast", [False, True])
def test_compiled_other_sizes_need_no_other_program(autocast):
    """Training pictures have many sizes, and torch gives up after eight programs."""
    from functorch.compile import make_boxed_func
    from torch._dynamo.backends.common import aot_autograd

    torch._dynamo.reset()
    ours, plain = pair()
    programs = []

    def counting(graph, inputs):
        programs.append(graph)
        return make_boxed_func(graph.forward)

    backend = aot_autograd(fw_compiler=counting)
    compiled = torch.compile(ours, backend=backend, fullgraph=True, dynamic=True)
    for size in [(40, 36), (24, 70), (65, 33), (36, 36)]:
        x, weights = torch.randn(2, 2, CHANNELS, *size)
        for conv in (ours, plain):
            conv.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found, expected = gradients(compiled, x, weights), gradients(plain, x, weights)
        for one, other in zip(found, expected, strict=True):
            assert (one - other).norm() <= (0.02 if autocast else 1e-5) * other.norm()
    assert len(programs) == 2  # forward and backward
