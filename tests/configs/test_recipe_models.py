"""Networks, sizes and starting weights of all recipes against the published tables."""

from __future__ import annotations

import re

import pytest
from published import ALL, DETECTION, OFFICIAL, V2, build, load

from mmconvnext.backbones.archs import ARCHS, resolve_arch
from mmconvnext.checkpoints.zoo import WEIGHTS
from mmconvnext.cli.analyze import published_shape
from mmconvnext.compat.config_root import config_root
from mmconvnext.evaluation.complexity import Complexity, count_complexity
from mmconvnext.recipes import load_recipes

TABLE = {recipe.config: recipe for recipe in load_recipes()}
COUNTED: dict[str, Complexity] = {}


def counted(name: str) -> Complexity:
    if name not in COUNTED:
        COUNTED[name] = count_complexity(build(name), published_shape(load(name)))
    return COUNTED[name]


def close(found: float, printed: float) -> bool:
    """Within 0.5 % of a printed figure, or equal to it when rounded as it was."""
    return abs(found - printed) <= 0.005 * printed or round(found) == printed


def test_all_thirteen_rows_have_a_config() -> None:
    assert len(OFFICIAL) == 13
    assert set(OFFICIAL) <= set(ALL)


def test_the_table_lists_every_config_once() -> None:
    assert len(load_recipes()) == len(TABLE)
    assert sorted(TABLE) == ALL


@pytest.mark.parametrize("name", OFFICIAL)
def test_parameters_and_flops_are_the_published_ones(name: str) -> None:
    row, found = OFFICIAL[name], counted(name)
    height, width = found.shape
    assert row["flops_input"].startswith(f"{width}x{height}")
    assert found.rois == ("1,000 boxes, 100 masks" if row["task"] == "detection" else "")
    assert round(found.params / 1e6) == int(row["params_M"])
    assert close(found.macs / 1e9, int(row["GFLOPs"])), found.macs / 1e9


@pytest.mark.parametrize("name", V2)
def test_parameters_and_flops_of_v2_are_the_published_ones(name: str) -> None:
    accuracy, params, gflops = V2[name]
    found = counted(name)
    assert params is None or round(found.params / 1e6) == params
    assert close(found.macs / 1e9, gflops), found.macs / 1e9
    row = TABLE[name]
    assert (row.published, row.published_params, row.published_gflops) == (accuracy, params, gflops)


@pytest.mark.parametrize("name", ALL)
def test_the_tables_counts_are_what_is_counted(name: str) -> None:
    found, row = counted(name), TABLE[name]
    assert row.measured_params == round(found.params / 1e6, 2)
    assert row.measured_gflops == round(found.macs / 1e9, 2)


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_tables_published_figures_are_the_authors(name: str) -> None:
    official, row = OFFICIAL[name], TABLE[name]
    assert row.method == official["method"]
    assert row.network == f"ConvNeXt-{official['arch']}"
    assert row.pretraining == {"in1k": "ImageNet-1K", "in22k": "ImageNet-22K"}[official["pretrain"]]
    pair = (float(official["box_AP_or_mIoU"]), float(official["mask_AP_or_mIoU_ms"]))
    assert pair == (row.miou or row.box_ap, row.miou_ms or row.mask_ap)
    assert row.published_params == int(official["params_M"])
    assert row.published_gflops == int(official["GFLOPs"])
    assert row.pretrained.address == official["backbone_weights"]
    assert row.fine_tuned == official["finetuned_weights"]


@pytest.mark.parametrize("name", ALL)
def test_a_configs_comment_says_what_the_table_says(name: str) -> None:
    row = TABLE[name]
    text = (config_root() / name).read_text()
    comment = " ".join(re.findall(r"^# ?(.*)$", text, re.MULTILINE))
    pretraining = row.pretraining.replace(" frozen", ", frozen")
    assert f"{row.method}, {row.network}, {pretraining}" in comment
    figures = {
        "AP": f"AP {row.published}",
        "mIoU": f"mIoU {row.miou}, multi-scale and flipped {row.miou_ms}",
        "ms": f"multi-scale mIoU {row.miou_ms}",
        "none": "nothing published",
    }
    kind = "mIoU" if row.miou else "ms" if row.miou_ms else "AP" if row.box_ap else "none"
    assert figures[kind] in comment


@pytest.mark.parametrize("name", OFFICIAL)
def test_backbone_is_the_published_one(name: str) -> None:
    row, backbone = OFFICIAL[name], load(name).model.backbone
    arch = resolve_arch(backbone.arch)
    assert "-".join(map(str, arch.depths)) == row["depths"]
    assert "-".join(map(str, arch.channels)) == row["channels"]
    assert backbone.drop_path_rate == float(row["drop_path"])
    assert backbone.layer_scale_init_value == float(row["layer_scale_init"])
    assert WEIGHTS[backbone.init_cfg.checkpoint].address == row["backbone_weights"]
    assert set(backbone) == {
        *("type", "arch", "drop_path_rate", "layer_scale_init_value", "init_cfg")
    }


@pytest.mark.parametrize("name", ALL)
def test_weights_are_for_the_network_that_starts_from_them(name: str) -> None:
    backbone = load(name).model.backbone
    weights = WEIGHTS[backbone.init_cfg.checkpoint]
    assert TABLE[name].weights == backbone.init_cfg.checkpoint
    assert (weights.arch, weights.use_grn) == (backbone.arch, backbone.get("use_grn", False))


@pytest.mark.parametrize("name", ALL)
def test_neck_and_heads_take_what_the_backbone_gives(name: str) -> None:
    model = load(name).model
    channels = list(ARCHS[model.backbone.arch].channels)
    if name in DETECTION:
        assert model.neck.in_channels == channels
    else:
        assert model.decode_head.in_channels == channels
        assert model.auxiliary_head.in_channels == channels[2]


def test_cascade_heads_are_four_convolutions_one_linear_with_giou() -> None:
    heads = load("detection/cascade_convnext_xl_in22k_coco.py").model.roi_head.bbox_head
    assert [head.bbox_coder.target_stds[0] for head in heads] == [0.1, 0.05, 0.033]
    for head in heads:
        assert (head.num_shared_convs, head.num_shared_fcs) == (4, 1)
        assert not head.reg_class_agnostic
        assert head.loss_bbox == dict(type="GIoULoss", loss_weight=10.0)
        assert head.norm_cfg.type == "SyncBN" and head.reg_decoded_bbox


@pytest.mark.parametrize("name", [n for n in ALL if "frozen" in n])
def test_a_frozen_backbone_trains_its_output_norms_only(name: str) -> None:
    backbone = build(name).backbone
    trained = {n.split(".")[0] for n, p in backbone.named_parameters() if p.requires_grad}
    assert trained == {"norm0", "norm1", "norm2", "norm3"}
    thawed = load(name.replace("_frozen", "")).model
    assert {**thawed.backbone, "frozen_stages": 4} == load(name).model.backbone


def test_v2_detection_pads_to_the_jittered_size_and_uses_soft_nms() -> None:
    model = load("detection/mask_rcnn_convnextv2_l_fcmae_coco.py").model
    assert model.backbone.use_grn and model.backbone.layer_scale_init_value == 0
    (pad,) = model.data_preprocessor.batch_augments
    assert (pad.type, pad.size, pad.pad_mask) == ("BatchFixedSizePad", (1024, 1024), True)
    assert model.test_cfg.rcnn.nms.type == "soft_nms"
    assert model.test_cfg.rpn.nms.type == "nms"
