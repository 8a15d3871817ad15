"""The recipes against the authors' READMEs and configs, stated here a second time."""

from __future__ import annotations

import math

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, init_default_scope
from torch import nn

import mmconvnext  # noqa: F401
from mmconvnext.compat.mm_packages import config_root

CASCADE = "detection/cascade_convnext_t_coco.py"
MASK = "detection/mask_rcnn_convnext_t_coco.py"
UPERNET = "segmentation/upernet_convnext_t_ade20k_512.py"
WEIGHTS = "https://dl.fbaipublicfiles.com/convnext/convnext_tiny_1k_224.pth"


def load(name: str) -> Config:
    return Config.fromfile(config_root() / name)


@pytest.mark.parametrize(
    ("name", "millions"),
    [(MASK, 48), (CASCADE, 86), (UPERNET, 60)],
    ids=["mask", "cascade", "upernet"],
)
def test_model_has_the_published_number_of_parameters(name: str, millions: int) -> None:
    cfg = load(name)
    init_default_scope(cfg.default_scope)
    with torch.device("meta"):
        model = MODELS.build(cfg.model)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6) == millions


@pytest.mark.parametrize(
    ("name", "rate", "decay", "kind"),
    [
        (MASK, 1e-4, 0.95, "layer_wise"),
        (CASCADE, 2e-4, 0.7, "layer_wise"),
        (UPERNET, 1e-4, 0.9, "stage_wise"),
    ],
    ids=["mask", "cascade", "upernet"],
)
def test_optimizer_is_the_published_one(name: str, rate: float, decay: float, kind: str) -> None:
    cfg = load(name)
    wrapper = cfg.optim_wrapper
    assert wrapper.type == "AmpOptimWrapper"
    assert wrapper.optimizer == dict(type="AdamW", lr=rate, betas=(0.9, 0.999), weight_decay=0.05)
    assert wrapper.paramwise_cfg == dict(decay_rate=decay, decay_type=kind, num_layers=6)
    assert wrapper.get("clip_grad") is None
    assert cfg.train_dataloader.batch_size == 2
    assert cfg.auto_scale_lr.base_batch_size == 16


@pytest.mark.parametrize("name", [MASK, CASCADE, UPERNET], ids=["mask", "cascade", "upernet"])
def test_backbone_is_the_published_one(name: str) -> None:
    backbone = load(name).model.backbone
    assert backbone == dict(
        type="mmconvnext.ConvNeXt",
        arch="tiny",
        drop_path_rate=0.4,
        layer_scale_init_value=1.0,
        init_cfg=dict(type="Pretrained", checkpoint=WEIGHTS),
    )


def rates_of(cfg: Config, iterations: list[int], epoch_length: int) -> dict[int, float]:
    """The learning rate that mmengine's schedulers give before each of the wanted iterations."""
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=cfg.optim_wrapper.optimizer.lr)
    schedulers = []
    for entry in cfg.param_scheduler:
        entry = dict(entry)
        schedulers.append(
            (
                entry["by_epoch"],
                PARAM_SCHEDULERS.build(entry, default_args={"optimizer": optimizer}),
            )
        )
    optimizer.step()
    rates = {}
    for iteration in range(max(iterations) + 1):
        if iteration in iterations:
            rates[iteration] = optimizer.param_groups[0]["lr"]
        for by_epoch, scheduler in schedulers:
            if not by_epoch or (iteration + 1) % epoch_length == 0:
                scheduler.step()
    return rates


@pytest.mark.parametrize(("name", "rate"), [(MASK, 1e-4), (CASCADE, 2e-4)], ids=["mask", "cascade"])
def test_detection_rate_follows_warm_up_and_milestones(name: str, rate: float) -> None:
    epoch = 100  # iterations; the real 7,330 only make the test slower

    def published(iteration: int) -> float:
        warm_up = min(1.0, 0.001 + 0.999 * iteration / 500)
        drops = (iteration >= 27 * epoch) + (iteration >= 33 * epoch)
        return rate * warm_up * 0.1**drops

    iterations = [0, 1, 250, 499, 500, 501, 2699, 2700, 3299, 3300, 3599]
    found = rates_of(load(name), iterations, epoch)
    assert found == pytest.approx({i: published(i) for i in iterations}, rel=1e-9)


def test_segmentation_rate_is_warm_up_times_a_line_to_zero() -> None:
    def published(iteration: int) -> float:
        warm_up = min(1.0, 1e-6 + (1 - 1e-6) * iteration / 1500)
        return 1e-4 * warm_up * (1 - iteration / 160000)

    iterations = [0, 1, 500, 1499, 1500, 1501, 5000]
    found = rates_of(load(UPERNET), iterations, 10**9)
    assert found == pytest.approx({i: published(i) for i in iterations}, rel=1e-6)
    assert math.isclose(load(UPERNET).param_scheduler[1].end - 1, 160000)


def test_detection_augmentation_is_the_published_one() -> None:
    pipeline = load(CASCADE).train_pipeline
    flip, choice = pipeline[2], pipeline[3]
    assert flip == dict(type="RandomFlip", prob=0.5)
    sides = [(s, 1333) for s in (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)]
    (resize,), (first, crop, second) = choice.transforms
    assert resize.scales == second.scales == sides
    assert first.scales == [(400, 1333), (500, 1333), (600, 1333)]
    assert (crop.crop_type, crop.crop_size, crop.allow_negative_crop) == (
        "absolute_range",
        (384, 600),
        True,
    )
    cfg = load(CASCADE)
    assert cfg.train_dataloader.dataset.pipeline == pipeline
    assert cfg.test_pipeline[1] == dict(
        type="Resize", scale=(1333, 800), keep_ratio=True, _scope_="mmdet"
    )
    assert cfg.model.data_preprocessor.mean == [123.675, 116.28, 103.53]
    assert cfg.model.data_preprocessor.std == [58.395, 57.12, 57.375]
    assert (
        cfg.model.data_preprocessor.bgr_to_rgb
        and cfg.model.data_preprocessor.pad_size_divisor == 32
    )


def test_segmentation_augmentation_and_sliding_test_are_the_published_ones() -> None:
    cfg = load(UPERNET)
    by_type = {step.type: step for step in cfg.train_pipeline}
    assert by_type["LoadAnnotations"].reduce_zero_label
    resize, crop = by_type["RandomResize"], by_type["RandomCrop"]
    assert (resize.scale, resize.ratio_range) == ((2048, 512), (0.5, 2.0))
    assert (crop.crop_size, crop.cat_max_ratio) == ((512, 512), 0.75)
    assert by_type["RandomFlip"].prob == 0.5
    assert "PhotoMetricDistortion" in by_type
    assert cfg.model.test_cfg == dict(mode="slide", crop_size=(512, 512), stride=(341, 341))
    assert cfg.model.decode_head.num_classes == cfg.model.auxiliary_head.num_classes == 150
    assert cfg.train_cfg.max_iters == 160000


def test_cascade_heads_are_four_convolutions_one_linear_with_giou() -> None:
    heads = load(CASCADE).model.roi_head.bbox_head
    assert [head.bbox_coder.target_stds[0] for head in heads] == [0.1, 0.05, 0.033]
    for head in heads:
        assert (head.num_shared_convs, head.num_shared_fcs, head.reg_class_agnostic) == (
            4,
            1,
            False,
        )
        assert head.loss_bbox == dict(type="GIoULoss", loss_weight=10.0)
        assert head.norm_cfg.type == "SyncBN" and head.reg_decoded_bbox


def test_optimizer_of_a_recipe_builds_on_a_real_model() -> None:
    cfg = load(MASK)
    init_default_scope(cfg.default_scope)
    with torch.device("meta"):
        model = MODELS.build(cfg.model)
    wrapper = build_optim_wrapper(model, dict(cfg.optim_wrapper, type="OptimWrapper"))
    rates = sorted({group["lr"] for group in wrapper.param_groups})
    # Layers 0 (stem) to 7 (norms, neck and heads): 1e-4 * 0.95 ** (7 - layer).
    assert rates == pytest.approx(sorted(1e-4 * 0.95 ** (7 - layer) for layer in range(8)))
    assert {group["weight_decay"] for group in wrapper.param_groups} == {0.0, 0.05}
