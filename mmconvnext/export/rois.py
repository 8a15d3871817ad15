"""Features of regions in an exported detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import roi_align


def region_features(extractor: Any, maps: Sequence[Tensor], boxes: Tensor) -> Tensor:
    """What mmdet's ``SingleRoIExtractor`` gives: each box from the map that fits its size.

    Args:
        extractor: mmdet's, with layers of mmcv's ``RoIAlign``.
        maps: (1, C, H, W) of each level.
        boxes: (n, 4) in the network's picture, in pixels.

    Returns:
        (n, C, rows, columns)
    """
    maps = maps[: extractor.num_inputs]
    rois = torch.cat([boxes.new_zeros(boxes.shape[0], 1), boxes], dim=1)
    if len(maps) == 1:
        return _aligned(maps[0], rois, extractor.roi_layers[0])
    levels = extractor.map_roi_levels(rois, len(maps))
    places, parts = [], []
    for level, (x, layer) in enumerate(zip(maps, extractor.roi_layers, strict=True)):
        here = (levels == level).nonzero()[:, 0]
        places.append(here)
        parts.append(_aligned(x, rois[here], layer))
    features = torch.cat(parts)
    out = features.new_zeros(boxes.shape[0], *features.shape[1:])
    return out.index_copy(0, torch.cat(places), features)


def _aligned(x: Tensor, rois: Tensor, layer: Any) -> Tensor:
    return roi_align(
        x, rois, layer.output_size, layer.spatial_scale, layer.sampling_ratio, layer.aligned
    )
