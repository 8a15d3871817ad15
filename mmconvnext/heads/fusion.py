"""A 3x3 convolution of maps that were resized to one size, without making the large maps.

Convolution and bilinear resizing are linear. For a small map ``y`` therefore

    conv3x3(up(y)) = sum over the taps t of shift_t(up(W_t y)):

the products with the weights, which are nearly all of the work, happen at the small size. The
convolution pads the large map with zeros, so shifting brings zeros in, at the large size. Resizing
is separable: it and the three shifts of an axis are one matrix an axis, and what is left is two
matrix products, from nine maps to three and from three to one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_input, conv2d_weight

from mmconvnext.backbones.torch_state import is_exporting


def conv3x3_of_resized(
    maps: Sequence[Tensor],
    weight: Tensor,
    size: tuple[int, int],
    *,
    align_corners: bool = False,
    bias: Tensor | None = None,
) -> Tensor:
    """``conv2d(cat([interpolate(m, size, mode="bilinear") for m in maps], 1), weight, padding=1)``.

    The numbers are the same but for rounding, gradients too. Maps for which the plain way is
    cheaper (those of ``size``, and larger ones) are convolved the plain way, together.

    Args:
        maps: (N, C_i, h_i, w_i) each, of any sizes.
        weight: (C_out, sum of C_i, 3, 3).
        size: height and width of the output.
        align_corners: that of ``interpolate``.
        bias: (C_out,), or none.

    Returns:
        (N, C_out, *size)

    Raises:
        ValueError: the weight is not 3x3, or not for so many channels.
    """
    channels = [m.shape[1] for m in maps]
    if tuple(weight.shape[1:]) != (sum(channels), 3, 3):
        expected = (weight.shape[0], sum(channels), 3, 3)
        raise ValueError(f"weight: expected shape {expected}, found {tuple(weight.shape)}")
    plain: list[tuple[Tensor, Tensor]] = []
    small: dict[Any, list[tuple[Tensor, Tensor]]] = {}
    for y, part in zip(maps, weight.split(channels, dim=1), strict=True):
        source: Any = (y.shape[2], y.shape[3])
        # Sizes of an exported network are unknown: what pays for most of them is what it does.
        pays = y is not maps[0] if is_exporting() else _pays(y.shape[1], source, size)
        if pays:
            small.setdefault(len(small) if is_exporting() else source, []).append((y, part))
        else:
            plain.append((_resized(y, size, align_corners), part))

    total: Tensor | None = None
    for pairs in small.values():  # maps of one size go through together
        total = _accumulate(total, *_joined(pairs), size, align_corners)
    if total is None:
        return F.conv2d(*_joined(plain), bias, padding=1)
    total = total.view(maps[0].shape[0], weight.shape[0], *size)
    if plain:
        return F.conv2d(*_joined(plain), bias, padding=1).add_(total)
    return total if bias is None else total.add_(bias.to(total.dtype)[:, None, None])


def _pays(channels: int, source: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether products at the small size and the two passes are fewer multiplications, for each
    output channel, than a convolution at the large size. Huge maps are where the passes cost more.
    """
    (h, w), (height, width) = source, size
    passes = 9 * h * w * width + 3 * h * height * width
    return 9 * channels * h * w + passes < 9 * channels * height * width


def _resized(y: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    if tuple(y.shape[2:]) == tuple(size):
        return y  # what interpolate gives, too
    return F.interpolate(y, size=size, mode="bilinear", align_corners=align_corners)


def _joined(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Maps of one size as one map, and their parts of the weight as one."""
    if len(pairs) == 1:
        return pairs[0]
    maps, parts = zip(*pairs, strict=True)
    return torch.cat(maps, 1), torch.cat(parts, 1)


def _accumulate(
    total: Tensor | None, y: Tensor, weight: Tensor, size: tuple[int, int], align_corners: bool
) -> Tensor:
    """Add the convolution of resized ``y`` to ``total``: (N * C_out, H, W)."""
    h = y.shape[2]
    along = _rows if is_exporting() else _Rows.apply
    rows: Tensor = along(y, weight, _shifted_resizing(y.shape[3], size[1], y, align_corners))
    # Along the columns: the kernel's three rows and the h rows of each lie in one axis.
    rows = rows.view(-1, 3 * h, size[1])
    matrix = _shifted_resizing(h, size[0], y, align_corners).permute(2, 1, 0).reshape(-1, 3 * h)
    matrix = matrix.to(rows.dtype).expand(rows.shape[0], -1, -1)
    return torch.bmm(matrix, rows) if total is None else total.baddbmm_(matrix, rows)


def _rows(y: Tensor, weight: Tensor, columns: Tensor) -> Tensor:
    """Along the rows: for each of the kernel's columns a product, then W values out of w."""
    rows: Tensor | None = None
    for tap, matrix in zip(_taps(weight), columns.unbind(1), strict=True):
        product = F.conv2d(y, tap).reshape(-1, y.shape[3])  # autocast chooses its type
        matrix = matrix.to(product.dtype)
        rows = product @ matrix if rows is None else rows.addmm_(product, matrix)
    assert rows is not None
    return rows


class _Rows(torch.autograd.Function):
    """:func:`_rows`, by hand because autograd would keep the weight a second time, reordered.

    Takes y, the weight and the matrix of :func:`_shifted_resizing`; gives (N * C_out * 3 rows * h,
    W).
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, weight: Tensor, columns: Tensor) -> Tensor:
        ctx.save_for_backward(y, weight, columns)
        return _rows(y, weight, columns)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        y, weight, columns = ctx.saved_tensors
        n, _, h, w = y.shape
        typed = y.to(grad.dtype)
        grad_y: Tensor | None = None
        grad_taps = []
        for tap, matrix in zip(_taps(weight.to(grad.dtype)), columns.unbind(1), strict=True):
            product = (grad @ matrix.to(grad.dtype).T).view(n, -1, h, w)
            if ctx.needs_input_grad[0]:
                part = conv2d_input(y.shape, tap, product)
                grad_y = part if grad_y is None else grad_y + part
            if ctx.needs_input_grad[1]:
                grad_taps.append(conv2d_weight(typed, tap.shape, product))
        grad_weight = None
        if grad_taps:
            taps = torch.stack(grad_taps).view(3, weight.shape[0], 3, -1)
            grad_weight = taps.permute(1, 3, 2, 0).to(weight.dtype)
        return None if grad_y is None else grad_y.to(y.dtype), grad_weight, None


def _taps(weight: Tensor) -> tuple[Tensor, ...]:
    """For each of the kernel's columns the weight of a 1x1 convolution: (C_out * 3 rows, C_in)."""
    return weight.permute(3, 0, 2, 1).flatten(1, 2)[..., None, None].unbind()


def _shifted_resizing(source: int, size: int, like: Tensor, align_corners: bool) -> Tensor:
    """Linear resizing of an axis, then a shift by -1, 0 and 1 with zeros coming in, as matrices.

    Returns:
        (source, 3, size): what each input value gives to each output value, in ``like``'s type but
        at least in single precision, in which ``interpolate`` computes too.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    unit = torch.eye(source, dtype=dtype, device=like.device)
    resized = F.interpolate(unit[None], size=size, mode="linear", align_corners=align_corners)[0]
    padded = F.pad(resized, (1, 1))
    return torch.stack([padded[:, shift : shift + size] for shift in range(3)], 1)
