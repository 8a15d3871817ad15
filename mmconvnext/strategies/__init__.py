"""Ways to train in several processes, for mmengine's FlexibleRunner."""

from __future__ import annotations

from mmconvnext.strategies.fully_shard import FullyShardStrategy

__all__ = ["FullyShardStrategy"]
