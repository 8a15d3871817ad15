"""Masks as run lengths, one by one and packed, against mmdet's."""

from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pytest
import torch
from mmdet.structures.mask import encode_mask_results

from mmconvnext.evaluation.mask_coding import PackedMasks, encode_masks


@pytest.mark.parametrize("shape", [(0, 8, 8), (3, 1, 1), (4, 300, 131), (2, 128, 257)])
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32])
def test_codes_are_mmdets(shape, dtype):
    masks = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.5
    masks[:1] = False
    expected = encode_mask_results(masks.to(dtype).numpy())
    assert encode_masks(masks.to(dtype)) == expected
    assert encode_masks(masks.to(dtype).numpy()) == expected


def test_codes_of_a_view():
    masks = torch.rand(6, 40, 30, generator=torch.Generator().manual_seed(0)) < 0.5
    view = masks[::2, 5:, ::3]
    assert encode_masks(view) == encode_mask_results(view.numpy())


def test_a_single_bitmap_is_refused():
    with pytest.raises(ValueError, match=r"expected \(N, H, W\), found the shape \(4, 4\)"):
        encode_masks(torch.zeros(4, 4))


def test_encoding_holds_one_bitmap_and_keeps_none():
    masks = torch.zeros(40, 256, 256, dtype=torch.bool)
    masks[:, 40:200, 30:170] = True
    encode_masks(masks[:1])
    tracemalloc.start()
    coded = encode_masks(masks)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * 256 * 256
    assert kept < 1000 * len(coded)


def test_masks_in_a_buffer_read_as_the_list_they_were():
    masks = torch.rand(3, 9, 7, generator=torch.Generator().manual_seed(0)) < 0.5
    coded = encode_masks(masks)
    packed = pickle.loads(pickle.dumps(PackedMasks(coded)))
    assert list(packed) == coded and len(packed) == 3
    assert packed[-1] == packed[np.int64(2)] == coded[2] and packed[1:] == coded[1:]
    assert list(PackedMasks([])) == []
    texts = [{**mask, "counts": mask["counts"].decode()} for mask in coded]
    assert list(PackedMasks(texts)) == coded
    with pytest.raises(IndexError):
        packed[3]
