"""Resuming and loading on PyTorch >= 2.6, without giving up safe loading.

Lacking there: ``torch.load`` defaults to ``weights_only=True``, and that refuses what mmengine
itself puts into a checkpoint (log histories, the settings of OneCycle schedulers, a data set's
description, NumPy numbers). This file adds those few names, and nothing else, to PyTorch's own
allow-list; safe loading stays on.
"""

from __future__ import annotations

from collections.abc import Callable
from pickle import UnpicklingError

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.utils import digit_version


class _OneCycle:
    """Stands for mmengine's class in a pickle until a method of it is asked for: importing that
    takes long."""

    NAME = "mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler"

    @staticmethod
    def load() -> type:
        from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

        return OneCycleParamScheduler


# The methods that mmengine's objects carry about; pickle writes each as `getattr(class, name)`.
_METHODS: dict[type, tuple[str, ...]] = {
    HistoryBuffer: ("min", "max", "current", "mean"),
    _OneCycle: ("_annealing_cos", "_annealing_linear"),
}


def install() -> None:
    """Let ``torch.load(…, weights_only=True)`` read what mmengine's runner writes; no effect
    before PyTorch 2.6."""
    if digit_version(torch.__version__) >= digit_version("2.6.0"):
        torch.serialization.add_safe_globals(_safe_globals())


def _safe_globals() -> list[Callable | tuple[Callable, str]]:
    """What mmengine writes, under every name by which a file may call it (NumPy 2 renamed
    ``numpy.core``)."""
    multiarray = np.zeros(0).__reduce__()[0], np.float64(0).__reduce__()[0]
    names = "_reconstruct", "scalar"
    return [
        ConfigDict,
        HistoryBuffer,
        (_OneCycle, _OneCycle.NAME),
        (_method, "builtins.getattr"),
        np.ndarray,
        np.dtype,
        *{type(np.dtype(code)) for code in "?bhilqBHILQefdg"},
        *(
            (function, f"numpy.{core}.multiarray.{name}")
            for core in ("core", "_core")
            for function, name in zip(multiarray, names, strict=True)
        ),
    ]


def _method(owner: object, name: str) -> Callable:
    """Stand in for ``getattr`` in a pickle: the methods above, since with all attributes a file
    could run code.

    Raises:
        UnpicklingError: any other attribute.
    """
    for known, methods in _METHODS.items():
        if owner is known and name in methods:
            return getattr(_OneCycle.load() if known is _OneCycle else known, name)
    raise UnpicklingError(f"Unsupported global: GLOBAL builtins.getattr of {owner!r}, {name!r}")
