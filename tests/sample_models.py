"""Checkpoints of whole models that nobody trained, made in a moment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from sample_networks import shaken

from mmconvnext.inference.building import build_model

TESTS = Path(__file__).parent
# A detector with masks, and a segmentor.
CONFIGS = {
    "detection": TESTS.parent / "configs" / "demo" / "cascade_convnext_shapes.py",
    "segmentation": TESTS / "cli" / "configs" / "tiny_segmentation.py",
}


def save_model(config: Path, out: Path, meta: Mapping[str, Any] | None = None) -> Path:
    """Write a checkpoint of ``config``'s model with weights that find something."""
    model = shaken(build_model(Config.fromfile(config)))
    torch.save({"meta": dict(meta or {}), "state_dict": model.state_dict()}, out)
    return out


def save_models(folder: Path) -> dict[str, tuple[str, str]]:
    """Config and checkpoint of each task; the checkpoints name no classes."""
    return {
        task: (str(config), str(save_model(config, folder / f"{task}.pth")))
        for task, config in CONFIGS.items()
    }
