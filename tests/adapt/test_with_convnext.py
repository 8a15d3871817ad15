"""Configs of mmdet and mmseg with a ConvNeXt in place of their backbone."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from mmengine.config import Config
from torch import nn

from mmconvnext import ConvNeXt
from mmconvnext.adapt import BACKBONES, AdaptError, with_convnext
from mmconvnext.adapt.levels import Levels, replacement_of
from mmconvnext.backbones.archs import ARCHS
from mmconvnext.checkpoints.zoo import find_weights_name
from mmconvnext.cli.models import build_without_memory

TINY, SMALLEST = [96, 192, 384, 768], [40, 80, 160, 320]


def load(name: str) -> Config:
    return Config.fromfile(name)


def adapted(name: str, backbone: Any = "convnext_tiny", **kwargs: Any) -> Config:
    return with_convnext(load(name), backbone, **kwargs).config


def builds(cfg: Config) -> nn.Module:
    """The model: constructors check much of what they are given."""
    return build_without_memory(cfg)


def test_a_transformer_detector():
    cfg = load("mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py")
    before = deepcopy(cfg._cfg_dict.to_dict())
    result = with_convnext(cfg, "convnext_tiny")
    assert cfg._cfg_dict.to_dict() == before
    assert result.config.filename == cfg.filename
    model = result.config.model
    assert model.backbone == {
        "type": "mmconvnext.ConvNeXt",
        "arch": "tiny",
        "drop_path_rate": 0.4,
        "layer_scale_init_value": 1.0,
        "out_indices": (1, 2, 3),
        "frozen_stages": 1,
        "init_cfg": {"type": "Pretrained", "checkpoint": "convnext_tiny_1k_224"},
    }
    assert model.neck.in_channels == TINY[1:]
    assert result.changes == [
        "model.backbone: ResNet -> ConvNeXt(arch=tiny, drop_path_rate=0.4, "
        "layer_scale_init_value=1.0, out_indices=(1, 2, 3), frozen_stages=1, from "
        "convnext_tiny_1k_224)",
        "model.neck.in_channels: [512, 1024, 2048] -> [192, 384, 768]",
        "optim_wrapper.optimizer: AdamW lr 0.0001 weight_decay 0.0001 -> AdamW lr 0.0002 "
        "weight_decay 0.05",
        "optim_wrapper.paramwise_cfg: layer_wise decay 0.7",
    ]
    backbone = builds(result.config).backbone
    assert isinstance(backbone, ConvNeXt) and backbone.frozen_stages == 1


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize(
    "config",
    [
        "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
        "mmseg::upernet/upernet_r50_4xb4-80k_ade20k-512x512.py",
    ],
)
def test_every_name(name, config):
    cfg = adapted(config, name)
    backbone = cfg.model.backbone
    family, _, size = name.rpartition("_")
    long = next(long for long in ("tiny", "small", "base", "large", size) if long.startswith(size))
    assert backbone.arch == long
    assert backbone.get("use_grn", False) == (family == "convnextv2")
    reader = cfg.model.get("neck") or cfg.model.decode_head
    assert reader.in_channels == list(ARCHS[long].channels)
    weights = (backbone.get("init_cfg") or {}).get("checkpoint", "")
    if family == "convnext" and long in ("atto", "femto", "pico", "nano"):
        assert not weights  # none are published
    else:
        assert long in weights and find_weights_name(weights) is not None
    assert cfg.optim_wrapper.optimizer.type == "AdamW"
    decay = "stage_wise" if "mmseg" in config else "layer_wise"
    assert cfg.optim_wrapper.paramwise_cfg.decay_type == decay
    builds(cfg)


def test_long_names_of_dinov3_and_own_weights():
    config = "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"
    short, long = (adapted(config, f"dinov3_convnext_{s}") for s in ("b", "base"))
    assert short.model == long.model
    cfg = adapted(config, "convnext_base", weights="mine.pth")
    assert cfg.model.backbone.init_cfg.checkpoint == "mine.pth"
    assert "init_cfg" not in adapted(config, "convnext_base", weights=None).model.backbone
    own = {"arch": {"depths": [1, 1, 1, 1], "channels": [8, 16, 32, 64]}}
    assert adapted(config, own).model.neck.in_channels == [8, 16, 32, 64]


def test_pictures_are_normalised_as_the_weights_expect():
    cfg = adapted("mmdet::faster_rcnn/faster-rcnn_r50-caffe_fpn_1x_coco.py")
    found = cfg.model.data_preprocessor
    assert (found.mean, found.std) == ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
    assert found.bgr_to_rgb is True
    nested = adapted(
        "mmdet::soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py"
    )
    inner = nested.model.data_preprocessor.data_preprocessor
    assert inner.mean == found.mean and inner.bgr_to_rgb is True
    ssd = adapted("mmdet::ssd/ssd300_coco.py")
    expand = next(t for t in ssd.train_dataloader.dataset.dataset.pipeline if t.type == "Expand")
    assert expand.mean == ssd.model.data_preprocessor.mean == found.mean


def test_raw_pictures_are_normalised_and_each_change_is_told_once():
    result = with_convnext(load("mmdet::yolox/yolox_s_8xb8-300e_coco.py"), "convnext_tiny")
    found = result.config.model.data_preprocessor
    assert (found.mean[0], found.std[0], found.bgr_to_rgb) == (123.675, 58.395, True)
    assert "model.data_preprocessor.mean: None -> [123.675, 116.28, 103.53]" in result.changes
    cfg = load("mmseg::fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512.py")
    for preprocessor in (cfg.data_preprocessor, cfg.model.data_preprocessor):
        preprocessor.mean = [0.0, 0.0, 0.0]
    changes = with_convnext(cfg, "convnext_tiny").changes
    assert len([change for change in changes if ".mean: [0.0, 0.0, 0.0] -> " in change]) == 1


def test_without_out_indices_the_strides_tell():
    """mmpose's ResNet gives its last map by default."""
    levels = Levels((2048,), (32,))
    assert replacement_of({"type": "mmpose.ResNet"}, levels, "here") == ((3,), None)
    dilated = Levels((256, 512, 1024, 2048), (4, 8, 8, 8))
    assert replacement_of({"type": "ResNet"}, dilated, "here") == ((0, 1, 2, 3), 8)


def test_a_neck_that_only_pools_leaves_the_channels_to_the_head():
    """As mmpose's regression has it."""
    cfg = load("mmdet::yolof/yolof_r50-c5_8xb8-1x_coco.py")
    cfg.model.neck = {"type": "GlobalAveragePooling"}
    cfg.model.bbox_head.in_channels = 2048
    model = with_convnext(cfg, "convnext_tiny").config.model
    assert model.bbox_head.in_channels == 768


def test_a_convnext_of_mmpretrain_is_replaced_without_it():
    cfg = load("mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py")
    cfg.model.backbone = {
        "type": "mmpretrain.ConvNeXt",
        "arch": "base",
        "out_indices": [0, 1, 2, 3],
        "gap_before_final_norm": False,
    }
    cfg.model.neck.in_channels = [128, 256, 512, 1024]
    assert with_convnext(cfg, "convnext_tiny").config.model.neck.in_channels == TINY


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            "mmseg::pspnet/pspnet_r50-d8_4xb4-80k_ade20k-512x512.py",
            {
                "backbone.output_stride": 8,
                "backbone.out_indices": (0, 1, 2, 3),
                "decode_head.in_channels": 768,
                "auxiliary_head.in_channels": 384,
            },
        ),
        (
            "mmseg::deeplabv3plus/deeplabv3plus_r101-d16-mg124_4xb2-40k_cityscapes-512x1024.py",
            {
                "backbone.output_stride": 16,
                "decode_head.in_channels": 768,
                "decode_head.c1_in_channels": 96,
            },
        ),
        (
            "mmdet::faster_rcnn/faster-rcnn_r50-caffe-dc5_1x_coco.py",
            {
                "backbone.output_stride": 16,
                "backbone.out_indices": (3,),
                "rpn_head.in_channels": 768,
                "roi_head.bbox_roi_extractor.out_channels": 768,
                "roi_head.bbox_head.in_channels": 768,
            },
        ),
        (
            "mmseg::knet/knet-s3_r50-d8_deeplabv3_8xb2-adamw-80k_ade20k-512x512.py",
            {
                "decode_head.kernel_generate_head.in_channels": 768,
                "decode_head.kernel_update_head.0.in_channels": 512,  # the heads' own
                "auxiliary_head.in_channels": 384,
            },
        ),
        (
            "mmseg::fastfcn/fastfcn_r50-d32_jpu_psp_4xb4-80k_ade20k-512x512.py",
            {
                "backbone.out_indices": (1, 2, 3),
                "neck.in_channels": tuple(TINY[1:]),
                "decode_head.in_channels": 2048,  # the neck's
                "auxiliary_head.in_channels": 384,  # through the neck as it is
            },
        ),
        (
            "mmseg::encnet/encnet_r50-d8_4xb4-80k_ade20k-512x512.py",
            {"decode_head.in_channels": TINY[1:], "auxiliary_head.in_channels": 384},
        ),
        (
            "mmseg::sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py",
            {"neck.in_channels": TINY, "decode_head.in_channels": [256] * 4},
        ),
        (
            "mmseg::swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py",
            {"decode_head.in_channels": TINY, "auxiliary_head.in_channels": 384},
        ),
        (
            "mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py",
            {"panoptic_head.in_channels": TINY},
        ),
        (
            "mmseg::mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py",
            {"decode_head.in_channels": TINY},
        ),
        (
            "mmdet::mask2former_vis/mask2former_r50_8xb2-8e_youtubevis2021.py",
            {"track_head.in_channels": TINY},
        ),
        (
            "mmdet::libra_rcnn/libra-faster-rcnn_r50_fpn_1x_coco.py",
            {"neck.0.in_channels": TINY, "neck.1.in_channels": 256},
        ),
        (
            "mmdet::yolo/yolov3_d53_8xb8-320-273e_coco.py",
            {"backbone.out_indices": (1, 2, 3), "neck.in_channels": [768, 384, 192]},
        ),
        ("mmdet::yolof/yolof_r50-c5_8xb8-1x_coco.py", {"neck.in_channels": 768}),
        (
            "mmdet::qdtrack/qdtrack_faster-rcnn_r50_fpn_8xb2-4e_mot17halftrain_test-mot17halfval.py",
            {"detector.neck.in_channels": TINY, "detector.backbone.arch": "tiny"},
        ),
    ],
)
def test_what_reads_the_maps_gets_their_channels(config, expected):
    cfg = adapted(config)
    found = {}
    for path in expected:
        node = cfg.model
        for key in path.split("."):
            node = node[int(key)] if key.isdecimal() else node[key]
        found[path] = node
    assert found == expected
    if "qdtrack" not in config:  # its constructor needs a checkpoint's place
        builds(cfg)


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ("mmdet::ld/ld_r18-gflv1-r101_fpn_1x_coco.py", "teacher_config"),
        ("mmdet::lad/lad_r50-paa-r101_fpn_2xb8_coco_1x.py", "teacher_backbone"),
        (
            "mmdet::deepsort/deepsort_faster-rcnn_r50_fpn_8xb2-4e_mot17halftrain_test-mot17halfval.py",
            "reid",
        ),
    ],
)
def test_models_beside_it_keep_their_backbones(config, path):
    before, after = load(config), adapted(config)
    assert after.model[path] == before.model[path]
    trained = after.model.get("detector", after.model)
    assert trained.backbone.type == "mmconvnext.ConvNeXt"


def test_training_is_the_published_fine_tunings_unless_it_is_kept():
    config = "mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py"
    before, after = load(config).optim_wrapper, adapted(config).optim_wrapper
    assert after.clip_grad == before.clip_grad
    assert after.constructor == "mmconvnext.LayerDecayOptimWrapperConstructor"
    assert after.paramwise_cfg == {
        "decay_rate": 0.7,
        "decay_type": "layer_wise",
        "custom_keys": {
            "sampling_offsets": {"lr_mult": 0.1},
            "reference_points": {"lr_mult": 0.1},
        },
    }
    kept = adapted(config, keep_optimizer=True)
    assert kept.optim_wrapper == before
    assert kept.param_scheduler == load(config).param_scheduler


def test_schedules_end_at_a_part_of_the_new_rate():
    config = "mmseg::fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512.py"
    assert load(config).param_scheduler[0].eta_min == 1e-4
    assert adapted(config).param_scheduler[0].eta_min == pytest.approx(1e-4 * 1e-4 / 0.01)


def test_a_single_process_gets_plain_batch_norm():
    config = "mmseg::upernet/upernet_r50_4xb4-80k_ade20k-512x512.py"
    told = "plain BatchNorm instead of SyncBN"
    for distributed, kind in ((None, "BN"), (False, "BN"), (True, "SyncBN")):
        result = with_convnext(load(config), "convnext_tiny", distributed=distributed)
        assert result.config.model.decode_head.norm_cfg.type == kind
        assert (told in result.changes) == (kind == "BN")


def test_a_frozen_stem_alone_is_told_not_kept():
    config = "mmdet::selfsup_pretrain/mask-rcnn_r50-swav-pre_fpn_1x_coco.py"
    result = with_convnext(load(config), "convnext_tiny")
    assert "frozen_stages" not in result.config.model.backbone
    assert "model.backbone.frozen_stages: 0, the stem alone -> none" in "\n".join(result.changes)


def test_unread_maps_are_told_to_ddp():
    assert adapted("mmdet::retinanet/retinanet_r50_fpn_1x_coco.py").find_unused_parameters is True
    cfg = adapted("mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py")
    assert "find_unused_parameters" not in cfg


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            "mmdet::faster_rcnn/faster-rcnn_r50-caffe_c4-1x_coco.py",
            "model.roi_head.shared_head (ResLayer) is the last stage of the old backbone",
        ),
        (
            "mmdet::detectors/cascade-rcnn_r50-rfp_1x_coco.py",
            "model.neck (RFP) feeds its maps back into a backbone of its own kind",
        ),
        (
            "mmdet::cornernet/cornernet_hourglass104_8xb6-210e-mstest_coco.py",
            "model.backbone (HourglassNet) gives maps of 256, 256 channels at strides 4, 4; a "
            "ConvNeXt gives one map each at strides 4, 8, 16, 32",
        ),
        (
            "mmseg::setr/setr_vit-l-mla_8xb1-160k_ade20k-512x512.py",
            "model.backbone (VisionTransformer) gives maps of 1024, 1024, 1024, 1024 channels at "
            "strides 16, 16, 16, 16; a ConvNeXt gives one map each at strides 4, 8, 16, 32",
        ),
        (
            "mmseg::beit/beit-base_upernet_8xb2-160k_ade20k-640x640.py",  # takes one size only
            "model.backbone (BEiT) gives maps of 768, 768, 768, 768 channels at strides 16, 16",
        ),
        (
            "mmseg::icnet/icnet_r18-d8_4xb2-80k_cityscapes-832x832.py",
            "model.backbone (ICNet) is built around the layers of model.backbone.backbone_cfg",
        ),
        (
            "mmseg::ddrnet/ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024.py",
            "model.backbone (DDRNet) gives maps of 128 channels at strides 8, but maps of 64, 128 "
            "channels at strides 8, 8 in training, for heads of its own kind",
        ),
        (
            "mmseg::pidnet/pidnet-l_2xb6-120k_1024x1024-cityscapes.py",
            "model.backbone (PIDNet) gives maps of 256 channels at strides 8, but maps of",
        ),
        ("mmdet::common/ms_3x_coco.py", "the config has no model"),
        ("mmseg::san/san-vit-b16_coco-stuff164k-640x640.py", "has no backbone"),
    ],
)
def test_what_stands_in_the_way_is_named(config, message):
    with pytest.raises(AdaptError) as error:
        adapted(config)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_dilated_backbone_without_out_indices():
    model = adapted(
        "mmseg::mobilenet_v2/mobilenet-v2-d8_pspnet_4xb2-80k_cityscapes-512x1024.py"
    ).model
    assert model.backbone.output_stride == 8
    assert (model.decode_head.in_channels, model.auxiliary_head.in_channels) == (768, 384)


def test_two_pictures_in_one_input_are_both_normalised():
    cfg = adapted("mmseg::swin/swin-tiny-patch4-window7_upernet_1xb8-20k_levir-256x256.py")
    assert cfg.model.backbone.in_channels == 6
    assert cfg.model.data_preprocessor.mean == [123.675, 116.28, 103.53] * 2
    assert len(cfg.model.data_preprocessor.std) == 6


def test_a_head_without_layers_is_as_wide_as_its_map():
    head = adapted(
        "mmseg::segmenter/segmenter_vit-s_fcn_8xb1-160k_ade20k-512x512.py"
    ).model.decode_head
    assert (head.in_channels, head.channels) == (384, 384)
    head = adapted(
        "mmseg::segmenter/segmenter_vit-s_fcn_8xb1-160k_ade20k-512x512.py", "convnext_base"
    ).model.decode_head
    assert (head.in_channels, head.channels) == (512, 512)


def test_ssds_neck_hands_on_the_maps():
    """The neck's own maps follow the backbone's."""
    model = adapted("mmdet::ssd/ssd300_coco.py").model
    assert model.backbone.out_indices == (1, 2)
    assert model.neck.in_channels == (192, 384)
    channels = (192, 384, 512, 256, 256, 256)
    assert model.neck.out_channels == model.bbox_head.in_channels == channels
    builds(Config({"model": model, "default_scope": "mmdet"}))


def test_wrong_channel_counts_and_names_are_refused():
    cfg = load("mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py")
    cfg.model.neck.in_channels = [256, 512, 1024, 2047]
    with pytest.raises(AdaptError, match=r"neck.in_channels=\[256, 512, 1024, 2047\] does not"):
        with_convnext(cfg, "convnext_tiny")
    with pytest.raises(AdaptError, match="'convnext_tinny'; did you mean convnext_tiny"):
        with_convnext(cfg, "convnext_tinny")


def test_maps_that_nothing_is_seen_to_read_are_refused():
    cfg = load("mmdet::retinanet/retinanet_r50_fpn_1x_coco.py")
    del cfg.model["neck"]
    with pytest.raises(
        AdaptError, match="no neck or head was found whose in_channels are of these"
    ):
        with_convnext(cfg, "convnext_tiny")


def test_the_written_config_needs_no_adapter(tmp_path):
    cfg = adapted("mmdet::retinanet/retinanet_r50_fpn_1x_coco.py", "convnext_atto")
    file = tmp_path / "adapted.py"
    cfg.dump(file)
    again = Config.fromfile(file)
    assert "mmconvnext" in again.custom_imports.imports
    model = builds(again)
    assert isinstance(model.backbone, ConvNeXt)
    assert [conv.conv.in_channels for conv in model.neck.lateral_convs] == SMALLEST[1:]
