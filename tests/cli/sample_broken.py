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
    """Infinite in the given iterations, from 0; or its gradient alone."""

    def __init__(self, at: Sequence[int], backward: bool = False) -> None:
        super().__init__()
        self.at, self.backward = at, backward

    def forward(self, x: Tensor) -> Tensor:
        if MessageHub.get_current_instance().get_info("iter") not in self.at:
            return x
        return x + torch.sqrt(x * 0) if self.backward else x * torch.inf


@MODELS.register_module()
class BrokenConvNeXt(ConvNeXt):
    """Its stage 2 ends with an :class:`Overflow`."""

    def __init__(self, at: Sequence[int], backward: bool = False, **settings: Any) -> None:
        super().__init__(**settings)
        self.stages[2].append(Overflow(at, backward))
