"""Networks as trained ones are: nothing in them has no effect."""

from __future__ import annotations

import torch
from torch import nn


def shaken(network: nn.Module) -> nn.Module:
    """In evaluation mode, affines, layer scale, GRN and statistics at no value that hides them."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            scale = 0.3 if parameter.ndim < 2 else parameter[0].numel() ** -0.5
            parameter.copy_(noise * scale + (0.5 if parameter.ndim < 2 else 0))
        for name, buffer in network.named_buffers():
            if buffer.is_floating_point():
                value = torch.rand(buffer.shape, generator=generator)
                buffer.copy_(value + 0.5 if name.endswith("var") else value - 0.5)
    return network.eval()
