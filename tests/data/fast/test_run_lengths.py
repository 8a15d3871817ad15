"""Run lengths and the boxes of what is seen of them, against the pixels that pycocotools draws."""

from __future__ import annotations

import numpy as np
import pycocotools.mask as coco_mask
import pytest

from mmconvnext.data.fast.run_lengths import Seen, box_of_seen, run_lengths


def masks() -> list[np.ndarray]:
    """Noise and blocks of all densities, small and large, empty and full."""
    rng = np.random.default_rng(0)
    found = [np.zeros((5, 7), np.uint8), np.ones((5, 7), np.uint8), np.ones((900, 1400), np.uint8)]
    for number in range(120):
        height, width = rng.integers(1, 60, 2) if number % 10 else rng.integers(300, 900, 2)
        mask = (rng.random((height, width)) < rng.random() ** 3).astype(np.uint8)
        if number % 3 == 0:
            mask = mask[: height // 7 + 1, : width // 9 + 1].repeat(7, 0).repeat(9, 1)
        found.append(mask[:height, :width])
    return found


def test_lengths_are_those_of_the_pixels() -> None:
    for mask in masks():
        counts = coco_mask.encode(np.asfortranarray(mask))["counts"]
        pixels = mask.ravel(order="F")
        changes = np.flatnonzero(np.diff(pixels)) + 1
        expected = np.diff(np.concatenate([[0], changes, [pixels.size]]))
        if pixels[0]:
            expected = np.concatenate([[0], expected])
        assert np.array_equal(run_lengths(counts), expected)
        assert np.array_equal(run_lengths(counts.decode()), expected)
    assert len(run_lengths(b"")) == 0


@pytest.mark.parametrize("kind", ["all", "part", "every third", "some", "none"])
def test_boxes_are_those_of_the_pixels(kind: str) -> None:
    rng = np.random.default_rng(1)
    found = 0
    for mask in masks():
        outline = coco_mask.encode(np.asfortranarray(mask))
        rows, columns = (_places(kind, size, rng) for size in mask.shape)
        box = box_of_seen(outline, Seen(rows, mask.shape[0]), Seen(columns, mask.shape[1]))
        marks = np.zeros(mask.shape, bool)
        marks[np.ix_(rows[rows >= 0], columns[columns >= 0])] = True
        y, x = np.nonzero(mask * marks)
        assert box == ((y.min(), y.max(), x.min(), x.max()) if len(y) else None)
        found += box is not None
    assert (found == 0) if kind == "none" else (found > 30)


def _places(kind: str, size: int, rng: np.random.Generator) -> np.ndarray:
    every = np.arange(size)
    chosen = {
        "all": every[::-1],
        "part": every[size // 4 : size // 2 + 1].repeat(2),
        "every third": every[::3],
        "some": every[rng.random(size) < 0.3],
        "none": every[:0],
    }[kind]
    return np.concatenate([chosen, [-1, -1]])
