"""Checks that a checkpoint is whole and fits a config's model, before anything is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config
from torch import Tensor

from mmconvnext.checkpoints.keys import compare_keys
from mmconvnext.checkpoints.loading import find_weights, fit_to_model
from mmconvnext.checkpoints.reading import CheckpointError, read_checkpoint
from mmconvnext.cli.models import build_without_memory

BACKBONE = "backbone."


def check_weights(cfg: Config, path: str, *, whole: bool) -> None:
    """Check that the file ``path`` is a checkpoint of ``cfg``'s model.

    Args:
        cfg: the config; its model is built without memory for its weights.
        path: a file or an http(s) address; other addresses are left to mmengine.
        whole: every weight must be there (to test, to resume). Otherwise (``load_from``) it is
            enough that the backbone's are: heads are often new.

    Raises:
        CheckpointError: missing, unreadable, or of another architecture: which keys, how many.
    """
    if not _is_readable(path):
        return
    checkpoint = read_checkpoint(path)
    if cfg.get("resume") and not {"optimizer", "meta"} <= checkpoint.keys():
        raise CheckpointError(
            f"checkpoint {path} has no optimizer state, so it cannot be resumed; "
            f"start from its weights with --cfg-options load_from={path}"
        )
    model = build_without_memory(cfg)
    expected, found = model.state_dict(), find_weights(checkpoint)
    fit_to_model(found, model)
    if not whole and any(key.startswith(BACKBONE) for key in expected):
        expected, found = _backbone(expected), _backbone(found)
    report = compare_keys(expected, found)
    # A whole part that the model does not have (an auxiliary head, say) is nothing to stop for.
    parts = {key.partition(".")[0] for key in expected}
    unknown = tuple(key for key in report.unknown if key.partition(".")[0] in parts)
    if report.matched:
        report = dataclasses.replace(report, unknown=unknown)
    report.check(f"checkpoint {path}", type(model).__name__)


def check_initial_weights(model: Any) -> None:
    """Check that the files which the parts of a model's config start from can be read."""
    for path in _pretrained(model):
        if _is_readable(path):
            read_checkpoint(path)


def _is_readable(path: str) -> bool:
    return "://" not in path or path.startswith(("http://", "https://"))


def _pretrained(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if node.get("type") == "Pretrained" and isinstance(node.get("checkpoint"), str):
            yield node["checkpoint"]
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from _pretrained(item)


def _backbone(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in weights.items() if key.startswith(BACKBONE)}
