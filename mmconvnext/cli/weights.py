"""Checks that a checkpoint is whole and fits a config's model, before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from mmconvnext.checkpoints.loading import find_weights, fit_backbone, pretrained_options
from mmconvnext.checkpoints.reading import CheckpointError, read_checkpoint
from mmconvnext.checkpoints.whole_model import check_keys, is_convnext, load_weights
from mmconvnext.cli.models import build_without_memory

BACKBONE = "backbone."


def check_weights(cfg: Config, path: str, *, whole: bool, ema: bool = False) -> None:
    """Check that the file ``path`` is a checkpoint of ``cfg``'s model.

    Args:
        cfg: the config; its model is built without memory for its weights.
        path: a file or an http(s) address; other addresses are left to mmengine.
        whole: every weight must be there (to test, to resume). Otherwise (``load_from``) it is
            enough that the backbone's are: heads are often new.
        ema: the averaged weights are taken.

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
    source = f"checkpoint {path}"
    weights = find_weights(checkpoint, ema=ema, source=source)
    model = build_without_memory(cfg)
    fitted = load_weights(model, weights, source)
    keys = fitted.keys
    if not whole:
        if any(is_convnext(module) for module in model.modules()):
            return  # all but the norms of its outputs is there
        keys = keys.of(BACKBONE)
    check_keys(keys, model, source)


def check_initial_weights(cfg: Config) -> None:
    """Check that the files from which the parts of ``cfg``'s model start can be read, and that
    those of its ConvNeXts are of their network.

    Raises:
        CheckpointError: as :func:`check_weights`.
    """
    files = [path for path in _pretrained(cfg.model) if _is_readable(path)]
    if not files:
        return
    of_convnexts = set()
    for module in build_without_memory(cfg).modules():
        if is_convnext(module):
            for options in pretrained_options(module.init_cfg):
                fit_backbone(module, **options)
                of_convnexts.add(options["checkpoint"])
    for path in files:
        if path not in of_convnexts:
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
