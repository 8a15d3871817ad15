"""The rate and weight decay that an optimizer wrapper gives each layer of a model."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn

_TAKEN = ("constructor", "optimizer", "paramwise_cfg")


@dataclass(frozen=True)
class LayerRate:
    """One parameter group of an optimizer.

    Args:
        layer: 0 for the stem up to the head's; None where the constructor knows no layers.
        group: the group's name, ``''`` where it has none.
        names: of its parameters, in the model's order.
        parameters: number of single weights.
        scale: its rate as a multiple of the optimizer's.
        rate: at the schedule's full height.
        weight_decay: as the optimizer applies it.
    """

    layer: int | None
    group: str
    names: tuple[str, ...]
    parameters: int
    scale: float
    rate: float
    weight_decay: float


def layer_rates(
    model: nn.Module, optim_wrapper: Mapping[str, Any], *, scope: str = "mmengine"
) -> list[LayerRate]:
    """What ``optim_wrapper`` (the config's, with any constructor) makes of ``model``'s parameters.

    Args:
        model: may lie on the meta device; its parameters are neither read nor changed.
        optim_wrapper: its ``type`` does not matter: mixed precision needs no GPU here.
        scope: the config's ``default_scope``, where unprefixed types are looked up.

    Returns:
        The groups, those of the lowest layer first. Groups that differ in nothing but their
        parameters are one. Frozen parameters are in none.

    Raises:
        KeyError: no such constructor or optimizer.
        ValueError: a setting that the constructor refuses, or the optimizer has no ``lr``.
    """
    cfg = {key: optim_wrapper[key] for key in _TAKEN if optim_wrapper.get(key) is not None}
    base = (cfg.get("optimizer") or {}).get("lr")
    if not isinstance(base, (int, float)):
        raise ValueError(f"optim_wrapper.optimizer.lr: expected a number, found {base!r}")
    with _unlogged(), DefaultScope.overwrite_default_scope(scope):
        optimizer: Any = build_optim_wrapper(model, {"type": "OptimWrapper", **cfg}).optimizer
    merged: dict[tuple, list[nn.Parameter]] = {}
    for group in optimizer.param_groups:
        name = str(group.get("group_name", ""))
        key = (_layer_of(name), name, float(group["lr"]), float(group.get("weight_decay", 0.0)))
        trained = [param for param in group["params"] if param.requires_grad]
        merged.setdefault(key, []).extend(trained)
    names = {id(param): name for name, param in model.named_parameters()}
    order = {parameter: position for position, parameter in enumerate(names)}
    found = []
    for (layer, group_name, rate, decay), params in merged.items():
        params = sorted(params, key=lambda param: order[id(param)])
        found.append(
            LayerRate(
                layer=layer,
                group=group_name,
                names=tuple(names[id(param)] for param in params),
                parameters=sum(param.numel() for param in params),
                scale=rate / base if base else 0.0,
                rate=rate,
                weight_decay=decay,
            )
        )
    return sorted(
        (entry for entry in found if entry.names),
        key=lambda entry: (-1 if entry.layer is None else entry.layer, entry.group),
    )


def _layer_of(group_name: str) -> int | None:
    """From ``layer_7_no_decay``: this package's constructor and mmdet's name groups so."""
    found = re.match(r"layer_(\d+)(?:_|$)", group_name)
    return int(found.group(1)) if found else None


@contextmanager
def _unlogged() -> Iterator[None]:
    """Constructors log their tables; who asks for the groups gets them as a value."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
