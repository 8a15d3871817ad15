"""One step of training and one prediction, of models of every kind; and what counts as failing."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from mmengine.config import Config

from mmconvnext.adapt import with_convnext
from mmconvnext.cli.configs import load_config
from mmconvnext.cli.trial import TINY
from mmconvnext.evaluation.made_up_inputs import picture_size
from mmconvnext.evaluation.one_step import TrialError, try_model


def load(name: str) -> Config:
    return with_convnext(Config.fromfile(name), TINY, weights=None).config


@pytest.mark.parametrize(
    "name",
    [
        "mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py",  # boxes
        "mmdet::fast_rcnn/fast-rcnn_r50_fpn_1x_coco.py",  # proposals
        "mmdet::htc/htc_r50_fpn_1x_coco.py",  # masks and a semantic map
        "mmdet::panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py",
        "mmdet::soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py",
        "mmdet::qdtrack/qdtrack_faster-rcnn_r50_fpn_8xb2-4e_mot17halftrain_test-mot17halfval.py",
        "mmdet::mask2former_vis/mask2former_r50_8xb2-8e_youtubevis2021.py",
        "mmseg::pspnet/pspnet_r50-d8_4xb4-80k_ade20k-512x512.py",
    ],
)
def test_models_of_each_kind(name):
    cfg = load(name)
    before, state = deepcopy(cfg._cfg_dict.to_dict()), torch.get_rng_state()
    try_model(cfg)
    assert cfg._cfg_dict.to_dict() == before
    assert torch.equal(torch.get_rng_state(), state)


def test_a_loss_that_is_not_finite_is_told():
    cfg = load("mmseg::fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512.py")
    cfg.model.decode_head.loss_decode.loss_weight = float("inf")
    with pytest.raises(TrialError, match=r"loss\S* is inf"):
        try_model(cfg)


def test_a_backbone_that_does_not_learn_is_told():
    cfg = load("mmseg::fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512.py")
    cfg.model.backbone.frozen_stages = 4
    cfg.model.backbone.out_indices = (0, 1, 2, 3)
    cfg.model.backbone.norm_cfg = {"type": "LN2d", "elementwise_affine": False}
    with pytest.raises(TrialError, match=r"no gradient of .* reaches a backbone"):
        try_model(cfg)


def test_channels_that_do_not_fit_are_told():
    cfg = load("mmseg::fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512.py")
    cfg.model.decode_head.in_channels += 1
    with pytest.raises(RuntimeError, match="channels"):
        try_model(cfg)


def test_pictures_are_as_large_as_the_model_needs():
    sizes = {
        "mmdet::ssd/ssd512_coco.py": 512,
        "mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py": 256,
        "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py": 128,
    }
    assert {name: picture_size(load_config(name, {}), 128) for name in sizes} == sizes
