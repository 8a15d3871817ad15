"""Bytes kept for the backward pass, counted: distinct storages, parameters left out."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from mmconvnext.backbones.kept import counting_kept
from mmconvnext.benchmarks.backbone import (
    OURS,
    loss_of,
    mode_name,
    recomputing,
    training_networks,
)
from mmconvnext.benchmarks.timing import Row, Table

# Each way to save memory: most of what timm keeps without checkpointing.
TARGETS = {"activation": 0.62, "mlp": 0.31, "block": 0.14}


def measure(rounds: int = 1, authors: Path | None = None) -> list[Table]:
    """ConvNeXt-T at 1x3x512x512; counting is exact, so ``rounds`` changes nothing."""
    networks, missing = training_networks(authors=authors)
    targets = {mode_name(mode): target for mode, target in TARGETS.items()}
    x = torch.randn(1, 3, 512, 512)
    rows = [
        Row(name, [kept_bytes(network, x) / 2**20], target=targets.get(name))
        for name, network in {**networks, **recomputing()}.items()
    ]
    title = "kept for the backward pass, ConvNeXt-T, 1x3x512x512, fp32"
    return [Table(title, "MiB", rows + missing, (OURS, *targets), against="timm")]


def kept_bytes(network: nn.Module, x: Tensor) -> int:
    """What a forward pass of ``network`` keeps, in bytes."""
    with counting_kept(network) as kept:
        loss = loss_of(network, x)
        found = kept()
    del loss
    return found
