"""Counted parameters and operations against sums by hand and mmengine's own counter."""

from __future__ import annotations

import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

from mmconvnext import ConvNeXt
from mmconvnext.evaluation.complexity import Part, count_complexity

SHAPE = (64, 96)


class Plain(nn.Module):
    """A model with a shared layer, a part that inference leaves out, and work of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Conv2d(4, 2, 1)
        self.second_head = self.head
        self.auxiliary_head = nn.Conv2d(4, 5, 1)
        self.scale = nn.Parameter(torch.ones(2))

    def forward(self, image: Tensor, data_samples: object, mode: str) -> Tensor:
        assert mode == "tensor" and data_samples is None
        features = self.backbone(image)
        mixed = self.head.forward(features)  # not a call of the module: hooks do not see it
        return self.head(features) + mixed + self.scale[0]


def test_parts_by_hand() -> None:
    pixels = SHAPE[0] * SHAPE[1]
    found = count_complexity(Plain(), SHAPE)
    assert found.parts == (
        Part("backbone", 3 * 4 * 9 + 4, pixels * 3 * 4 * 9),
        Part("head", 4 * 2 + 2, pixels * 8),
        Part("auxiliary_head", 4 * 5 + 5, 0),
        Part("elsewhere", 2, pixels * 8),
    )
    assert found.params == sum(p.numel() for p in Plain().parameters())
    assert found.macs == pixels * (108 + 8 + 8)
    assert found.rois == ""


def tiny(kind: str, **changes: object) -> nn.Module:
    arch = dict(depths=[1, 1, 1, 1], channels=[8, 16, 24, 32])
    cfg = Config.fromfile(f"mmconvnext::{kind}")
    cfg.model.backbone.arch = arch
    cfg.merge_from_dict(changes)
    init_default_scope(cfg.default_scope)
    return MODELS.build(cfg.model)


def test_backbone_is_told_stage_by_stage_and_agrees_with_mmengines_counter() -> None:
    model = tiny(
        "segmentation/upernet_convnext_t_ade20k_512.py",
        **{
            "model.decode_head.in_channels": [8, 16, 24, 32],
            "model.auxiliary_head.in_channels": 24,
            "model.decode_head.norm_cfg.type": "BN",
            "model.auxiliary_head.norm_cfg.type": "BN",
        },
    )
    parts = {part.name: part for part in count_complexity(model, SHAPE).parts}
    assert [*parts] == [
        *(f"backbone stage {i}" for i in (1, 2, 3, 4)),
        *("decode_head", "auxiliary_head"),
    ]
    assert parts["auxiliary_head"].macs == 0
    backbone = ConvNeXt(arch=dict(depths=[1, 1, 1, 1], channels=[8, 16, 24, 32])).eval()
    theirs = get_model_complexity_info(backbone, (3, *SHAPE), show_table=False, show_arch=False)
    ours = [part for name, part in parts.items() if name.startswith("backbone")]
    # Without the norms, which theirs counts too: five operations a value (mmengine's own rule).
    norms = 0
    for i, channels in enumerate((8, 16, 24, 32)):
        values = channels * (SHAPE[0] // (4 * 2**i)) * (SHAPE[1] // (4 * 2**i))
        before_next = values if i < 3 else 0
        norms += values * 2 + before_next + (values if i == 0 else 0)  # block, output, downsample
    assert sum(part.macs for part in ours) == theirs["flops"] - 5 * norms
    assert sum(part.params for part in ours) == sum(p.numel() for p in backbone.parameters())


def test_two_stage_heads_get_a_fixed_number_of_rois_on_any_device() -> None:
    name = "detection/mask_rcnn_convnext_t_coco.py"
    changes = {
        "model.neck.in_channels": [8, 16, 24, 32],
        "model.neck.out_channels": 8,
        "model.rpn_head.in_channels": 8,
        "model.rpn_head.feat_channels": 8,
        "model.roi_head.bbox_roi_extractor.out_channels": 8,
        "model.roi_head.bbox_head.in_channels": 8,
        "model.roi_head.bbox_head.fc_out_channels": 16,
        "model.roi_head.mask_roi_extractor.out_channels": 8,
        "model.roi_head.mask_head.in_channels": 8,
        "model.roi_head.mask_head.conv_out_channels": 8,
    }
    found = count_complexity(tiny(name, **changes), SHAPE)
    with torch.device("meta"):
        on_meta = count_complexity(tiny(name, **changes), SHAPE)
    assert found == on_meta
    parts = {part.name: part for part in found.parts}
    # Two shared linear layers, class scores and class-wise boxes, for 1,000 RoIs of 7x7.
    assert parts["roi_head.bbox_head"].macs == 1000 * (8 * 49 * 16 + 16 * 16 + 16 * 81 + 16 * 320)
    # Four convolutions at 14x14, one upsampling to 28x28, masks of 80 classes, for 100 RoIs.
    upsampling = 14 * 14 * 8 * 8 * 4
    masks = 4 * 14 * 14 * 8 * 8 * 9 + upsampling + 28 * 28 * 8 * 80
    assert parts["roi_head.mask_head"].macs == 100 * masks


def test_heads_that_need_real_proposals_run_on_the_cpu_only() -> None:
    def htc() -> nn.Module:
        cfg = Config.fromfile("mmdet::htc/htc-without-semantic_r50_fpn_1x_coco.py")
        cfg.merge_from_dict({"model.test_cfg.rpn.max_per_img": 5, "model.backbone.init_cfg": None})
        init_default_scope("mmdet")
        return MODELS.build(cfg.model)

    with torch.device("meta"):
        model = htc()
    with pytest.raises(NotImplementedError, match="HybridTaskCascadeRoIHead needs real proposals"):
        count_complexity(model, SHAPE)
    found = count_complexity(htc(), SHAPE)
    assert found.rois == "those that the untrained model proposed"
    box_heads = [part.macs for part in found.parts if "bbox_head" in part.name]
    per_roi = 256 * 49 * 1024 + 1024 * 1024 + 1024 * (81 + 4)
    assert box_heads == [5 * per_roi] * 3
