"""torch.compile for the backbone, whose sizes vary from picture to picture."""

from __future__ import annotations

import torch
from torch import nn

from mmconvnext.backbones.convnext import ConvNeXt


class CompilerError(RuntimeError):
    """torch.compile cannot compile here; the message says what it lacks."""


def check_compiler(device: str | torch.device) -> None:
    """Compile one addition on ``device``.

    Raises:
        CompilerError: that fails; with the compiler's first line.
    """

    def add(x: torch.Tensor) -> torch.Tensor:
        return x + 1

    try:
        torch.compile(add)(torch.zeros(2, device=device))
    except Exception as error:  # of many kinds: no g++, no Triton, no such Python
        line = next(iter(str(error).strip().splitlines()), "")
        raise CompilerError(
            f"torch.compile: expected a C++ compiler (and on a GPU Triton), found "
            f"{type(error).__name__}: {line}; install g++, or run without compiling"
        ) from error


def compile_backbones(model: nn.Module) -> int:
    """Compile the forward pass of each ConvNeXt in ``model``, in place, at its first picture.

    Heights and widths are variables of the compiled code: other sizes compile nothing anew.

    Returns:
        How many ConvNeXts there are.
    """
    networks = [module for module in model.modules() if isinstance(module, ConvNeXt)]
    for network in networks:
        network.compile(dynamic=True)
    return len(networks)
