"""A backbone with a layer that is not finite in some iterations; configs import this module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.logging import MessageHub
from torch import Tensor, nn

from mmconvnext import ConvNeXt
from mmconvnext.registry import MODELS


class Overflow(nn.Module):
    """Infinite in the given iterations, from 0."""

    def __init__(self, at: Sequence[int]) -> None:
        super().__init__()
        self.at = at

    def forward(self, x: Tensor) -> Tensor:
        now = MessageHub.get_current_instance().get_info("iter") in self.at
        return x * torch.inf if now else x


@MODELS.register_module()
class BrokenConvNeXt(ConvNeXt):
    """Its stage 2 ends with an :class:`Overflow`."""

    def __init__(self, at: Sequence[int], **settings: Any) -> None:
        super().__init__(**settings)
        self.stages[2].append(Overflow(at))
