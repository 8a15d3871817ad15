"""Which annotations a config's model learns from: read off its heads and its training data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config

# Beside the heads that learn the data's classes: proposals have none, the others are models or
# maps of their own.
_OTHER_CLASSES = (
    "rpn_head",
    "semantic_head",
    "reid",
    "tracker",
    "teacher_config",
    "language_model",
)
_MOST = 80  # COCO's, where nothing says how many


@dataclass(frozen=True)
class Annotations:
    """What the made-up annotations must hold."""

    classes: int  # of boxes
    masks: bool
    semantic_classes: int  # of the map of the whole picture, 0: it has none


def detection_annotations(cfg: Config) -> Annotations:
    """What a detector or tracker of ``cfg`` learns from."""
    classes = [_classes(node) for node in _dicts(cfg.model, _OTHER_CLASSES)]
    known = [count for count in classes if count]
    loaders = list(_dicts(cfg.get("train_dataloader")))
    masks = any(step.get("with_mask") for step in loaders)
    masks |= any("mask_head" in node for node in _dicts(cfg.model))
    return Annotations(min(known, default=_MOST), masks, _semantic_classes(cfg.model))


def semantic_classes(cfg: Config) -> int:
    """How many classes a segmentor of ``cfg`` tells apart."""
    heads = cfg.model.get("decode_head")
    last = heads[-1] if isinstance(heads, (list, tuple)) else heads
    counts = (node["num_classes"] for node in _dicts(last) if "num_classes" in node)
    return next(counts, 2)


def _dicts(node: Any, leave_out: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    """Every dict in ``node``, outer ones first, but what lies under the keys ``leave_out``."""
    if isinstance(node, dict):
        yield node
        node = [value for key, value in node.items() if key not in leave_out]
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from _dicts(item, leave_out)


def _classes(node: dict[str, Any]) -> int | None:
    if "num_things_classes" in node:
        return node["num_things_classes"]
    return node.get("num_classes")


def _semantic_classes(model: dict[str, Any]) -> int:
    for node in _dicts(model):
        if node.get("num_stuff_classes"):
            return node["num_things_classes"] + node["num_stuff_classes"]
        if isinstance(node.get("semantic_head"), dict) and "num_classes" in node["semantic_head"]:
            return node["semantic_head"]["num_classes"]
    return 0
