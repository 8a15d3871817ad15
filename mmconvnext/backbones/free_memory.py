"""How much memory is free where a network runs."""

from __future__ import annotations

import os
from pathlib import Path

import torch

_MEMINFO = Path("/proc/meminfo")
_CONTAINER = Path("/sys/fs/cgroup")  # version 2's files of the container we are in


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be had on ``device``; None where there is no way to ask.

    On CUDA what PyTorch has reserved and does not use is free as well. On the CPU: what Linux calls
    available, but no more than a container leaves us; elsewhere half of the machine's memory.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + unused)
    if device.type != "cpu":
        return None
    limits = [limit for limit in (_available(), _left_in_container()) if limit is not None]
    return min(limits) if limits else _half_of_machine()


def _available() -> int | None:
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if "MemAvailable" in line)
    except (OSError, ValueError, StopIteration):
        return None


def _left_in_container() -> int | None:
    try:
        limit, used = (
            int((_CONTAINER / name).read_text(encoding="ascii"))
            for name in ("memory.max", "memory.current")
        )
    except (OSError, ValueError):  # no container, or "max": no limit
        return None
    return max(limit - used, 0)


def _half_of_machine() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return None
