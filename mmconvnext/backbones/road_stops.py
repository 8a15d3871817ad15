"""The stops on the paper's road from ResNet to ConvNeXt (arXiv:2201.03545, section 2), as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from mmconvnext.backbones.archs import Arch, require, resolve_arch


class Regime(NamedTuple):
    """A size of the road: blocks a stage, and channels of the first stage's depthwise or 3x3
    convolution, each at ResNet, from ``stage_ratio`` on, and from ``width`` on."""

    depths: tuple[tuple[int, ...], tuple[int, ...]]
    widths: tuple[int, int, int]


# The paper's table 11 names "stage ratio and increase width" as one step of the larger regime and
# gives no width: 84 is the one of which 14.52 GFLOPs come, and 14.38 and 7.23 at the next two.
REGIMES = {
    "resnet50": Regime(depths=((3, 4, 6, 3), (3, 3, 9, 3)), widths=(64, 64, 96)),
    "resnet200": Regime(depths=((3, 24, 36, 3), (3, 3, 27, 3)), widths=(64, 84, 128)),
}


@dataclass(frozen=True)
class Design:
    """Which of the road's changes a network has."""

    stage_ratio: bool = False
    patchify_stem: bool = False  # 4x4, stride 4, for 7x7 of stride 2 and a pool
    depthwise: bool = False
    width: bool = False
    inverted_bottleneck: bool = False  # blocks are widest inside
    depthwise_first: bool = False
    kernel_size: int = 3
    gelu: bool = False
    fewer_activations: bool = False  # one a block, between its pointwise layers
    fewer_norms: bool = False  # one a block, before the first pointwise layer
    layer_norm: bool = False
    separate_downsampling: bool = False  # layers of their own between the stages, and more norms

    def arch(self, regime: Regime) -> Arch:
        """Blocks and channels of the stages' maps."""
        width = regime.widths[self.stage_ratio + self.width]
        factor = 1 if self.inverted_bottleneck else 4
        depths = regime.depths[self.stage_ratio]
        return Arch(depths, tuple(factor * width * 2**i for i in range(len(depths))))


# What each stop changes of the one before.
CHANGES: dict[str, dict[str, Any]] = {
    "resnet": {},
    "stage_ratio": {"stage_ratio": True},
    "patchify_stem": {"patchify_stem": True},
    "depthwise": {"depthwise": True},
    "width": {"width": True},
    "inverted_bottleneck": {"inverted_bottleneck": True},
    "move_up_depthwise": {"depthwise_first": True},
    "kernel_5": {"kernel_size": 5},
    "kernel_7": {"kernel_size": 7},
    "kernel_9": {"kernel_size": 9},
    "kernel_11": {"kernel_size": 11},
    "gelu": {"gelu": True, "kernel_size": 7},
    "fewer_activations": {"fewer_activations": True},
    "fewer_norms": {"fewer_norms": True},
    "layer_norm": {"layer_norm": True},
    "separate_downsampling": {"separate_downsampling": True},
}
STEPS = tuple(CHANGES)
LAST = STEPS[-1]
TRIED = ("kernel_9", "kernel_11")  # larger kernels brought no more; the road goes on from 7x7


def design_of(step: str) -> Design:
    """The network at a stop.

    Raises:
        ValueError: there is no such stop.
    """
    require(step in CHANGES, "step", f"one of {', '.join(STEPS)}", step)
    design = Design()
    for name in STEPS[: STEPS.index(step) + 1]:
        design = replace(design, **CHANGES[name])
    return design


def before(step: str) -> Iterator[str]:
    """The stops before ``step``, the nearest first, without those that the road left aside."""
    for name in reversed(STEPS[: STEPS.index(step)]):
        if name not in TRIED or step in TRIED:
            yield name


def resolve_regime(regime: str | Mapping[str, Sequence[Any]]) -> Regime:
    """A named regime, or one of ``dict(depths=…, widths=…)``.

    Raises:
        ValueError: an unknown name, or a dict that is not two lists of depths and three widths.
    """
    if isinstance(regime, str):
        require(regime in REGIMES, "regime", f"one of {', '.join(REGIMES)} or a dict", regime)
        return REGIMES[regime]
    require(
        isinstance(regime, Mapping)
        and set(regime) == {"depths", "widths"}
        and [_length(regime[key]) for key in ("depths", "widths")] == [2, 3],
        "regime",
        "a name or dict(depths=[of ResNet, from stage_ratio on], widths=[of ResNet, from "
        "stage_ratio on, from width on])",
        regime,
    )
    depths = [
        resolve_arch({"depths": stages, "channels": [1] * _length(stages)}).depths
        for stages in regime["depths"]
    ]
    require(
        len(depths[0]) == len(depths[1]),
        "regime['depths']",
        "as many stages in both lists",
        regime["depths"],
    )
    widths = resolve_arch({"depths": [1] * 3, "channels": regime["widths"]}).channels
    return Regime((depths[0], depths[1]), (widths[0], widths[1], widths[2]))


def _length(value: object) -> int:
    return len(value) if isinstance(value, (list, tuple)) else 0
