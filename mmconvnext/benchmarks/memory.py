"""Bytes kept for the backward pass, counted: distinct storages, parameters left out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmconvnext.backbones.kept import counting_kept
from mmconvnext.benchmarks.backbone import OURS, loss_of, recomputing, training_networks
from mmconvnext.benchmarks.timing import Row, Table


def measure(rounds: int = 1) -> list[Table]:
    """ConvNeXt-T at 1x3x512x512; counting is exact, so ``rounds`` changes nothing."""
    networks, missing = training_networks()
    more = recomputing()
    x = torch.randn(1, 3, 512, 512)
    rows = [
        Row(name, [kept_bytes(network, x) / 2**20])
        for name, network in {**networks, **more}.items()
    ]
    title = "kept for the backward pass, ConvNeXt-T, 1x3x512x512, fp32"
    return [Table(title, "MiB", rows + missing, (OURS, *more))]


def kept_bytes(network: nn.Module, x: Tensor) -> int:
    """What a forward pass of ``network`` keeps, in bytes."""
    with counting_kept(network) as kept:
        loss = loss_of(network, x)
        found = kept()
    del loss
    return found
