"""Strategies of what is wrong with a network's weights in a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

# Of any weight: what a file may have in its place, none of which can be loaded.
REPLACEMENTS: dict[str, Callable[[Tensor], Any]] = {
    "a scalar": lambda value: value.flatten()[0].clone(),
    "nothing in it": lambda value: value[:0].clone(),
    "an axis of length 0": lambda value: value.new_zeros(len(value), 0, 3),
    "one more": lambda value: torch.cat([value, value[:1]]),
    "half of it": lambda value: value.flatten()[: max(value.numel() // 2 - 1, 1)].clone(),
    "all in a row, and one more": lambda value: torch.cat([value.flatten(), torch.zeros(1)]),
    "many axes": lambda value: value.flatten()[:2].reshape(2, *[1] * 9),
    "a list": lambda value: value.flatten().tolist(),
    "text": lambda value: "weights",
    "nothing": lambda value: None,
    "a dict": lambda value: {"weight": value},
    "a shape without values": lambda value: torch.empty_like(value, device="meta"),
    "sparse": lambda value: torch.zeros(value.shape).to_sparse(),
}
# What is read as the numbers that it stands for.
DTYPES = (torch.float16, torch.bfloat16, torch.float64, torch.float32)


def replaced(weights: dict[str, Tensor]) -> st.SearchStrategy[dict[str, Any]]:
    """``weights`` with one to three replaced by what cannot be loaded."""
    return st.dictionaries(
        st.sampled_from(sorted(weights)),
        st.sampled_from(sorted(REPLACEMENTS)),
        min_size=1,
        max_size=3,
    ).map(lambda chosen: weights | {k: REPLACEMENTS[how](weights[k]) for k, how in chosen.items()})


def lacking(weights: dict[str, Tensor]) -> st.SearchStrategy[dict[str, Any]]:
    """``weights`` without some."""
    names = st.sets(st.sampled_from(sorted(weights)), min_size=1)
    return names.map(lambda gone: {k: v for k, v in weights.items() if k not in gone})
