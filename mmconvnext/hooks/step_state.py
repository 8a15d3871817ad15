"""What a forward pass changes beside the weights: buffers, and the generators it draws from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmconvnext.loops import generators


class StepState:
    """The buffers of a model and the states of the generators at one moment.

    Args:
        model: its buffers' names are taken now; their values may be replaced by others later.
    """

    def __init__(self, model: nn.Module) -> None:
        self._places = [
            (module._buffers, name)
            for module in model.modules()
            for name, buffer in module._buffers.items()
            if buffer is not None
        ]
        self._live: list[Tensor] = []
        self._copies: list[Tensor] = []
        self.generators: dict[str, Any] = {}

    def keep(self) -> None:
        """Keep what is there now; the memory of the last time is used again."""
        live: list[Any] = [buffers[name] for buffers, name in self._places]
        known = len(live) == len(self._live) and all(map(_same, live, self._live))
        with torch.no_grad():
            if known and live:
                torch._foreach_copy_(self._copies, live)
            elif not known:
                self._copies = [buffer.detach().clone() for buffer in live]
        self._live = live
        self.generators = generators.states()

    def put_back(self) -> None:
        """Give the model the buffers that were kept."""
        with torch.no_grad():
            for (buffers, name), live, copy in zip(
                self._places, self._live, self._copies, strict=True
            ):
                live.copy_(copy)
                buffers[name] = live


def _same(one: Tensor, other: Tensor) -> bool:
    return one is other
