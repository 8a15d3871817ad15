"""Names of backbones, and the settings with which they are fine-tuned: those of this package's own
recipes, so that each number stands in one place."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from difflib import get_close_matches
from functools import cache
from typing import Any, NamedTuple

from mmengine.config import Config

from mmconvnext.adapt.errors import AdaptError
from mmconvnext.checkpoints.zoo import WEIGHTS, find_weights_name
from mmconvnext.compat.config_root import config_root

DETECTION, SEGMENTATION = "detection", "segmentation"
_SMALL_DROP_PATH = 0.1  # below tiny: chosen, nothing is published


class _Row(NamedTuple):
    """A backbone: its size, its recipes' names, and its own weights where the recipes' are not."""

    size: str
    detection: str
    segmentation: str
    weights: str | None = None
    published: bool = True  # the recipes are this backbone's, not a neighbour's


def _table() -> dict[str, _Row]:
    table = {}
    for size, recipes in {
        "tiny": ("cascade_convnext_t_coco", "upernet_convnext_t_ade20k_512"),
        "small": ("cascade_convnext_s_coco", "upernet_convnext_s_ade20k_512"),
        "base": ("cascade_convnext_b_in22k_coco", "upernet_convnext_b_in22k_ade20k_640"),
        "large": ("cascade_convnext_l_in22k_coco", "upernet_convnext_l_in22k_ade20k_640"),
        "xlarge": ("cascade_convnext_xl_in22k_coco", "upernet_convnext_xl_in22k_ade20k_640"),
    }.items():
        table[f"convnext_{size}"] = _Row(size, *recipes)
    for size in ("atto", "femto", "pico", "nano"):
        tiny = table["convnext_tiny"]
        table[f"convnext_{size}"] = _Row(size, tiny.detection, tiny.segmentation, None, False)
    for size in ("atto", "femto", "pico", "nano", "tiny", "base", "large", "huge"):
        own = size in ("base", "large", "huge")
        short = size[0] if own else "b"
        table[f"convnextv2_{size}"] = _Row(
            size,
            f"mask_rcnn_convnextv2_{short}_fcmae_coco",
            f"upernet_convnextv2_{short}_ade20k_512",
            None if own else f"convnextv2_{size}_1k_224_ema",
            own,
        )
    for size in ("tiny", "small", "base", "large"):
        short = size[0]
        table[f"dinov3_convnext_{short}"] = _Row(
            size,
            f"cascade_convnext_{short}_dinov3_coco",
            f"upernet_convnext_{short}_dinov3_ade20k_512",
        )
    return table


_ROWS = _table()
BACKBONES = tuple(_ROWS)


class Settings(NamedTuple):
    """What a config gets: the arguments of its backbone, and how they are trained."""

    backbone: dict[str, Any]
    optim_wrapper: dict[str, Any]


def settings(name: str | Mapping[str, Any], task: str, weights: str | None) -> Settings:
    """The backbone's arguments and the published fine-tuning's, for a task.

    Args:
        name: one of BACKBONES, or the arguments of a ``ConvNeXt``, which is then trained like tiny.
        task: DETECTION or SEGMENTATION.
        weights: a checkpoint to start from, ``'auto'`` for the name's own, None for random ones.

    Raises:
        AdaptError: unknown name (near ones are named).
    """
    row = _ROWS["convnext_tiny"] if isinstance(name, Mapping) else _row(name)
    cfg = _recipe(task, row.detection if task == DETECTION else row.segmentation)
    backbone = deepcopy(dict(cfg.model.backbone))
    if isinstance(name, Mapping):
        backbone = {"type": backbone["type"], **deepcopy(dict(name))}
    elif not row.published:
        backbone["arch"] = row.size
        if row.size != "tiny":
            backbone["drop_path_rate"] = _SMALL_DROP_PATH
        backbone.pop("init_cfg", None)
        if row.weights:
            backbone["init_cfg"] = {"type": "Pretrained", "checkpoint": row.weights}
    if weights is None:
        backbone.pop("init_cfg", None)
    elif weights != "auto":
        backbone["init_cfg"] = {"type": "Pretrained", "checkpoint": weights}
    return Settings(backbone, deepcopy(dict(cfg.optim_wrapper)))


def licence(checkpoint: str) -> str:
    """The licence of published weights, empty for other files."""
    known = find_weights_name(checkpoint)
    return WEIGHTS[known].licence if known else ""


def _row(name: str) -> _Row:
    for long, short in (("tiny", "t"), ("small", "s"), ("base", "b"), ("large", "l")):
        if name == f"dinov3_convnext_{long}":
            name = f"dinov3_convnext_{short}"
    if name not in _ROWS:
        close = get_close_matches(name, BACKBONES, n=3)
        hint = f"did you mean {', '.join(close)}?" if close else f"one of {', '.join(BACKBONES)}"
        raise AdaptError(f"unknown backbone {name!r}; {hint}")
    return _ROWS[name]


@cache
def _recipe(task: str, name: str) -> Config:
    return Config.fromfile(str(config_root() / task / f"{name}.py"))
