"""``recompute='auto'``: of the ways to train the stages, the fastest that keeps no more than a
budget for the backward pass.

What a stage keeps grows with the number of pixels. How much a pixel takes depends on the type,
autocast, device, on frozen and replaced layers; so it is counted, not derived: one block of each
stage runs once in each mode on two small pictures. Drop path keeps less than counted here, by luck;
the pick must not depend on luck.

The modes of the stages are those of a rung of a ladder, on which each rung keeps less and computes
more than the one before: a mode goes to the first stage first, which keeps most for the same work.
One goes down only, as pictures get larger: going back and forth with their sizes would save little.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from mmconvnext.backbones.archs import require
from mmconvnext.backbones.free_memory import free_memory
from mmconvnext.backbones.kept import counting_kept
from mmconvnext.backbones.recompute import MODES
from mmconvnext.backbones.torch_state import autocast_state

if TYPE_CHECKING:
    from mmconvnext.backbones.convnext import ConvNeXt

# Of the memory that is free, for what a backbone keeps: neck and heads keep some as well, and the
# backward pass works with maps of its own.
SHARE = 0.5
AUTO = "auto"
GIB = 2**30
Modes = tuple[str | None, ...]  # of each stage
Kept = tuple[float, float]  # bytes whatever the size, bytes for each pixel


def ladder(stages: int) -> list[Modes]:
    """Modes of the stages, from the fastest to the one that keeps least."""
    rungs: list[Modes] = [(MODES[0],) * stages]
    for before, mode in pairwise(MODES):
        rungs += [(mode,) * i + (before,) * (stages - i) for i in range(1, stages + 1)]
    return rungs


class MemoryBudget:
    """Picks the modes of a network's stages.

    Args:
        gib: GiB that the network may keep for its backward pass. None: :data:`SHARE` of the memory
            that is free at the first training forward pass, when the network's gradients and
            AdamW's two moments, which come later, are taken off.
    """

    def __init__(self, gib: float | None) -> None:
        self._budget = None if gib is None else gib * GIB
        self._source = "memory_budget"
        self._kept: dict[tuple[Any, ...], list[dict[str | None, Kept]]] = {}
        self._rung: int | None = None
        self._warned = False

    def fit(self, network: ConvNeXt, x: Tensor) -> None:
        """Set the modes of ``network``'s blocks for a training step on ``x``: (N, C, H, W)."""
        if self._budget is None:
            self._budget = self._share_of_free(network, x.device)
        budget, pixels = self._budget, x.shape[0] * x.shape[2] * x.shape[3]
        kept = self._kept_of(network, x)
        rungs = ladder(len(kept))
        rung = self._rung or 0
        while rung + 1 < len(rungs) and kept_by(kept, rungs[rung], pixels) > budget:
            rung += 1
        too_much = kept_by(kept, rungs[rung], pixels) > budget
        if rung != self._rung or (too_much and not self._warned):
            self._rung, self._warned = rung, too_much
            set_modes(network, rungs[rung])
            print_log(
                self._message(kept, rungs[rung], x, too_much),
                logger="current",
                level=logging.WARNING if too_much else logging.INFO,
            )

    def _share_of_free(self, network: ConvNeXt, device: torch.device) -> float:
        free = free_memory(device)
        if free is None:
            self._source = f"free memory unknown on {device.type}, give memory_budget"
            return 0.0
        to_come = 3 * sum(
            p.numel() * p.element_size() for p in network.parameters() if p.requires_grad
        )
        self._source = (
            f"{SHARE:.0%} of the {free / GIB:.2f} GiB free on {device}, without "
            f"{to_come / GIB:.2f} for gradients and AdamW"
        )
        return max(SHARE * (free - to_come), 0.0)

    def _kept_of(self, network: ConvNeXt, x: Tensor) -> list[dict[str | None, Kept]]:
        """What each stage keeps in each mode, counted where anything that matters is new."""
        learning = sum(p.requires_grad for p in network.parameters())
        state = (x.device, x.dtype, x.requires_grad, autocast_state(x.device.type), learning)
        if state not in self._kept:
            self._kept[state] = measure(network, x)
        return self._kept[state]

    def _message(
        self, kept: list[dict[str | None, Kept]], modes: Modes, x: Tensor, too_much: bool
    ) -> str:
        pixels = x.shape[0] * x.shape[2] * x.shape[3]
        alike = ", ".join(
            f"{mode or 'None'} {kept_by(kept, (mode,) * len(kept), pixels) / GIB:.2f}"
            for mode in MODES
        )
        found = (
            f"recompute='auto' picked {', '.join(mode or 'None' for mode in modes)} for stages 1 "
            f"to {len(modes)}, which keep {kept_by(kept, modes, pixels) / GIB:.2f} GiB of a "
            f"{tuple(x.shape)} input; budget {(self._budget or 0) / GIB:.2f} GiB ({self._source}); "
            f"all stages in one mode: {alike} GiB"
        )
        if too_much:
            found += "; nothing fits: take smaller batches or pictures, or raise memory_budget"
        return found


def resolve_recompute(
    recompute: str | None, with_cp: bool, memory_budget: float | None
) -> tuple[str | None, MemoryBudget | None]:
    """The mode that blocks start in, and with ``'auto'`` what picks another.

    Raises:
        ValueError: there is no such mode, or the three arguments contradict each other.
    """
    modes = ", ".join(map(repr, (*MODES, AUTO)))
    require(recompute in (*MODES, AUTO), "recompute", f"one of {modes}", recompute)
    if recompute != AUTO:
        require(memory_budget is None, "memory_budget", "recompute='auto' with it", memory_budget)
        return "block" if with_cp and recompute is None else recompute, None
    require(not with_cp, "with_cp", "False with recompute='auto', which picks by itself", with_cp)
    fine = memory_budget is None or 0 < memory_budget < math.inf
    require(fine, "memory_budget", "more than 0 (GiB), or None", memory_budget)
    return "block", MemoryBudget(memory_budget)


def set_modes(network: ConvNeXt, modes: Modes) -> None:
    """Train the blocks of each stage in its mode."""
    stages: list[Any] = list(network.stages)
    for stage, mode in zip(stages, modes, strict=False):  # those that nobody asks for go on as is
        for block in stage:
            block.recompute = mode


def kept_by(kept: list[dict[str | None, Kept]], modes: Modes, pixels: int) -> float:
    """Bytes that stages in ``modes`` keep of pictures with so many pixels in all."""
    return sum(
        whatever + each * pixels
        for whatever, each in (stage[mode] for stage, mode in zip(kept, modes, strict=True))
    )


def measure(network: ConvNeXt, like: Tensor) -> list[dict[str | None, Kept]]:
    """What each stage up to the last that is given out keeps in each mode.

    Sizes are rounded down at each stage, so that odd ones keep a little less than this says.

    Args:
        network: the network, whose blocks end up in the mode they are in now.
        like: an input of the type, and on the device, that counts.
    """
    stages: list[Any] = list(network.stages)
    modes_now = tuple(stage[0].recompute for stage in stages)
    side = 2 * network.min_size
    found: list[dict[str | None, Kept]] = [{} for _ in range(network.out_indices[-1] + 1)]
    try:
        with _put_together([stage[0] for stage in stages]):
            for mode in MODES:
                set_modes(network, (mode,) * len(modes_now))
                small, large = (_kept_by_stage(network, like, side, w) for w in (side, 2 * side))
                for stage, less, more in zip(found, small, large, strict=True):
                    stage[mode] = (2 * less - more, (more - less) / side**2)
    finally:
        set_modes(network, modes_now)
    return found


@contextmanager
def _put_together(blocks: list[Any]) -> Iterator[None]:
    """Blocks that are divided among processes (FSDP) are whole while they are called. Here they are
    measured, which does not go through a call."""
    divided = [block for block in blocks if hasattr(block, "unshard")]
    for block in divided:
        block.unshard()
    try:
        yield
    finally:
        for block in divided:
            block.reshard()


def _kept_by_stage(network: ConvNeXt, like: Tensor, height: int, width: int) -> list[int]:
    """Bytes that each stage keeps of one picture, with the layer before it and the norm after."""
    x = like.new_zeros(1, like.shape[1], height, width).requires_grad_(like.requires_grad)
    dtype, enabled = autocast_state(x.device.type)
    # Autocast shall not take the weights that it makes here for the real pass.
    autocast = torch.autocast(x.device.type, dtype=dtype, enabled=enabled, cache_enabled=False)
    x = x.contiguous(memory_format=torch.channels_last)
    found = []
    stages: list[Any] = list(network.stages)
    with torch.enable_grad(), autocast, counting_kept(network) as kept:
        for i in range(network.out_indices[-1] + 1):
            before = kept()
            x = network.downsample_layers[i](x)
            inside = kept()
            x = x + stages[i][0].branch(x)
            block = kept() - inside
            if i in network.out_indices:
                network.output(i, x)
            found.append(kept() - before + (network.depths[i] - 1) * block)
    return found
