"""Batches as a data loader would give them, of made-up pictures: what mmdet's and mmseg's models
take differs by kind, each kind has a function here."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from torch.nn import functional as F

from mmconvnext.adapt.walking import dicts
from mmconvnext.evaluation.annotations import Annotations, detection_annotations, semantic_classes

_PICTURES = 2
_BOXES = 4  # in each picture
_PROPOSALS = 20  # in each picture
_PHRASES = ("a cat", "the dog", "one bird")
_BRANCHES = ("sup", "unsup_teacher", "unsup_student")
_CELL = 32  # pixels: the maps are made of squares


def picture_size(cfg: Config, size: int) -> int:
    """``size`` in pixels, doubled until a detector that picks its queries among the places of four
    maps (strides 8 to 64) finds as many as it asks for. SSD's own: its last maps are small.
    """
    for node, _ in dicts(cfg.model):
        if str(node.get("type")).endswith("SSDAnchorGenerator") and "input_size" in node:
            return int(node["input_size"])
    queries = cfg.model.get("num_queries") or 0
    while sum((size // stride) ** 2 for stride in (8, 16, 32, 64)) < queries:
        size *= 2
    return size


def training_data(cfg: Config, model: BaseModel, size: int) -> dict[str, Any]:
    """A batch for ``model``'s data preprocessor, to train on."""
    if cfg.get("default_scope") == "mmseg":
        return _segmentation(cfg, size)
    from mmdet.models.detectors import SemiBaseDetector
    from mmdet.models.mot import BaseMOTModel, DeepSORT

    wanted = detection_annotations(cfg)
    if isinstance(model, SemiBaseDetector):
        branches = {name: _detection(wanted, model.student, size) for name in _BRANCHES}
        return {key: {name: branches[name][key] for name in _BRANCHES} for key in branches["sup"]}
    single_frames = getattr(model.data_preprocessor, "use_det_processor", False)
    if isinstance(model, BaseMOTModel) and not single_frames:
        # Where the detector alone learns, a frame is a picture.
        return _video(wanted, size, _PICTURES, frames=1 if isinstance(model, DeepSORT) else 2)
    return _reid(cfg) if _is_reid(model) else _detection(wanted, model, size)


def prediction_data(cfg: Config, model: BaseModel, size: int) -> dict[str, Any]:
    """A batch for ``model``'s data preprocessor, to predict from."""
    if cfg.get("default_scope") == "mmseg":
        return _segmentation(cfg, size)
    from mmdet.models.mot import BaseMOTModel

    wanted = detection_annotations(cfg)
    if isinstance(model, BaseMOTModel):
        return _video(wanted, size, videos=1, frames=2)  # one at a time is all that they take
    # Guided anchoring predicts for one picture at a time.
    return _reid(cfg) if _is_reid(model) else _detection(wanted, model, size, pictures=1)


def _detection(
    wanted: Annotations, model: BaseModel, size: int, pictures: int = _PICTURES
) -> dict[str, Any]:
    from mmdet.testing import demo_mm_inputs, demo_mm_proposals

    speaks = hasattr(model, "language_model")
    classes = min(wanted.classes, len(_PHRASES)) if speaks else wanted.classes
    data: dict[str, Any] = demo_mm_inputs(
        pictures,
        (3, size, size),
        num_items=[_BOXES] * pictures,
        # Its labels start at 1; they are brought into range below.
        num_classes=max(classes, wanted.semantic_classes, 2),
        with_mask=wanted.masks,
        with_semantic=wanted.semantic_classes > 0,
        texts=[" . ".join(_PHRASES)] * pictures if speaks else None,
        custom_entities=speaks,
    )
    takes_proposals = getattr(model, "with_roi_head", False) and not model.with_rpn
    proposals = demo_mm_proposals([(3, size, size)] * pictures, _PROPOSALS)
    for sample, proposed in zip(data["data_samples"], proposals, strict=True):
        sample.gt_instances.labels %= classes
        if wanted.semantic_classes:
            sample.gt_sem_seg.sem_seg %= wanted.semantic_classes
        if takes_proposals:
            sample.proposals = proposed
        # Semi-supervised learning maps boxes from one view to another by this.
        sample.set_metainfo({"homography_matrix": torch.eye(3).numpy()})
    return data


def _video(wanted: Annotations, size: int, videos: int, frames: int) -> dict[str, Any]:
    from mmdet.testing import demo_track_inputs

    data: dict[str, Any] = demo_track_inputs(
        videos,
        num_frames=frames,
        key_frames_inds=[0] if frames > 1 else None,
        image_shapes=(3, size, size),
        num_items=[_BOXES] * videos,
        num_classes=wanted.classes,
        with_mask=wanted.masks,
    )
    return data


def _is_reid(model: BaseModel) -> bool:
    from mmdet.models.reid import BaseReID

    return isinstance(model, BaseReID)


def _reid(cfg: Config) -> dict[str, Any]:
    """Pictures of two persons, two each."""
    from mmdet.structures import ReIDDataSample

    shape = (256, 128)  # what the pooling layers of these configs are made for
    samples = []
    for person in (0, 0, 1, 1):
        sample = ReIDDataSample().set_gt_label(person % cfg.model.head.num_classes)
        sample.set_metainfo({"img_shape": shape, "ori_shape": shape})
        samples.append(sample)
    return {"inputs": [_picture(shape) for _ in samples], "data_samples": samples}


def _segmentation(cfg: Config, size: int) -> dict[str, Any]:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    classes, samples = semantic_classes(cfg), []
    shape = (size, size)
    for _ in range(_PICTURES):
        sample = SegDataSample()
        sample.set_metainfo(
            {"img_shape": shape, "ori_shape": shape, "pad_shape": shape, "flip": False}
        )
        sample.gt_sem_seg = PixelData(data=_squares(shape, classes))
        sample.gt_edge_map = PixelData(data=_squares(shape, 2))
        sample.gt_depth_map = PixelData(data=_squares(shape, 8).float() + 1)
        samples.append(sample)
    channels = (cfg.model.get("backbone") or {}).get("in_channels", 3)
    return {"inputs": [_picture(shape, channels) for _ in samples], "data_samples": samples}


def _picture(shape: tuple[int, int], channels: int = 3) -> torch.Tensor:
    return torch.randint(256, (channels, *shape), dtype=torch.uint8)


def _squares(shape: tuple[int, int], classes: int) -> torch.Tensor:
    """A map of labels in squares: (1, H, W)."""
    cells = [max(side // _CELL, 1) for side in shape]
    labels = torch.randint(classes, (1, 1, *cells)).float()
    return F.interpolate(labels, size=shape, mode="nearest")[0].long()
