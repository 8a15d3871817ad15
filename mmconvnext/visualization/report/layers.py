"""A run's layer-wise rates, from its config's plain values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mmconvnext.adapt.walking import dicts
from mmconvnext.optim import LayerRate
from mmconvnext.visualization.report.config_text import setting

_LAYOUT = ("arch", "use_grn", "layer_scale_init_value", "out_indices", "frozen_stages")
_CONSTRUCTOR = "LayerDecayOptimWrapperConstructor"


def rates_of(config: Mapping[str, Any]) -> list[LayerRate]:
    """The groups of the ConvNeXt in ``config``.

    Only this package's backbone is built, on the meta device, and no other class that the config
    names: a folder that is only looked at must not run anything.

    Raises:
        ValueError: another constructor or backbone, or a setting that they refuse.
    """
    constructor = str(setting(config, "optim_wrapper.constructor"))
    if constructor.rpartition(".")[2] != _CONSTRUCTOR:
        raise ValueError(f"its optim_wrapper.constructor is {constructor}, not {_CONSTRUCTOR}")
    found = [node for node, _ in dicts(config.get("model") or {}) if _is_ours(node)]
    if len(found) != 1:
        raise ValueError(f"expected one mmconvnext.ConvNeXt in the model, found {len(found)}")
    import torch
    from torch import nn

    from mmconvnext.backbones import ConvNeXt
    from mmconvnext.optim import layer_rates

    optimizer = {
        "type": "AdamW",
        "lr": setting(config, "optim_wrapper.optimizer.lr"),
        "weight_decay": setting(config, "optim_wrapper.optimizer.weight_decay") or 0.0,
    }
    wrapper = {
        "constructor": f"mmconvnext.{_CONSTRUCTOR}",
        "optimizer": optimizer,
        "paramwise_cfg": setting(config, "optim_wrapper.paramwise_cfg") or {},
    }
    try:
        with torch.device("meta"):
            backbone = ConvNeXt(**{key: found[0][key] for key in _LAYOUT if key in found[0]})
        return layer_rates(nn.ModuleDict({"backbone": backbone}), wrapper)
    except (TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _is_ours(node: Mapping[str, Any]) -> bool:
    return str(node.get("type")) in ("mmconvnext.ConvNeXt", "mmpretrain.ConvNeXt", "ConvNeXt")


def contents(names: tuple[str, ...]) -> str:
    """What of the backbone lies in a layer: ``'stages.2 blocks 0-2'``."""
    parts: dict[str, list[int]] = {}
    for name in names:
        found = re.match(r"backbone\.(stages\.\d+)\.(\d+)|backbone\.(\w+(?:\.\d+)?)", name)
        if found and found.group(1):
            parts.setdefault(found.group(1), []).append(int(found.group(2)))
        elif found:
            parts.setdefault(found.group(3), [])
    return ", ".join(
        f"{part} blocks {min(blocks)}-{max(blocks)}" if blocks else part
        for part, blocks in parts.items()
    )
