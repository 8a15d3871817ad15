"""The generators that a training draws from: Python's, NumPy's, PyTorch's, and that of the GPU."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def states(*, gpu: bool = True) -> dict[str, Any]:
    """The states of this process's generators, of plain values and tensors, so that reading them
    from a checkpoint needs no trust.

    Args:
        gpu: with that of the current GPU, if there is one in use. Nothing waits for it.
    """
    kind, keys, *rest = np.random.get_state()
    found = {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    if gpu and torch.cuda.is_available() and torch.cuda.is_initialized():
        found["cuda"] = torch.cuda.get_rng_state()
    return found


def restore(saved: Mapping[str, Any]) -> None:
    """Put the generators into the states that :func:`states` gave, on whatever device they are."""
    version, words, gauss = saved["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, *rest = saved["numpy"]
    np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), *rest))
    torch.set_rng_state(saved["torch"].cpu())
    if "cuda" in saved and torch.cuda.is_available():
        torch.cuda.set_rng_state(saved["cuda"].cpu())


def seed_cpu(key: tuple[int, ...]) -> None:
    """Seed the generators of this process, but no GPU's, by numbers of 0 and above."""
    first, second, third = np.random.SeedSequence(key).generate_state(3)
    random.seed(int(first))
    np.random.seed(second)
    torch.default_generator.manual_seed(int(third))


@contextmanager
def untouched(*, gpu: bool = True) -> Iterator[None]:
    """What is drawn inside is not missing outside: afterwards the states are those of before."""
    before = states(gpu=gpu)
    try:
        yield
    finally:
        restore(before)
