"""Walking through a config."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def dicts(node: Any, path: str = "") -> Iterator[tuple[dict[str, Any], str]]:
    """Every dict inside ``node``, itself included, and its place: keys joined by points."""
    if isinstance(node, dict):
        yield node, path
        for key, value in list(node.items()):
            yield from dicts(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, (list, tuple)):
        for i, item in enumerate(node):
            yield from dicts(item, f"{path}.{i}")


def plain(value: Any) -> Any:
    """Tuples as lists: configs have both."""
    return list(value) if isinstance(value, tuple) else value
