"""The authors' tables, stated apart from the configs, and the configs built once for all tests."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

import mmconvnext  # noqa: F401
from mmconvnext.compat.config_root import config_root

FIXTURE = Path(__file__).parents[1] / "fixtures" / "official_recipes.csv"
ALL = sorted(
    path.relative_to(config_root()).as_posix()
    for folder in ("detection", "segmentation")
    for path in (config_root() / folder).glob("*.py")
)
DETECTION = [name for name in ALL if name.startswith("detection/")]
SEGMENTATION = [name for name in ALL if name.startswith("segmentation/")]

# ConvNeXt V2's tables 6 and 7 (arXiv:2301.00808): box/mask AP or mIoU, parameters (M), GFLOPs.
V2 = {
    "detection/mask_rcnn_convnextv2_b_fcmae_coco.py": ("52.9/46.6", None, 486),
    "detection/mask_rcnn_convnextv2_l_fcmae_coco.py": ("54.4/47.7", None, 875),
    "detection/mask_rcnn_convnextv2_h_fcmae_coco.py": ("55.7/48.9", None, 2525),
    "segmentation/upernet_convnextv2_b_ade20k_512.py": ("-/52.1", 122, 1170),
    "segmentation/upernet_convnextv2_l_ade20k_512.py": ("-/53.7", 235, 1573),
    "segmentation/upernet_convnextv2_h_ade20k_512.py": ("-/55.0", 707, 3272),
}


def _config_of(row: dict[str, str]) -> str:
    """Where a row of the authors' table is to be found, by the naming rule of DESIGN."""
    size = row["arch"].lower() + ("" if row["pretrain"] == "in1k" else f"_{row['pretrain']}")
    if row["task"] == "segmentation":
        crop = row["train_crop"].partition("x")[0]
        return f"segmentation/upernet_convnext_{size}_ade20k_{crop}.py"
    method = {"Mask R-CNN": "mask_rcnn", "Cascade Mask R-CNN": "cascade"}[row["method"]]
    return f"detection/{method}_convnext_{size}_coco.py"


with FIXTURE.open(newline="") as _file:
    OFFICIAL = {_config_of(row): row for row in csv.DictReader(_file)}


@cache
def load(name: str) -> Config:
    """The config; tests must not change it."""
    return Config.fromfile(config_root() / name)


@cache
def build(name: str) -> nn.Module:
    """Its model, without memory."""
    cfg = load(name).copy()
    init_default_scope(cfg.default_scope)
    with torch.device("meta"):
        return MODELS.build(cfg.model)
