"""Run lengths of bitmaps: what pycocotools makes of them, and back."""

from __future__ import annotations

import numpy as np
import torch
from budget import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from mmconvnext.evaluation.mask_coding import PackedMasks, encode_masks


@st.composite
def bitmaps(draw) -> np.ndarray:
    """(N, H, W), smooth or noisy, higher than the strips that are turned over at a time."""
    height = draw(st.sampled_from([1, 2, 127, 128, 129, 300]) | st.integers(1, 40))
    width = draw(st.integers(1, 40))
    shape = (draw(st.integers(0, 3)), height, width)
    values = np.random.default_rng(draw(st.integers(0, 99))).random(shape)
    found = values < draw(st.sampled_from([0.0, 0.02, 0.5, 1.0]))
    return found if draw(st.booleans()) else np.maximum.accumulate(found, 1)


@settings(max_examples=examples(100))
@given(masks=bitmaps(), packed=st.booleans(), tensor=st.booleans(), turned=st.booleans())
def test_masks_come_back_as_they_were(masks, packed, tensor, turned):
    given_masks = np.asfortranarray(masks) if turned else masks
    coded = encode_masks(torch.from_numpy(given_masks) if tensor else given_masks.astype(np.uint8))
    expected = [coco_mask.encode(np.asfortranarray(m.astype(np.uint8))) for m in masks]
    assert coded == expected
    for found, mask in zip(PackedMasks(coded) if packed else coded, masks, strict=True):
        assert np.array_equal(coco_mask.decode(found), mask)
