"""Which of several processes this is: what their launcher says, before they have a group."""

from __future__ import annotations

import os

_RANKS = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")
_COUNTS = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")


def rank() -> int:
    """This process's number among all that were launched together; 0 if it is alone."""
    return _first(_RANKS, 0)


def world_size() -> int:
    """How many processes were launched together."""
    return _first(_COUNTS, 1)


def _first(names: tuple[str, ...], default: int) -> int:
    return int(next((os.environ[name] for name in names if os.environ.get(name)), default))
