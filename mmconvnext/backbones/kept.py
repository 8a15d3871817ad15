"""Counting what autograd keeps for the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, UntypedStorage, nn


@contextmanager
def counting_kept(network: nn.Module) -> Iterator[Callable[[], int]]:
    """Inside, count the bytes that autograd keeps for the backward pass.

    Distinct storages count, each whole and once, without ``network``'s parameters. On the meta
    device and with fake tensors nothing is computed, and the count is the same.

    Yields:
        a function that gives the bytes kept so far.
    """
    parameters = {_identity(p) for p in network.parameters()}
    kept: dict[int, UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.layout == torch.strided and _identity(tensor) not in parameters:
            # Held, so that no other takes its place.
            kept[_identity(tensor)] = tensor.untyped_storage()
        return tensor.detach()  # itself, it might hold the node that holds it

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield lambda: sum(storage.nbytes() for storage in kept.values())


def _identity(tensor: Tensor) -> int:
    """Of a tensor's storage; an address would not do, which meta tensors lack."""
    identity: int = tensor.untyped_storage()._cdata
    return identity
