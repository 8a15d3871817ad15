"""Whether tensors are finite, with as few calls of the device as that takes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import torch
from torch import Tensor, nn


def greatest(tensors: Iterable[Tensor], device: torch.device) -> Tensor:
    """The greatest absolute value in ``tensors``, NaN if there is one, 0 of nothing; on ``device``,
    for which nothing waits.

    Not the root of the sum of squares: finite values can make that infinite.
    """
    dense = (tensor.coalesce().values() if tensor.is_sparse else tensor for tensor in tensors)
    values = [value for value in dense if value.numel()]
    if not values:
        return torch.zeros((), device=device)
    norms = torch._foreach_norm(values, float("inf"))
    return torch.stack([norm.float().to(device, non_blocking=True) for norm in norms]).max()


def names_of_bad(named: Iterable[tuple[str, Tensor]]) -> Iterator[str]:
    """Names of those in which something is not finite."""
    for name, tensor in named:
        if tensor.is_floating_point() and not torch.isfinite(tensor.detach()).all():
            yield name


def broken_weight(model: nn.Module, made_so: Collection[str]) -> str:
    """The first weight or buffer of ``model`` in which something is not finite, in words, or
    nothing; ``made_so`` are names that do not count."""
    for kind, named in (("weight", model.named_parameters()), ("buffer", model.named_buffers())):
        for name in names_of_bad(named):
            if name not in made_so:
                return f"the {kind} {name}"
    return ""
