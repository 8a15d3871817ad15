"""Configs made for mmpretrain's ConvNeXt, where mmpretrain is not installed.

Lacking there: mmdet's and mmseg's own ConvNeXt configs import ``mmpretrain.models``, whose releases
break beside current transformers, for the one class ``mmpretrain.ConvNeXt``. Ours takes the same
arguments, with other defaults. Where mmpretrain is installed, its class is used: nothing here takes
effect.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from mmengine.config import Config

PACKAGE = "mmpretrain"
THEIRS, OURS = "mmpretrain.ConvNeXt", "mmconvnext.ConvNeXt"
# Ours are made for dense prediction: all four maps, none pooled.
THEIR_DEFAULTS = {"out_indices": -1, "gap_before_final_norm": True}


def use_own_convnext(cfg: Config) -> list[str]:
    """Make ``cfg`` do without mmpretrain, in place, unless it is installed.

    Returns:
        What was changed, a line each. Other types of mmpretrain's stay, and cannot be built.
    """
    if is_installed():
        return []
    changes = []
    if _drop_imports(cfg):
        changes.append(f"custom_imports: without {PACKAGE}, which is not installed")
    if _rename(cfg._cfg_dict):
        changes.append(f"{THEIRS} -> {OURS}")
    return changes


def is_installed() -> bool:
    """Whether mmpretrain can be imported."""
    spec = find_spec(PACKAGE)
    # Python takes any folder of that name for a package, a checkout of their repository too.
    return spec is not None and spec.origin is not None


def _drop_imports(cfg: Config) -> bool:
    asked = cfg.get("custom_imports")
    wanted = (asked.get("imports") if isinstance(asked, dict) else None) or []
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    kept = [name for name in names if name.partition(".")[0] != PACKAGE]
    if kept == names:
        return False
    if kept:
        cfg.custom_imports["imports"] = kept
    else:
        cfg._cfg_dict.pop("custom_imports")
    return True


def _rename(node: Any) -> bool:
    """Put our type for theirs everywhere in ``node``; returns whether there was one."""
    changed = False
    if isinstance(node, dict):
        if node.get("type") == THEIRS:
            node.update({**THEIR_DEFAULTS, **node, "type": OURS})
            changed = True
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for item in node:
            changed |= _rename(item)
    return changed
