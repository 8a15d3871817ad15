"""A segmentor as one graph of tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SegmentorGraph(nn.Module):
    """mmseg's ``EncoderDecoder`` on whole pictures, without its data samples.

    Args:
        model: with its weights, in evaluation mode.
    """

    outputs = ("logits", "classes")

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.threshold = model.decode_head.threshold if model.out_channels == 1 else None

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> tuple[Tensor, Tensor]:
        """Find each pixel's class.

        Args:
            x: (N, 3, H, W), normalised.
            size: height and width of the pictures themselves, where ``x`` was resized.

        Returns:
            logits (N, classes, h, w) at the head's own resolution, and classes (N, height, width),
            uint8, or int32 if there are more than 256.
        """
        logits = self.model.decode_head(self.model.extract_feat(x))
        full = self._resized(logits, (x.shape[2], x.shape[3]))
        if size is not None:
            full = self._resized(full, size)
        if self.threshold is not None:
            return logits, (full.sigmoid() > self.threshold)[:, 0].to(torch.uint8)
        kind = torch.uint8 if logits.shape[1] <= 256 else torch.int32
        return logits, full.argmax(1).to(kind)

    def _resized(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        return F.interpolate(
            logits, size=size, mode="bilinear", align_corners=self.model.align_corners
        )
