"""Norms that need several processes, in one."""

from __future__ import annotations

from typing import Any

from mmconvnext.adapt.walking import dicts

_SYNC_NORMS = ("SyncBN", "MMSyncBN", "NaiveSyncBN", "SyncBatchNorm")


def plain_batch_norm(node: Any) -> list[str]:
    """Replace every SyncBN type inside ``node``, a config's part, in place; returns the change."""
    found = [part for part, _ in dicts(node) if part.get("type") in _SYNC_NORMS]
    for part in found:
        part["type"] = "BN"
    return ["plain BatchNorm instead of SyncBN"] if found else []
