"""Checkpoints of whole models that nobody trained, made in a moment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from sample_networks import shaken

from mmconvnext.inference.building import build_model


def save_model(config: Path, out: Path, meta: Mapping[str, Any] | None = None) -> Path:
    """Write a checkpoint of ``config``'s model with weights that find something."""
    model = shaken(build_model(Config.fromfile(config)))
    torch.save({"meta": dict(meta or {}), "state_dict": model.state_dict()}, out)
    return out
