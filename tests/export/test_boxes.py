"""Boxes of an exported detector, against mmdet's coder and mmcv's suppression."""

from __future__ import annotations

import pytest
import torch
from mmcv.ops import batched_nms
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder

from mmconvnext.export.boxes import decode, suppress

SIZE = (60, 80)


def some_boxes(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * torch.tensor([80.0, 60.0])
    return torch.cat([corners, corners + 2 + torch.rand(count, 2, generator=generator) * 30], 1)


@pytest.mark.parametrize("kinds", [1, 3])
@pytest.mark.parametrize("clips", [True, False])
def test_decoding_is_mmdets(kinds, clips):
    coder = DeltaXYWHBBoxCoder((0.1, 0.0, 0.2, -0.1), (0.1, 0.2, 0.3, 0.4), clip_border=clips)
    boxes = some_boxes(20)
    deltas = 20 * torch.randn(20, 4 * kinds, generator=torch.Generator().manual_seed(1))
    # Far beyond what a box may grow by, too.
    expected = coder.decode(boxes.repeat_interleave(kinds, 0), deltas.reshape(-1, 4), SIZE)
    found = decode(boxes, deltas, coder, SIZE)
    torch.testing.assert_close(found, expected.view(20, kinds, 4))


@pytest.mark.parametrize("seed", range(5))
def test_suppression_is_mmcvs(seed):
    boxes, generator = some_boxes(60, seed), torch.Generator().manual_seed(seed)
    scores = torch.rand(60, generator=generator)
    groups = torch.randint(0, 3, (60,), generator=generator)
    _, expected = batched_nms(boxes, scores, groups, {"type": "nms", "iou_threshold": 0.3})
    assert len(expected) < 60
    found = suppress(boxes, scores, groups, overlap=0.3, at_most=100)
    assert found.tolist() == expected.tolist()
    fewer = suppress(boxes, scores, groups, overlap=0.3, at_most=4)
    assert fewer.tolist() == expected[:4].tolist()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_boxes_and_none_stay(count):
    boxes = some_boxes(count)
    scores, groups = torch.linspace(0, 1, count), torch.zeros(count, dtype=torch.long)
    found = suppress(
        boxes + 200 * torch.arange(count)[:, None], scores, groups, overlap=0.5, at_most=9
    )
    assert found.tolist() == list(range(count))[::-1]
