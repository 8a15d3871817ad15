"""The table of recipes, ``configs/recipes.csv``: a row a config, with what is known of it.

Columns that begin with ``published`` and the accuracies are the authors' (V1: their README; V2:
arXiv:2301.00808, tables 6 and 7); those that begin with ``measured`` are what
``mmconvnext analyze`` prints, in millions and in 10^9 multiply-accumulates.
"""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass
from typing import Any

from mmconvnext.checkpoints.zoo import WEIGHTS, Weights
from mmconvnext.compat.config_root import config_root

TABLE = "recipes.csv"


@dataclass(frozen=True)
class Recipe:
    """A row of the table; None: not published."""

    config: str  # below configs/
    method: str
    network: str
    pretraining: str
    weights: str  # a name in checkpoints/zoo.py
    box_ap: float | None
    mask_ap: float | None
    miou: float | None  # single scale
    miou_ms: float | None  # multi-scale and flipped
    published_params: float | None
    published_gflops: float | None
    measured_params: float
    measured_gflops: float
    fine_tuned: str | None  # the authors' trained detector or segmentor

    @property
    def published(self) -> str:
        """Published box/mask AP, or mIoU single-scale/multi-scale, as printed; '-' for none."""
        pair = (self.miou, self.miou_ms) if self.is_segmentation else (self.box_ap, self.mask_ap)
        if pair == (None, None):
            return "-"
        return "/".join("-" if value is None else f"{value:.1f}" for value in pair)

    @property
    def is_segmentation(self) -> bool:
        """Whether it is trained on ADE20K, not COCO."""
        return self.config.startswith("segmentation/")

    @property
    def pretrained(self) -> Weights:
        """The weights that the backbone starts from."""
        return WEIGHTS[self.weights]

    def as_dict(self) -> dict[str, Any]:
        """Every column, and address and licence of the weights."""
        return {
            **asdict(self),
            "weights_address": self.pretrained.address,
            "weights_licence": self.pretrained.licence,
        }


def load_recipes() -> list[Recipe]:
    """All recipes, in the table's order."""
    with (config_root() / TABLE).open(newline="", encoding="utf-8") as file:
        return [_recipe(row) for row in csv.DictReader(file)]


def _recipe(row: dict[str, str]) -> Recipe:
    texts = ("config", "method", "network", "pretraining", "weights", "fine_tuned")
    values: dict[str, Any] = {
        key: (text if key in texts else float(text)) if text else None for key, text in row.items()
    }
    return Recipe(**values)
