"""Small models to export, built in a moment, and what mmdet and mmseg find with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from sample_models import CONFIGS
from sample_networks import shaken

from mmconvnext.adapt.norms import plain_batch_norm
from mmconvnext.inference.building import build_model

SEGMENTOR = CONFIGS["detection"].with_name("upernet_convnext_shapes.py")


def cascade(**head: Any) -> Config:
    """Cascade Mask R-CNN of the demo; ``head``: of each box head."""
    cfg = Config.fromfile(CONFIGS["detection"])
    for box_head in cfg.model.roi_head.bbox_head:
        box_head.update(head)
    return cfg


def mask_rcnn() -> Config:
    """Mask R-CNN of the same size, with a box for each class."""
    cfg = cascade(reg_class_agnostic=False)
    head = cfg.model.roi_head
    head.type, head.bbox_head = "StandardRoIHead", head.bbox_head[0]
    for name in ("num_stages", "stage_loss_weights"):
        head.pop(name)
    cfg.model.type = "MaskRCNN"
    cfg.model.train_cfg.rcnn = cfg.model.train_cfg.rcnn[0]
    return cfg


def faster_rcnn() -> Config:
    """The same without masks, on sides that are multiples of nothing."""
    cfg = mask_rcnn()
    cfg.model.type = "FasterRCNN"
    cfg.model.roi_head.pop("mask_head"), cfg.model.roi_head.pop("mask_roi_extractor")
    cfg.model.data_preprocessor.pad_size_divisor = 1
    return cfg


def segmentor() -> Config:
    """UperNet of the demo."""
    return Config.fromfile(SEGMENTOR)


def built(cfg: Config) -> Any:
    """The model, with weights that find something."""
    plain_batch_norm(cfg.model)
    torch.manual_seed(0)
    return shaken(build_model(cfg)).eval()


def found_by_mmdet(model: Any, x: torch.Tensor, size: tuple[int, int], divisor: int) -> Any:
    """What mmdet finds in ``x``, which a picture of ``size`` was resized to."""
    from mmdet.structures import DetDataSample

    height, width = x.shape[2:]
    padded = torch.nn.functional.pad(x, (0, -width % divisor, 0, -height % divisor))
    meta = {
        "img_shape": (height, width),
        "ori_shape": size,
        "pad_shape": tuple(padded.shape[2:]),
        "scale_factor": (width / size[1], height / size[0]),
    }
    with torch.no_grad():
        return model.predict(padded, [DetDataSample(metainfo=meta)])[0].pred_instances


def found_by_mmseg(model: Any, x: torch.Tensor, size: tuple[int, int]) -> Any:
    """The class of each pixel that mmseg finds: (N, H, W)."""
    from mmseg.structures import SegDataSample

    model.test_cfg = ConfigDict(mode="whole")
    meta = {"img_shape": x.shape[2:], "ori_shape": size, "pad_shape": x.shape[2:]}
    with torch.no_grad():
        samples = model.predict(x, [SegDataSample(metainfo=dict(meta)) for _ in x])
    return torch.cat([sample.pred_sem_seg.data for sample in samples])


def mask_rcnn_of_cascade(checkpoint: Path, folder: Path) -> tuple[str, str]:
    """Config and checkpoint of the Mask R-CNN in a trained cascade: its first stage alone."""
    cfg = mask_rcnn()
    cfg.model.roi_head.bbox_head.reg_class_agnostic = True
    cfg.dump(folder / "mask_rcnn.py")
    content = torch.load(checkpoint, weights_only=False)
    weights = {}
    for name, value in content["state_dict"].items():
        part, _, rest = name.partition("_head.0.")
        if rest:
            name = f"{part}_head.{rest}"
        if not any(f"_head.{stage}." in name for stage in (1, 2)):
            weights[name] = value
    torch.save({"meta": {}, "state_dict": weights}, folder / "mask_rcnn.pth")
    return str(folder / "mask_rcnn.py"), str(folder / "mask_rcnn.pth")
