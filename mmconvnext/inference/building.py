"""A config's model, built as a runner builds it."""

from __future__ import annotations

from copy import deepcopy

from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn


def build_model(cfg: Config) -> nn.Module:
    """``cfg``'s model in its own scope, on torch's default device; no weights are read."""
    model = deepcopy(cfg.model)  # DINO's constructor, for one, writes into it
    if cfg.get("data_preprocessor") is not None:
        model.setdefault("data_preprocessor", cfg.data_preprocessor)
    scope = cfg.get("default_scope") or "mmengine"
    with MODELS.switch_scope_and_registry(scope) as registry:
        built: nn.Module = registry.build(model)
    return built
