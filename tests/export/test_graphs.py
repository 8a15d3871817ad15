"""Graphs that are exported, run by PyTorch, against mmdet's and mmseg's own prediction."""

from __future__ import annotations

import pytest
import torch
from sample_exports import (
    built,
    cascade,
    faster_rcnn,
    found_by_mmdet,
    found_by_mmseg,
    mask_rcnn,
    segmentor,
)

from mmconvnext.export.detector import DetectorGraph
from mmconvnext.export.errors import ExportError
from mmconvnext.export.graphs import build_graph
from mmconvnext.export.preparation import read_preparation
from mmconvnext.export.runner import paste
from mmconvnext.export.segmentor import SegmentorGraph
from mmconvnext.export.supported import check_detector, check_segmentor


@pytest.mark.parametrize("make", [cascade, mask_rcnn, faster_rcnn])
@pytest.mark.parametrize("resized", [False, True])
def test_a_detector_finds_what_mmdet_finds(make, resized):
    cfg = make()
    model, divisor = built(cfg), cfg.model.data_preprocessor.pad_size_divisor
    check_detector(model)
    x = torch.randn(1, 3, 97, 130)
    size = (61, 100) if resized else (97, 130)
    expected = found_by_mmdet(model, x, size, divisor)
    with torch.no_grad():
        boxes, scores, labels, *masks = DetectorGraph(model, divisor)(x, size if resized else None)
    assert len(scores) > 3 and (make is faster_rcnn or len(masks) == 1)
    torch.testing.assert_close(boxes, expected.bboxes, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(scores, expected.scores, rtol=1e-4, atol=1e-5)
    assert labels.tolist() == expected.labels.tolist()
    for cells, box, mask in zip(*masks, boxes, getattr(expected, "masks", ()), strict=False):
        pasted = paste(cells.numpy(), box.tolist(), size, 0.5)
        # Where interpolation gives the threshold itself, rounding decides.
        assert (pasted != mask.numpy()).mean() < 1e-3


def test_a_detector_that_finds_nothing_gives_empty_tensors():
    cfg = mask_rcnn()
    cfg.model.test_cfg.rcnn.score_thr = 1.0
    with torch.no_grad():
        found = DetectorGraph(built(cfg), 32)(torch.randn(1, 3, 64, 64))
    assert [tuple(tensor.shape) for tensor in found] == [(0, 4), (0,), (0,), (0, 28, 28)]


@pytest.mark.parametrize("size", [None, (50, 130)])
def test_a_segmentor_finds_what_mmseg_finds(size):
    model = built(segmentor())
    check_segmentor(model)
    x = torch.randn(2, 3, 75, 98)
    with torch.no_grad():
        logits, classes = SegmentorGraph(model)(x, size)
        expected = model.decode_head(model.extract_feat(x))
    torch.testing.assert_close(logits, expected)
    assert torch.equal(classes.long(), found_by_mmseg(model, x, size or (75, 98)))


def test_one_class_alone_is_told_by_its_threshold():
    cfg = segmentor()
    cfg.model.decode_head.update(num_classes=2, out_channels=1, threshold=0.4)
    cfg.model.decode_head.loss_decode = dict(type="mmseg.CrossEntropyLoss", use_sigmoid=True)
    model = built(cfg)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        logits, _ = SegmentorGraph(model)(x)
        model.decode_head.conv_seg.bias -= logits.mean()
        _, classes = SegmentorGraph(model)(x)
    assert 0 < classes.float().mean() < 1
    assert torch.equal(classes.long(), found_by_mmseg(model, x, (64, 64)))


@pytest.mark.parametrize("make", [mask_rcnn, segmentor])
@pytest.mark.parametrize("part", ["model", "backbone"])
def test_what_is_exported_is_folded_and_the_model_stays(make, part):
    cfg = make()
    model = built(cfg)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    task = "detection" if make is mask_rcnn else "segmentation"
    settings = read_preparation(cfg)
    graph = build_graph(model, task, settings, part=part, preprocessing="outside")
    names = {type(module).__name__ for module in graph.modules()}
    assert "FusedBlock" in names and "Block" not in names
    assert not {"BatchNorm2d", "AdaptiveAvgPool2d"} & names
    whole = ("boxes", "scores", "labels", "masks") if make is mask_rcnn else ("logits", "classes")
    assert graph.outputs == (whole if part == "model" else tuple(f"stage_{n}" for n in range(1, 5)))
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    x = graph.example(1, (64, 96)).normal_()
    with torch.no_grad():
        expected = model.backbone(x)
        network = graph.network if part == "backbone" else graph.network.model
        found = network.backbone(x)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda m: m.roi_head.update(type="PISARoIHead"), "RoI head PISARoIHead"),
        (
            lambda m: m.roi_head.bbox_roi_extractor.roi_layer.update(pool_mode="max"),
            "RoI extractor SingleRoIExtractor of RoIAlign",
        ),
        (
            lambda m: m.test_cfg.rcnn.update(nms=dict(type="soft_nms", iou_threshold=0.5)),
            "suppression soft_nms",
        ),
        (
            lambda m: m.rpn_head.anchor_generator.update(
                type="LegacyAnchorGenerator", center_offset=0.5
            ),
            "anchors of LegacyAnchorGenerator",
        ),
        (
            lambda m: m.roi_head.mask_head.update(type="CoarseMaskHead"),
            "mask head CoarseMaskHead",
        ),
    ],
)
def test_parts_that_work_in_another_way_are_named(change, part):
    cfg = mask_rcnn()
    change(cfg.model)
    with pytest.raises(ExportError, match=f"found MaskRCNN with {part}; --part backbone"):
        check_detector(built(cfg))


def test_other_detectors_and_segmentors_are_named():
    with pytest.raises(ExportError, match="found Linear with RPN head none"):
        check_detector(torch.nn.Linear(1, 1))
    with pytest.raises(ExportError, match="found Linear with none"):
        check_segmentor(torch.nn.Linear(1, 1))
