"""Building a config's model without memory for its weights."""

from __future__ import annotations

from copy import deepcopy

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn


def build_without_memory(cfg: Config) -> nn.Module:
    """``cfg``'s model on the meta device, or on the CPU if a constructor looks at values."""
    try:
        return build_on("meta", cfg)
    except (RuntimeError, NotImplementedError):
        return build_on("cpu", cfg)


def build_on(device: str, cfg: Config) -> nn.Module:
    """``cfg``'s model on ``device``, uninitialised; the random state stays as it is."""
    model = deepcopy(cfg.model)  # DINO's constructor, for one, writes into it
    if cfg.get("data_preprocessor") is not None:
        model.setdefault("data_preprocessor", cfg.data_preprocessor)
    scope = cfg.get("default_scope") or "mmengine"
    with (
        MODELS.switch_scope_and_registry(scope) as registry,
        torch.random.fork_rng(devices=[]),
        torch.device(device),
    ):
        return registry.build(model)
