"""mmengine's loading of a model's weights, for models with a ConvNeXt.

Lacking there: a file whose backbone has other names, or a backbone's file, loads nothing, a warning
of a page is all, and training goes on from random weights. ``load_from``, ``--resume``,
``init_cfg`` of a whole model, ``EMAHook``, mmdet's ``init_detector`` and mmseg's ``init_model`` all
load by ``mmengine.runner.checkpoint.load_state_dict``, so this is the one place to change.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any

from mmconvnext.compat.when_imported import change_module

MODULE = "mmengine.runner.checkpoint"
Load = Callable[[Any, Any, bool], bool]


def install(load: Load) -> None:
    """Make mmengine load by ``load``.

    Args:
        load: takes a model, a state dict and ``strict``; False if the model is none of ours.
    """

    def change(module: ModuleType) -> None:
        load_by(module, load)

    change_module(MODULE, change)


def load_by(module: ModuleType, load: Load) -> None:
    """Change ``mmengine.runner.checkpoint``, or onedl's, in place; once."""
    original = module.load_state_dict
    if getattr(original, "__globals__", None) is globals():
        return

    @wraps(original)
    def load_state_dict(
        module: Any, state_dict: Any, strict: bool = False, logger: Any = None
    ) -> None:
        if not load(module, state_dict, strict):
            original(module, state_dict, strict, logger)

    vars(module)["load_state_dict"] = load_state_dict
    package = sys.modules.get("mmengine.runner")
    if package is not None and vars(package).get("load_state_dict") is original:
        vars(package)["load_state_dict"] = load_state_dict
