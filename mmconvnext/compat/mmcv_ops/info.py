"""What mmcv reports about its build, in ``collect_env``'s table at the head of every log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torchvision


def get_compiler_version() -> str:
    """Return who stands in for mmcv's compiled operators."""
    return f"none (operators of mmconvnext, on torchvision {torchvision.__version__})"


def get_compiling_cuda_version() -> str:
    """Return the CUDA version that torch, whose kernels are used, was built for."""
    return torch.version.cuda or "not available"


OPERATORS: tuple[Callable[..., Any], ...] = (get_compiler_version, get_compiling_cuda_version)
