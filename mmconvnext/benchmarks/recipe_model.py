"""A recipe's whole model with random weights."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.config import Config

from mmconvnext.adapt.norms import plain_batch_norm
from mmconvnext.compat.config_root import config_root
from mmconvnext.inference.building import build_model


def recipe_model(name: str) -> tuple[Any, Config]:
    """The model of a config below ``configs/``, in evaluation mode, and the config.

    Layer scale starts from 0.5: from the recipe's 1e-6 blocks would be as good as missing.
    """
    cfg = Config.fromfile(config_root() / name)
    plain_batch_norm(cfg.model)
    cfg.model.backbone.update(init_cfg=None, layer_scale_init_value=0.5)
    torch.manual_seed(0)
    return build_model(cfg).eval(), cfg
