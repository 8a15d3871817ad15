"""PSANet's attention masks: from masks centred on each pixel to the whole picture, and back.

Both directions are the same look-up: ``target[n, r, c, h, w] = source[n, r + s_h(h), c + s_w(w), h,
w]``, zero where that falls outside the source. It is done one row of the target at a time, so that
the indices stay small.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Size = tuple[int, int]
COLLECT = 0


def _copy_shifted(
    source: Tensor, target: Tensor, sizes: tuple[Size, Size], shifts: tuple[Tensor, Tensor]
) -> None:
    """Fill ``target`` from ``source`` along their dimension 1.

    Args:
        source: (N, source rows * source columns, H * W).
        target: (N, target rows * target columns, H * W), any strides.
        sizes: (rows, columns) of the source and of the target.
        shifts: source row minus target row for each of the H picture rows, and the same for the W
            columns.
    """
    (source_rows, source_columns), (target_rows, target_columns) = sizes
    row_shift, column_shift = shifts[0][:, None], shifts[1][None, :]
    first_columns = torch.arange(target_columns, device=source.device)[:, None, None]
    columns = first_columns + column_shift
    columns_inside = (columns >= 0) & (columns < source_columns)
    for row in range(target_rows):
        rows = row + row_shift
        inside = (columns_inside & (rows >= 0) & (rows < source_rows)).flatten(1)
        index = (rows * source_columns + columns).flatten(1).masked_fill(~inside, 0)
        values = source.gather(1, index.expand(source.size(0), -1, -1))
        target[:, row * target_columns : (row + 1) * target_columns] = values.masked_fill(
            ~inside, 0
        )


def _as_collected(pixel_pairs: Tensor, psa_type: int) -> Tensor:
    """View (N, H*W, H, W) as (N, pixels looked at, pixels that own a mask)."""
    flat = pixel_pairs.flatten(2)
    return flat if psa_type == COLLECT else flat.transpose(1, 2)


def psamask_forward(
    input: Tensor,
    output: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Lay each pixel's mask over the picture and write the result into ``output``.

    ``input`` is (N, h_mask * w_mask, H, W); ``output``, contiguous, is (N, H*W, H, W): with
    ``psa_type`` 0 (collect) indexed by the pixel looked at and then by the mask's owner, with 1
    (distribute) the other way round.
    """
    rows = half_h_mask - torch.arange(h_feature, device=input.device)
    columns = half_w_mask - torch.arange(w_feature, device=input.device)
    sizes = ((h_mask, w_mask), (h_feature, w_feature))
    _copy_shifted(input.flatten(2), _as_collected(output, psa_type), sizes, (rows, columns))


def psamask_backward(
    grad_output: Tensor,
    grad_input: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Write the gradient of the masks into ``grad_input``; shapes as in :func:`psamask_forward`."""
    rows = torch.arange(h_feature, device=grad_output.device) - half_h_mask
    columns = torch.arange(w_feature, device=grad_output.device) - half_w_mask
    sizes = ((h_feature, w_feature), (h_mask, w_mask))
    _copy_shifted(
        _as_collected(grad_output, psa_type), grad_input.flatten(2), sizes, (rows, columns)
    )


OPERATORS: tuple[Callable, ...] = (psamask_forward, psamask_backward)
