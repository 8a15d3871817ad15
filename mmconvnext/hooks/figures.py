"""What a run has to say of itself, read from mmengine's message hub."""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np
import torch
from mmengine.device import get_max_cuda_memory

# COCO's and VOC's mAP, LVIS's AP, the segmentors' mIoU and its relatives, panoptic quality, top-1.
_FIGURES = re.compile(r"(^|[/_.])(mAP|AP|mIoU|mDice|mFscore|PQ|top1)$")


def losses(hub: Any, window: int) -> dict[str, float]:
    """Means of the losses over the last ``window`` iterations: their sum, 'loss', comes first."""
    found = {
        name: float(buffer.mean(window))
        for name, buffer in _scalars(hub, "train/").items()
        if "loss" in name
    }
    return {"loss": found.pop("loss"), **found} if "loss" in found else found


def rates(hub: Any) -> dict[str, float]:
    """The learning rate of each optimizer; with layer-wise decay the one the layers' come from."""
    found = {
        name: float(buffer.current())
        for name, buffer in _scalars(hub, "train/").items()
        if name.endswith("lr")
    }
    return {name: rate for name, rate in found.items() if name.endswith("base_lr")} or found


def seconds(hub: Any, window: int) -> dict[str, float]:
    """Mean seconds of an iteration ('time') and of its waiting for data ('data_time')."""
    scalars = _scalars(hub, "train/")
    names = ("time", "data_time")
    return {name: float(scalars[name].mean(window)) for name in names if name in scalars}


def accuracies(hub: Any) -> dict[str, tuple[float, float]]:
    """The newest and the best value so far of each figure of the evaluations: of AP, mIoU and their
    like. A resumed run knows those of its earlier sessions. One that is NaN is never the best."""
    found = {}
    for name, buffer in _scalars(hub, "val/").items():
        values = np.asarray(buffer.data[0], dtype=float)
        if _FIGURES.search(name) and len(values):
            known = values[~np.isnan(values)]
            found[name] = float(values[-1]), float(known.max() if len(known) else values[-1])
    return found


def peak_memory() -> float | None:
    """Most memory in use so far, MB: the GPU's for tensors, else the process's, None if unknown."""
    if torch.cuda.is_available():
        return float(get_max_cuda_memory())
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, KB elsewhere


def _scalars(hub: Any, prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): buffer
        for name, buffer in hub.log_scalars.items()
        if name.startswith(prefix)
    }
