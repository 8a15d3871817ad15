"""Bytes kept for the backward pass, counted: distinct storages, parameters left out."""

from __future__ import annotations

import torch
from torch import Tensor, UntypedStorage, nn

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
    parameters = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage  # held, so that no other takes its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = loss_of(network, x)
    del loss
    return sum(storage.nbytes() for storage in kept.values())
