"""Which detectors and segmentors can be exported: those whose every step is known here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmconvnext.export.errors import ExportError

_ROI_HEADS = ("StandardRoIHead", "CascadeRoIHead")


def check_detector(model: Any) -> None:
    """Check that ``model`` is one of mmdet's plain two-stage detectors.

    Raises:
        ExportError: a part of it works in another way.
    """
    for part in _unknown_parts(model):
        raise ExportError(
            "model: expected Mask R-CNN, Cascade Mask R-CNN, or one of both without masks, found "
            f"{_name(model)} with {part}; --part backbone exports its backbone"
        )


def check_segmentor(model: Any) -> None:
    """Check that ``model`` is a plain ``EncoderDecoder`` of mmseg.

    Raises:
        ExportError: it is not, or its head has a way of its own to predict.
    """
    from mmseg.models.decode_heads.decode_head import BaseDecodeHead
    from mmseg.models.segmentors import CascadeEncoderDecoder, EncoderDecoder

    head = getattr(model, "decode_head", None)
    plain = (
        isinstance(model, EncoderDecoder)
        and not isinstance(model, CascadeEncoderDecoder)
        and isinstance(head, BaseDecodeHead)
        and type(head).predict_by_feat is BaseDecodeHead.predict_by_feat
    )
    if not plain:
        raise ExportError(
            "model: expected mmseg's EncoderDecoder with a head that predicts as BaseDecodeHead "
            f"does, found {_name(model)} with {_name(head)}; --part backbone exports its backbone"
        )


def _unknown_parts(model: Any) -> Iterator[str]:
    rpn: Any = getattr(model, "rpn_head", None)
    head: Any = getattr(model, "roi_head", None)
    if _name(rpn) != "RPNHead" or not rpn.use_sigmoid_cls:
        yield f"RPN head {_name(rpn)}"
        return
    if _name(head) not in _ROI_HEADS or head.with_shared_head:
        yield f"RoI head {_name(head)}"
        return
    if _name(rpn.prior_generator) != "AnchorGenerator":
        yield f"anchors of {_name(rpn.prior_generator)}"
    for rule in (rpn.test_cfg.nms, head.test_cfg.nms):
        if rule.get("type", "nms") != "nms":
            yield f"suppression {rule.type}"
    boxes, masks = stages(head.bbox_head), stages(head.mask_head) if head.with_mask else []
    for part in (rpn, *boxes):
        if _name(part.bbox_coder) != "DeltaXYWHBBoxCoder" or part.bbox_coder.add_ctr_clamp:
            yield f"box coder {_name(part.bbox_coder)}"
    yield from (f"box head {_name(part)}" for part in boxes if _of_its_own(part))
    yield from (f"mask head {_name(part)}" for part in masks if _name(part) != "FCNMaskHead")
    extractors = stages(head.bbox_roi_extractor)
    extractors += stages(head.mask_roi_extractor) if masks else []
    for extractor in extractors:
        layers = extractor.roi_layers
        plain = all(_name(layer) == "RoIAlign" and layer.pool_mode == "avg" for layer in layers)
        if _name(extractor) != "SingleRoIExtractor" or not plain:
            yield f"RoI extractor {_name(extractor)} of {_name(layers[0])}"


def _of_its_own(box_head: Any) -> bool:
    """Whether it scores in another way than by softmax, or finds no boxes."""
    return bool(box_head.custom_cls_channels) or not box_head.with_reg


def stages(part: Any) -> list[Any]:
    """A cascade's parts; of a head with one stage, that alone."""
    return list(part) if hasattr(part, "__iter__") else [part]


def _name(part: Any) -> str:
    return "none" if part is None else type(part).__name__
