"""What a backbone gives: channels and strides of its maps, found by trying it without memory."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from mmengine.registry import MODELS
from torch.overrides import TorchFunctionMode

from mmconvnext.adapt.errors import AdaptError
from mmconvnext.compat.without_mmpretrain import OURS, THEIR_DEFAULTS, THEIRS, is_installed

STRIDES = (4, 8, 16, 32)  # of ConvNeXt's stages
_PICTURE = 256
# Their `out_indices` count four stages of these strides, undilated; so ConvNeXt's are the same.
_STAGED = ("ResN", "Res2N", "RegNet", "DetectoRS_ResN", "TridentResN", "Swin", "ConvNeXt")
# What only makes the trial longer, or does not work without memory.
_IGNORED = ("init_cfg", "pretrained", "dcn", "stage_with_dcn", "sac", "stage_with_sac", "plugins")


class Levels(NamedTuple):
    """The maps that a backbone gives, in its order."""

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __str__(self) -> str:
        """In words."""
        channels, strides = (", ".join(map(str, part)) for part in self)
        return f"maps of {channels} channels at strides {strides}"


class Replacement(NamedTuple):
    """The settings of a ConvNeXt that gives maps where another backbone gave them."""

    out_indices: tuple[int, ...]
    output_stride: int | None


def levels_of(backbone: Mapping[str, Any], where: str, scope: str) -> Levels:
    """The maps of a backbone from its config.

    Args:
        backbone: its arguments.
        where: its place in the config, for messages.
        scope: of its type's name.

    Raises:
        AdaptError: it cannot be built, or does not give maps.
    """
    kind = backbone.get("type")
    arguments = {key: value for key, value in backbone.items() if key not in _IGNORED}
    if kind == THEIRS and not is_installed():
        arguments = {**THEIR_DEFAULTS, **arguments, "type": OURS}
    elif str(kind).startswith("mmpretrain.") and not is_installed():
        raise AdaptError(f"{where} ({kind}) is mmpretrain's, which is not installed; install it")
    try:
        side = _picture_side(arguments)
        outs = _try(arguments, scope)
    except Exception as error:  # whatever the other package raises
        reason = str(error).strip().splitlines()
        raise AdaptError(
            f"{where} ({kind}) cannot be built, to see what it gives: "
            f"{type(error).__name__}: {reason[0] if reason else ''}"
        ) from error
    levels = trained = _as_levels(outs, side)
    if levels is None or not levels.channels:
        raise AdaptError(
            f"{where} ({kind}) does not give feature maps, so no pyramid can be put there"
        )
    if not _is_staged(kind):
        with suppress(Exception):  # what cannot be tried is not known to differ
            trained = _as_levels(_try(arguments, scope, training=True), side)
    if trained != levels:
        raise AdaptError(
            f"{where} ({kind}) gives {levels}, but {trained or 'other things'} in training, "
            "for heads of its own kind; a ConvNeXt gives the same maps in both"
        )
    return levels


def _picture_side(arguments: Mapping[str, Any]) -> int:
    """Pixels: some transformers take one size only."""
    size = arguments.get("img_size") or _PICTURE
    return int(size[0] if isinstance(size, (list, tuple)) else size)


def _is_staged(kind: Any) -> bool:
    return str(kind).rpartition(".")[2].startswith(_STAGED)


def _as_levels(outs: Any, side: int) -> Levels | None:
    """What a network gave for pictures ``side`` pixels wide, if that is maps."""
    maps = outs if isinstance(outs, (list, tuple)) else [outs]
    if not all(torch.is_tensor(out) and out.ndim == 4 for out in maps):
        return None
    return Levels(
        tuple(out.shape[1] for out in maps),
        tuple(round(side / out.shape[-1]) for out in maps),
    )


def replacement_of(backbone: Mapping[str, Any], levels: Levels, where: str) -> Replacement:
    """Where a ConvNeXt has to give maps, and its dilation, to take the place of ``backbone``.

    Raises:
        AdaptError: it gives maps that a ConvNeXt has not.
    """
    kind, strides = str(backbone.get("type")), levels.strides
    alone = len(set(strides)) == len(strides) and set(strides) <= set(STRIDES)
    indices: tuple[int, ...] = ()
    if _is_staged(kind) and "out_indices" in backbone:
        indices = tuple(sorted(set(backbone["out_indices"])))  # in whatever order they stand
    elif alone:
        indices = tuple(STRIDES.index(stride) for stride in strides)
    elif _is_staged(kind) or len(strides) == len(STRIDES):
        indices = tuple(range(len(strides)))
    natural = tuple(STRIDES[i] for i in indices if i < len(STRIDES))
    # Dilated, the last stages keep the stride of the one before.
    if strides and strides == tuple(min(stride, strides[-1]) for stride in natural):
        return Replacement(indices, strides[-1] if strides != natural else None)
    raise AdaptError(
        f"{where} ({kind}) gives {levels}; a ConvNeXt gives one map each at strides "
        f"{', '.join(map(str, STRIDES))}"
    )


def _try(arguments: dict[str, Any], scope: str, *, training: bool = False) -> Any:
    try:
        return _run("meta", arguments, scope, training)
    except (RuntimeError, NotImplementedError):  # an operator that looks at values
        return _run("cpu", arguments, scope, training)


class _RatesOnCpu(TorchFunctionMode):
    """Inside, ``torch.linspace`` gives values on every device. Transformers take their blocks'
    drop-path rates off it one by one, which without memory is an error, and on the CPU the whole
    network takes from seconds to a minute."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.linspace:
            kwargs.setdefault("device", "cpu")
        return func(*args, **kwargs)


def _run(device: str, arguments: dict[str, Any], scope: str, training: bool) -> Any:
    with (
        MODELS.switch_scope_and_registry(scope) as registry,
        torch.random.fork_rng(devices=[]),
        torch.device(device),
        torch.no_grad(),
    ):
        with _RatesOnCpu():
            network = registry.build(deepcopy(arguments))
        if not training:
            network.eval()  # mmdet's own give nothing back
        side = _picture_side(arguments)
        pictures = torch.zeros(2, arguments.get("in_channels", 3), side, side)
        return network(pictures)
