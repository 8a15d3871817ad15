"""Where a command runs, and a recipe for GPUs made to fit there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.device import utils as device_utils
from torch import distributed

from mmconvnext.adapt.norms import plain_batch_norm
from mmconvnext.cli.errors import UsageError

_LETTING_GO = 0.1  # seconds
_AMP_ARGUMENTS = ("loss_scale", "dtype", "use_fp16")


def pick_device(wanted: str, launcher: str) -> str:
    """The device that ``--device`` means: 'cpu', 'cuda', 'cuda:1', or with 'auto' whatever mmengine
    finds.

    Raises:
        UsageError: no such device here, or one GPU named for several processes.
    """
    if wanted == "auto":
        device: str = get_device()
        return device
    if wanted == "cpu":
        return wanted
    kind, colon, index = wanted.partition(":")
    if kind != "cuda" or (colon and not index.isdecimal()):
        raise UsageError(f"--device takes auto, cpu, cuda or cuda:N, got {wanted!r}")
    if not torch.cuda.is_available():
        raise UsageError(
            f"--device {wanted}: PyTorch {torch.__version__} sees no GPU here; use --device cpu"
        )
    if colon and int(index) >= torch.cuda.device_count():
        raise UsageError(f"--device {wanted}: GPUs here are 0 to {torch.cuda.device_count() - 1}")
    if colon and launcher != "none":
        raise UsageError(
            f"--device {wanted}: --launcher {launcher} gives each process its own GPU; use "
            "--device cuda"
        )
    return wanted


@contextmanager
def running_on(device: str, cfg: Config) -> Iterator[None]:
    """Inside, mmengine, which picks a device by itself, builds everything on ``device``."""
    if device.startswith("cuda:"):
        with torch.cuda.device(device):
            yield
    elif device == "cpu":
        with _without_gpus(), _gloo_group(cfg):
            yield
    else:
        yield


@contextmanager
def _without_gpus() -> Iterator[None]:
    """Hide the GPUs: CUDA_VISIBLE_DEVICES would come too late, torch has looked already."""
    device, is_available = device_utils.DEVICE, torch.cuda.is_available
    device_utils.DEVICE, torch.cuda.is_available = "cpu", lambda: False
    try:
        yield
    finally:
        device_utils.DEVICE, torch.cuda.is_available = device, is_available


@contextmanager
def _gloo_group(cfg: Config) -> Iterator[None]:
    """The process group of a launched run on CPUs; mmengine's own start needs a GPU."""
    if cfg.launcher != "pytorch" or distributed.is_initialized():
        yield
        return
    distributed.init_process_group("gloo")
    try:
        yield
    finally:
        # Gloo's threads need Python's lock to let go of the tensors they sent. They must have it
        # before Python ends: it would end them while they wait, and with them the process.
        time.sleep(_LETTING_GO)
        distributed.destroy_process_group()


def fit_to_device(cfg: Config, device: str) -> str:
    """Make a recipe for many GPUs run on ``device``, in place.

    On a CPU: fp32 instead of AMP. On a CPU, or in one process: plain BatchNorm instead of SyncBN.

    Returns:
        The line that says what was changed, empty where nothing was.

    Raises:
        UsageError: the launcher cannot start CPU processes.
    """
    on_cpu, alone = device == "cpu", cfg.launcher == "none"
    changes = []
    if on_cpu and _drop_amp(cfg):
        changes.append("fp32 instead of AMP")
    if on_cpu or alone:
        changes += plain_batch_norm(cfg.get("model"))
    if on_cpu and not alone:
        _distribute_on_cpu(cfg)
    where = "on the CPU" if on_cpu else "on a single device"
    return f"running {where}: {', '.join(changes)}" if changes else ""


def _drop_amp(cfg: Config) -> bool:
    wrapper = cfg.get("optim_wrapper") or {}
    if wrapper.get("type") != "AmpOptimWrapper":
        return False
    wrapper["type"] = "OptimWrapper"
    for name in _AMP_ARGUMENTS:
        wrapper.pop(name, None)
    return True


def _distribute_on_cpu(cfg: Config) -> None:
    if cfg.launcher != "pytorch":
        raise UsageError(
            f"--launcher {cfg.launcher} needs GPUs; on CPUs use torchrun and --launcher pytorch"
        )
    wrapper = {
        "type": "MMDistributedDataParallel",
        "broadcast_buffers": False,
        "find_unused_parameters": cfg.get("find_unused_parameters", False),
        **(cfg.get("model_wrapper_cfg") or {}),
    }
    cfg.model_wrapper_cfg = {**wrapper, "device_ids": None}
    strategy = cfg.get("strategy") or {}
    if strategy.get("type") == "DDPStrategy":  # it would name a GPU
        strategy["model_wrapper"] = {
            **cfg.model_wrapper_cfg,
            **(strategy.get("model_wrapper") or {}),
        }
