"""COCO's compressed run lengths, looked into without drawing the mask."""

from __future__ import annotations

from typing import Any

import numpy as np

RunLengths = dict[str, Any]  # {'size': [height, width], 'counts': bytes or str}


class Seen:
    """Which of ``size`` rows, or columns, of a mask are seen at all.

    Args:
        places: the row that is seen in each row of a picture; negative: none.
        size: how many rows the mask has.

    Attributes:
        before: shape ``(size + 1,)``: how many of the rows before each are seen.
        following: shape ``(size,)``: the first that is seen, from each on; ``size``: none.
        preceding: the same backwards; -1: none.
    """

    def __init__(self, places: np.ndarray, size: int) -> None:
        seen = np.zeros(size, bool)
        seen[places[places >= 0]] = True
        numbers = np.arange(size)
        self.before = np.concatenate([[0], np.cumsum(seen)])
        self.following = np.minimum.accumulate(np.where(seen, numbers, size)[::-1])[::-1]
        self.preceding = np.maximum.accumulate(np.where(seen, numbers, -1))


def box_of_seen(outline: RunLengths, rows: Seen, columns: Seen) -> tuple[int, int, int, int] | None:
    """First and last row, first and last column of what is seen of a mask; None: nothing is."""
    height = outline["size"][0]
    starts, ends = _runs_in_columns(run_lengths(outline["counts"]), height)
    column, top = np.divmod(starts, height)
    bottom = top + (ends - starts)
    seen = (rows.before[bottom] > rows.before[top]) & (
        columns.before[column + 1] > columns.before[column]
    )
    if not seen.any():
        return None
    column = column[seen]
    return (
        rows.following[top[seen]].min(),
        rows.preceding[bottom[seen] - 1].max(),
        column[0],
        column[-1],
    )


def _runs_in_columns(lengths: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Start and end of each run of pixels that are on, cut where a column ends."""
    borders = np.cumsum(lengths)
    starts, ends = borders[:-1:2], borders[1::2]
    starts, ends = starts[ends > starts], ends[ends > starts]
    first, last = starts // height, (ends - 1) // height
    parts = last - first + 1
    if (parts == 1).all():
        return starts, ends
    run = np.repeat(np.arange(len(starts)), parts)
    column = first[run] + np.arange(len(run)) - np.repeat(np.cumsum(parts) - parts, parts)
    return (
        np.maximum(starts[run], column * height),
        np.minimum(ends[run], (column + 1) * height),
    )


def run_lengths(counts: bytes | str) -> np.ndarray:
    """The lengths that COCO's compressed ``counts`` stand for: int64; off, on, off, …

    Five bits a character, from 48 on, the lowest first; 32: more follow; 16 in the last: negative.
    From the fourth on, a length is told by its difference from the one two before (pycocotools'
    ``rleToString``).
    """
    if not counts:
        return np.zeros(0, np.int64)
    text = counts.encode() if isinstance(counts, str) else counts
    codes = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    last = (codes & 32) == 0
    firsts = np.flatnonzero(np.concatenate([[True], last[:-1]]))
    place = np.arange(len(codes)) - np.repeat(firsts, np.diff(firsts, append=len(codes)))
    lengths = np.add.reduceat((codes & 31) << (5 * place), firsts)
    negative = (codes[last] & 16) != 0
    lengths -= negative * (1 << (5 * (place[last] + 1)))
    lengths[1::2] = np.cumsum(lengths[1::2])
    lengths[2::2] = np.cumsum(lengths[2::2])
    return lengths
