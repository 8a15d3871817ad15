"""The learning rate of each layer at every iteration, by mmengine's own schedulers."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.optim import _ParamScheduler
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.registry import PARAM_SCHEDULERS, DefaultScope


@dataclass(frozen=True)
class Length:
    """How long a training is.

    Args:
        iterations: all of them.
        epoch: iterations in an epoch.
        by_epoch: whether its loop counts epochs: schedulers that do so move only then.
    """

    iterations: int
    epoch: int
    by_epoch: bool


def rates_over_schedule(
    rates: Sequence[float],
    schedulers: Sequence[Mapping[str, Any]],
    length: Length,
    *,
    scope: str = "mmengine",
) -> np.ndarray:
    """What each of ``rates`` becomes while training goes on, as it is logged.

    Args:
        rates: of parameter groups, as an optimizer starts with them.
        schedulers: the config's ``param_scheduler``; those of momentum are passed over.
        length: of the training.
        scope: the config's ``default_scope``.

    Returns:
        (iterations, rates) in float64: row i holds the rates with which iteration i is trained.

    Raises:
        ValueError: a scheduler's steps depend on more than the iteration.
    """
    # Groups only meet in their rates: an empty weight each stands for a layer's thousands.
    groups = [{"params": [torch.zeros(0, requires_grad=True)], "lr": float(r)} for r in rates]
    optimizer = torch.optim.SGD(groups)
    with DefaultScope.overwrite_default_scope(scope):
        built = [
            scheduler
            for cfg in schedulers
            if (scheduler := _build(cfg, optimizer, length)) is not None
        ]
    optimizer.step()  # the schedulers warn where there was none
    by_iteration = [scheduler for scheduler in built if not scheduler.by_epoch]
    by_epoch = [scheduler for scheduler in built if scheduler.by_epoch and length.by_epoch]
    found = np.empty((length.iterations, len(groups)))
    for iteration in range(length.iterations):
        found[iteration] = [group["lr"] for group in optimizer.param_groups]
        for scheduler in by_iteration:
            scheduler.step()
        if (iteration + 1) % length.epoch == 0:
            for scheduler in by_epoch:
                scheduler.step()
    return found


def _build(
    cfg: Mapping[str, Any], optimizer: torch.optim.Optimizer, length: Length
) -> _ParamScheduler | None:
    """The scheduler as mmengine's runner builds it; None if it is not the rate's."""
    kind = cfg.get("type")
    cls = PARAM_SCHEDULERS.get(kind) if isinstance(kind, str) else kind
    if cls is None:
        raise ValueError(f"param_scheduler: there is no scheduler type {kind!r}")
    if not issubclass(cls, LRSchedulerMixin) and cfg.get("param_name") != "lr":
        return None
    if getattr(cls, "need_val_args", False):
        raise ValueError(
            f"param_scheduler: the steps of {cls.__name__} depend on what validations find; they "
            "are known only when training is done"
        )
    settings = copy.deepcopy(dict(cfg))
    epochs = length.iterations // length.epoch
    settings.setdefault("end", epochs if settings.get("by_epoch", True) else length.iterations)
    scheduler: _ParamScheduler = PARAM_SCHEDULERS.build(
        settings, default_args={"optimizer": optimizer, "epoch_length": length.epoch}
    )
    return scheduler
