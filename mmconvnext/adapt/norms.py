"""Norms that need several processes, in one."""

from __future__ import annotations

from typing import Any

from mmconvnext.adapt.walking import dicts

_SYNC_NORMS = ("SyncBN", "MMSyncBN", "NaiveSyncBN", "SyncBatchNorm")


def plain_batch_norm(node: Any) -> bool:
    """Replace every SyncBN type inside ``node``, a config's part, in place; returns whether there
    was one."""
    changed = False
    for found, _ in dicts(node):
        if found.get("type") in _SYNC_NORMS:
            found["type"] = "BN"
            changed = True
    return changed
