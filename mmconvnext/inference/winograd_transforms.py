"""The matrices of Winograd's minimal filtering with 3 taps (Lavin and Gray, arXiv:1509.09308).

By one axis: the product of two polynomials follows from its values at some points, and a
convolution of so many outputs is that product's transpose, so its matrices are the transposed ones.
Two axes: the Kronecker product of each axis's matrices.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

_POINTS = (0.0, 0.7, -0.7, 1.5, -1.5)  # and infinity; among those tried they round least
OUT, IN = 4, 6  # height and width of a tile's output and input


class WholeMap(NamedTuple):
    """Transforms of maps that are a few tiles in each direction, the last ones maybe smaller.

    A smaller tile uses the first of the points and infinity, so that its products can be taken
    together with the others' at the same points. Points with as many tiles stand together: a group.
    """

    there: Tensor  # (values, positions); the padding with zeros is in it
    back: Tensor  # (positions, values)
    of_kernel: Tensor  # (points, taps)
    points: list[int]  # in each group
    rows: list[int]  # values in each group


@cache
def of_tiles() -> tuple[Tensor, Tensor, Tensor]:
    """Of 36 points to 4x4 positions, of 3x3 taps to the points, of 6x6 positions to the points."""
    back, of_kernel, there = (torch.kron(m, m).float() for m in _one_axis(OUT))
    return back, of_kernel, there


@cache
def of_whole_maps(height: int, width: int) -> WholeMap:
    """Of maps of ``height`` x ``width`` positions, convolved with a border of zeros."""
    (there, back, points), others = _whole_axis(height), _whole_axis(width)
    point = (points[:, None] * IN + others[2]).flatten()
    tiles = torch.bincount(point, minlength=IN**2)
    used = torch.nonzero(tiles).flatten()
    used = used[torch.argsort(tiles[used], descending=True, stable=True)]
    rows = torch.cat([torch.nonzero(point == p).flatten() for p in used])
    counts, sizes = torch.unique_consecutive(tiles[used], return_counts=True)
    kernel = _one_axis(OUT)[1]
    return WholeMap(
        torch.kron(there, others[0])[rows].float(),
        torch.kron(back, others[1])[:, rows].float().contiguous(),
        torch.kron(kernel, kernel)[used].float(),
        sizes.tolist(),
        (counts * sizes).tolist(),
    )


def _whole_axis(length: int) -> tuple[Tensor, Tensor, Tensor]:
    """(values, positions), (positions, values) and each value's point, in float64."""
    tiles = [min(OUT, length - start) for start in range(0, length, OUT)]
    there = torch.zeros(sum(tiles) + 2 * len(tiles), length + 2, dtype=torch.float64)
    back, points, row = torch.zeros_like(there[:, :length]).t(), [], 0
    for number, outputs in enumerate(tiles):
        start, values = number * OUT, outputs + 2
        of_values, _, of_positions = _one_axis(outputs)
        there[row : row + values, start : start + values] = of_positions
        back[start : start + outputs, row : row + values] = of_values
        points += [*range(values - 1), IN - 1]
        row += values
    return there[:, 1:-1].contiguous(), back.contiguous(), torch.tensor(points)


def _one_axis(outputs: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of points to outputs, of 3 taps to points, of ``outputs`` + 2 inputs to points; float64."""
    points = torch.tensor(_POINTS[: outputs + 1], dtype=torch.float64)

    def values(count: int) -> Tensor:  # of a polynomial with so many coefficients
        at_infinity = torch.eye(count, dtype=torch.float64)[-1:]
        return torch.cat([points[:, None] ** torch.arange(count), at_infinity])

    back, there = values(outputs).t(), torch.linalg.inv(values(outputs + 2)).t()
    return back.contiguous(), values(3), there.contiguous()
