"""Whether tensors are finite. Of tensors that are divided among processes, this process's part."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor, nn


def here(tensor: Tensor) -> Tensor:
    """The values of ``tensor`` that this process has, as a dense tensor outside of the graph."""
    values = tensor.detach()
    if hasattr(values, "to_local"):  # torch.distributed's DTensor
        values = values.to_local()
    return values.coalesce().values() if values.is_sparse else values


def is_bad(tensor: Tensor) -> bool:
    """Whether something in ``tensor`` is not finite; waits for the device."""
    return tensor.is_floating_point() and not bool(torch.isfinite(here(tensor)).all())


def suspicious(tensors: Iterable[Tensor], device: torch.device) -> Tensor:
    """Whether something may not be finite in ``tensors``: one value on ``device``, for which
    nothing waits.

    It is the sum of squares that is looked at, by far the fastest on a CPU; that of great finite
    numbers may be infinite.
    """
    values = [value for value in map(here, tensors) if value.numel()]
    if not values:
        return torch.zeros((), dtype=torch.bool, device=device)
    norms = torch._foreach_norm(values)
    norm = torch.stack([norm.float().to(device, non_blocking=True) for norm in norms]).max()
    return ~torch.isfinite(norm)


def names_of_bad(named: Iterable[tuple[str, Tensor]]) -> Iterator[str]:
    """Names of those in which something is not finite."""
    return (name for name, tensor in named if is_bad(tensor))


def broken_weight(model: nn.Module, made_so: Collection[str]) -> str:
    """The first weight or buffer of ``model`` in which something is not finite, in words, or
    nothing; ``made_so`` are names that do not count."""
    for kind, named in (("weight", model.named_parameters()), ("buffer", model.named_buffers())):
        for name in names_of_bad(named):
            if name not in made_so:
                return f"the {kind} {name}"
    return ""


def anywhere(flags: Tensor) -> list[int]:
    """Of each of some flags, whether it is set in any process; all of them have to ask."""
    flags = flags.int()
    if get_world_size() > 1:
        all_reduce(flags, op="max")
    found: list[int] = flags.tolist()
    return found
