from __future__ import annotations

from copy import deepcopy
from functools import cache

import pytest
import torch
from mmengine.config import Config

from mmconvnext import RoadNet
from mmconvnext.adapt import AdaptError
from mmconvnext.adapt.road import with_road_step
from mmconvnext.backbones.road_stops import STEPS
from mmconvnext.cli.analyze import complexity_of, published_shape
from mmconvnext.cli.configs import load_config
from mmconvnext.compat.config_root import config_root

CONFIGS = ("mask_rcnn_road_coco.py", "upernet_road_ade20k_512.py")
RECIPES = (
    "detection/mask_rcnn_convnext_t_coco.py",
    "segmentation/upernet_convnext_t_ade20k_512.py",
)


@cache  # adapting changes nothing of it
def road_config(name: str) -> Config:
    return load_config(str(config_root() / "road" / name), {})


@pytest.mark.parametrize("step", STEPS)
def test_necks_and_heads_take_what_each_stop_gives(step: str) -> None:
    with torch.device("meta"):
        channels = list(RoadNet(step).channels)
    detector, segmentor = (with_road_step(road_config(name), step).model for name in CONFIGS)
    assert detector.backbone.step == segmentor.backbone.step == step
    assert detector.neck.in_channels == channels
    assert segmentor.decode_head.in_channels == channels
    assert segmentor.auxiliary_head.in_channels == channels[2]


@pytest.mark.parametrize(("name", "recipe"), zip(CONFIGS, RECIPES, strict=True))
def test_nothing_but_the_backbone_differs_from_the_recipe(name: str, recipe: str) -> None:
    ours, theirs = deepcopy(road_config(name)), load_config(str(config_root() / recipe), {})
    del ours.model.backbone, theirs.model.backbone
    ours.pop("road_net")
    assert ours.to_dict() == theirs.to_dict()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "step", "stock"),
    [
        (CONFIGS[0], "separate_downsampling", f"mmconvnext::{RECIPES[0]}"),
        (CONFIGS[0], "resnet", "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py"),
        (CONFIGS[1], "separate_downsampling", f"mmconvnext::{RECIPES[1]}"),
    ],
)
def test_the_ends_cost_what_the_models_there_do(name: str, step: str, stock: str) -> None:
    cfg, theirs = with_road_step(road_config(name), step), load_config(stock, {})
    ours, theirs = (complexity_of(c, published_shape(cfg)) for c in (cfg, theirs))
    scales = 15104 if step == "resnet" else 0  # ResNet has no layer scale, which the configs set
    assert (ours.params - scales, ours.macs) == (theirs.params, theirs.macs)


def test_weights_and_the_config_given() -> None:
    cfg = road_config(CONFIGS[0])
    before = cfg.to_dict()
    adapted = with_road_step(cfg, "resnet", weights="resnet50.pth")
    init_cfg = {"type": "Pretrained", "checkpoint": "resnet50.pth"}
    assert adapted.model.backbone.init_cfg == init_cfg
    assert cfg.to_dict() == before
    back = with_road_step(adapted, "separate_downsampling").model
    assert back.neck.in_channels == before["model"]["neck"]["in_channels"]


def test_what_cannot_be_adapted_is_named() -> None:
    recipe = load_config(str(config_root() / RECIPES[0]), {})
    with pytest.raises(AdaptError, match=r"expected a backbone of type='mmconvnext.RoadNet'"):
        with_road_step(recipe, "gelu")
    cfg = deepcopy(road_config(CONFIGS[0]))
    with pytest.raises(AdaptError, match=r"model.backbone.step: expected one of resnet, .*'gelus'"):
        with_road_step(cfg, "gelus")
    cfg.model.neck.in_channels = [1, 2, 3, 4]
    with pytest.raises(AdaptError, match=r"model.neck.in_channels=\[1, 2, 3, 4\] does not fit"):
        with_road_step(cfg, "resnet")
