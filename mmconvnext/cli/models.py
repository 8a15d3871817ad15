"""Building a config's model without memory for its weights."""

from __future__ import annotations

import torch
from mmengine.config import Config
from torch import nn

from mmconvnext.inference.building import build_model


def build_without_memory(cfg: Config) -> nn.Module:
    """``cfg``'s model on the meta device, or on the CPU if a constructor looks at values."""
    try:
        return build_on("meta", cfg)
    except (RuntimeError, NotImplementedError):
        return build_on("cpu", cfg)


def build_on(device: str, cfg: Config) -> nn.Module:
    """``cfg``'s model on ``device``, uninitialised; the random state stays as it is."""
    with torch.random.fork_rng(devices=[]), torch.device(device):
        return build_model(cfg)
