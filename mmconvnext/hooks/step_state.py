"""What surrounds a training step: buffers and generators, which it changes, and the rates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

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


@contextmanager
def lowered_rates(optimizer: Optimizer, factor: float) -> Iterator[None]:
    """Inside, the rates of all groups are multiplied by ``factor``.

    For the optimizer's step alone: some schedules compute a rate from the last one, others from the
    first, and neither may notice.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    if factor != 1:
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * factor
    try:
        yield
    finally:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
