"""Walking through a config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# Parts of a model whose num_classes counts something other than the data set's classes.
_OTHER_COUNTS = frozenset(
    [
        "backbone",
        "data_preprocessor",
        "neck",
        "rpn_head",
        "semantic_head",
        "semantic_roi_extractor",
        "teacher",
    ]
)


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


def innermost(node: Any) -> Iterator[Any]:
    """The dicts of the data sets that a loader's ``dataset`` wraps, however many wrappers deep."""
    if "dataset" in node:
        yield from innermost(node["dataset"])
    elif "datasets" in node:
        for part in node["datasets"]:
            yield from innermost(part)
    else:
        yield node


def class_counts(node: Any, path: str = "model") -> Iterator[tuple[str, int]]:
    """Every ``num_classes`` in a model's config that counts the data set's classes, with its dotted
    key."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "num_classes" and isinstance(value, int):
                yield f"{path}.{key}", value
            elif key not in _OTHER_COUNTS and not str(key).startswith("loss"):
                yield from class_counts(value, f"{path}.{key}")
    elif isinstance(node, (list, tuple)):
        for number, item in enumerate(node):
            yield from class_counts(item, f"{path}.{number}")
