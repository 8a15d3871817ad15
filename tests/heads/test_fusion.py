"""The fused convolution against torch's own resizing, concatenation and convolution."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmconvnext.heads import fusion
from mmconvnext.heads.fusion import conv3x3_of_resized

Size = tuple[int, int]
CASES: dict[str, tuple[Size, list[Size]]] = {
    "powers of two": ((16, 24), [(16, 24), (8, 12), (4, 6), (2, 3)]),
    "odd sizes": ((13, 17), [(13, 17), (7, 9), (4, 5), (2, 3)]),
    "no whole ratio, each axis its own": ((20, 31), [(20, 31), (13, 10), (7, 8)]),
    "one value": ((9, 5), [(9, 5), (1, 1), (3, 1), (1, 2)]),
    "equal small sizes": ((12, 12), [(12, 12), (6, 6), (6, 6), (6, 6)]),
    "all equal": ((8, 8), [(8, 8), (8, 8)]),
    "larger ones": ((8, 6), [(8, 6), (16, 12), (9, 6), (4, 3), (3, 9)]),
    "one row": ((1, 9), [(1, 9), (1, 3)]),
    "none of the output's size": ((16, 16), [(8, 8), (4, 4)]),
}


def plain(
    maps: list[Tensor], weight: Tensor, size: Size, align_corners: bool, bias: Tensor | None = None
) -> Tensor:
    large = [F.interpolate(m, size, mode="bilinear", align_corners=align_corners) for m in maps]
    return F.conv2d(torch.cat(large, 1), weight, bias, padding=1)


def made_up(sizes: list[Size], channels: int = 24, batch: int = 2) -> tuple[list[Tensor], Tensor]:
    """Maps of different widths, and the weight of a convolution of them; double precision."""
    torch.manual_seed(0)
    widths = [channels + i for i in range(len(sizes))]
    maps = [torch.randn(batch, c, *s).double() for c, s in zip(widths, sizes, strict=True)]
    return maps, torch.randn(5, sum(widths), 3, 3).double()


@pytest.fixture
def at_small_size(monkeypatch: pytest.MonkeyPatch) -> list[Size]:
    """The sizes whose products were at the small size."""
    sizes: list[Size] = []
    inner = fusion._accumulate

    def noted(total: Tensor | None, y: Tensor, *rest: object) -> Tensor:
        sizes.append((y.shape[2], y.shape[3]))
        return inner(total, y, *rest)

    monkeypatch.setattr(fusion, "_accumulate", noted)
    return sizes


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_the_plain_ones(name: str, align_corners: bool) -> None:
    size, sizes = CASES[name]
    maps, weight = made_up(sizes)
    bias = torch.randn(5).double()
    inputs = [*maps, weight, bias]
    for tensor in inputs:
        tensor.requires_grad_()
    found = conv3x3_of_resized(maps, weight, size, align_corners=align_corners, bias=bias)
    wanted = plain(maps, weight, size, align_corners, bias)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)
    outside = torch.randn_like(wanted)
    found, wanted = (torch.autograd.grad(y, inputs, outside) for y in (found, wanted))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)


def test_gradients_are_those_of_the_values() -> None:
    maps, weight = made_up([(6, 5), (3, 2)], channels=8, batch=1)
    inputs = [t.requires_grad_() for t in (*maps, weight[:2].clone().detach())]
    assert torch.autograd.gradcheck(
        lambda a, b, w: conv3x3_of_resized([a, b], w, (6, 5)), inputs, fast_mode=True
    )


def test_frozen_inputs_get_no_gradient() -> None:
    maps, weight = made_up([(6, 5), (3, 2)])
    grads = []
    for fuse in (
        lambda m: conv3x3_of_resized(m, weight, (6, 5)),
        lambda m: plain(m, weight, (6, 5), False),
    ):
        small = maps[1].clone().requires_grad_()
        fuse([maps[0], small]).square().sum().backward()
        grads.append(small.grad)
    torch.testing.assert_close(*grads)
    weight.requires_grad_()
    conv3x3_of_resized(maps, weight, (6, 5)).sum().backward()
    assert weight.grad is not None and maps[1].grad is None


@pytest.mark.parametrize(
    ("name", "small"),
    [
        ("powers of two", [(8, 12), (4, 6), (2, 3)]),
        ("equal small sizes", [(6, 6)]),  # once, together
        ("all equal", []),
        ("larger ones", [(4, 3), (3, 9)]),
    ],
)
def test_small_maps_are_not_made_large(
    name: str, small: list[Size], at_small_size: list[Size]
) -> None:
    size, sizes = CASES[name]
    maps, weight = made_up(sizes, channels=64)
    conv3x3_of_resized(maps, weight, size)
    assert at_small_size == small


def test_huge_maps_are_convolved_the_plain_way(at_small_size: list[Size]) -> None:
    # A matrix of 1500x3000 for each row is dearer than 24 channels at the large size.
    maps, weight = made_up([(4, 3000), (2, 1500)], batch=1)
    found = conv3x3_of_resized(maps, weight, (4, 3000))
    assert not at_small_size
    torch.testing.assert_close(found, plain(maps, weight, (4, 3000), False))


def test_channels_last_inputs() -> None:
    maps, weight = made_up([(16, 16), (8, 8), (4, 4)])
    maps = [m.contiguous(memory_format=torch.channels_last) for m in maps]
    weight = weight.contiguous(memory_format=torch.channels_last)
    found = conv3x3_of_resized(maps, weight, (16, 16))
    torch.testing.assert_close(found, plain(maps, weight, (16, 16), False), rtol=0, atol=1e-11)


@pytest.mark.parametrize("autocast", [False, True], ids=["bfloat16 tensors", "autocast"])
def test_bfloat16_is_about_as_exact_as_the_plain_way(autocast: bool) -> None:
    """Values, and gradients of the maps and the weight."""
    maps, weight = made_up([(32, 32), (16, 16), (8, 8), (5, 5)], channels=64)
    exact = [t.requires_grad_() for t in (*maps, weight)]
    wanted = plain(exact[:-1], exact[-1], (32, 32), False)
    outside = torch.randn_like(wanted)
    dtype = torch.float32 if autocast else torch.bfloat16
    inputs = [t.detach().to(dtype).requires_grad_() for t in exact]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = conv3x3_of_resized(inputs[:-1], inputs[-1], (32, 32))
        theirs = plain(inputs[:-1], inputs[-1], (32, 32), False)
    assert found.dtype == theirs.dtype == torch.bfloat16
    results = [[wanted, *torch.autograd.grad(wanted, exact, outside)]]
    for values in (found, theirs):
        results.append([values, *torch.autograd.grad(values, inputs, outside.bfloat16())])
    for right, ours, plains in zip(*results, strict=True):
        assert ours.dtype == plains.dtype
        error, their_error = ((y.double() - right).std().item() for y in (ours, plains))
        assert error < 2 * their_error


def test_one_graph_for_torch_compile() -> None:
    maps, weight = made_up([(16, 16), (8, 8), (4, 4)])

    def fuse(*maps: Tensor) -> Tensor:
        return conv3x3_of_resized(maps, weight, (maps[0].shape[2], maps[0].shape[3]))

    compiled = torch.compile(fuse, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*maps), plain(maps, weight, (16, 16), False))
    others, _ = made_up([(20, 12), (10, 6), (5, 3)])
    torch.testing.assert_close(compiled(*others), plain(others, weight, (20, 12), False))


def test_a_weight_that_does_not_fit_is_named() -> None:
    maps, weight = made_up([(4, 4), (2, 2)])
    with pytest.raises(ValueError, match=r"weight: expected shape \(5, 49, 3, 3\), found \(5, 48"):
        conv3x3_of_resized(maps, weight[:, :48], (4, 4))
