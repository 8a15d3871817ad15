"""Detectors and segmentors that differ in their backbone alone, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from mmconvnext.benchmarks.published import CASCADE, MASK_RCNN, UPERNET
from mmconvnext.compat.config_root import config_root
from mmconvnext.inference.building import build_model

# By the words of the command line.
METHODS = {"mask-rcnn": MASK_RCNN, "cascade": CASCADE, "upernet": UPERNET}
# Heads and necks of the authors' recipes, which are those of the Swin authors.
_RECIPES = {
    MASK_RCNN: "detection/mask_rcnn_convnext_t_coco.py",
    CASCADE: "detection/cascade_convnext_t_coco.py",
    UPERNET: "segmentation/upernet_convnext_t_ade20k_512.py",
}
_TIMM = "timm:"  # before a name that timm has
_STRIDES = (4, 8, 16, 32)
PROPOSALS = 100  # for timing: more would be a head's benchmark

Backbone = tuple[dict[str, Any], list[int]]  # its settings, and channels of its four maps


class NoPyramidError(ValueError):
    """A network cannot stand in a detector or segmentor; the message says why."""


@dataclass(frozen=True)
class Network:
    """A backbone: how it is shown, what it is a kind of, its settings in a method."""

    name: str
    family: str
    backbone: Callable[[str], Backbone]


def network(word: str) -> Network:
    """The network by its word on the command line.

    Raises:
        KeyError: there is none.
    """
    if word.startswith(_TIMM) and len(word) > len(_TIMM):
        name = word.removeprefix(_TIMM)
        return Network(f"{name} (timm)", "timm", lambda method: _timm(name))
    return NETWORKS[word]


def config_of(method: str, wanted: Network, crop: int = 512) -> Config:
    """The config of ``method`` (a value of ``METHODS``) with a backbone.

    mmseg's own UPerHead for all: our faster one would be no property of the backbone.

    Raises:
        NoPyramidError: the backbone gives none, or what it needs is not installed.
    """
    settings, channels = wanted.backbone(method)
    cfg = Config.fromfile(config_root() / _RECIPES[method])
    cfg.model.backbone = settings
    if method == UPERNET:
        cfg.model.decode_head.update(type="UPerHead", in_channels=channels)
        cfg.model.auxiliary_head.update(in_channels=channels[2])
        cfg.model.test_cfg = {"mode": "whole"}
        cfg.model.data_preprocessor.size = (crop, crop)
    else:
        cfg.model.neck.in_channels = channels
        cfg.model.test_cfg.rpn.max_per_img = PROPOSALS
    return cfg


def build_empty(cfg: Config) -> nn.Module:
    """``cfg``'s model on the meta device: no numbers, no memory."""
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return build_model(cfg)
        except (RuntimeError, NotImplementedError):  # Swin's constructor looks at numbers
            return build_model(cfg).to("meta")


def build_random(cfg: Config) -> nn.Module:
    """``cfg``'s model for predicting, with random weights; the random state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_model(cfg).eval()


def _convnext(arch: str, width: int, grn: bool = False) -> Callable[[str], Backbone]:
    settings = {"type": "mmconvnext.ConvNeXt", "arch": arch, "use_grn": grn}
    settings["layer_scale_init_value"] = 0.0 if grn else 1.0
    return lambda method: (settings, _doubling(width))


def _swin(width: int, depth: int) -> Callable[[str], Backbone]:
    settings = {
        "type": "SwinTransformer",
        "embed_dims": width,
        "depths": (2, 2, depth, 2),
        "num_heads": tuple(channels // 32 for channels in _doubling(width)),
        "window_size": 7,
    }
    return lambda method: (settings, _doubling(width))


def _resnet(depth: int, **groups: int) -> Callable[[str], Backbone]:
    settings: dict[str, Any] = {"type": "ResNeXt" if groups else "ResNet", "depth": depth, **groups}

    def backbone(method: str) -> Backbone:
        if method != UPERNET:
            return settings | {"norm_cfg": {"type": "BN"}}, _doubling(256)
        # mmseg's UperNet has the ResNet with three convolutions for a stem.
        kind = settings["type"] if groups else "ResNetV1c"
        return settings | {"type": kind, "norm_cfg": {"type": "SyncBN"}}, _doubling(256)

    return backbone


def _doubling(width: int) -> list[int]:
    return [width, 2 * width, 4 * width, 8 * width]


def _timm(name: str) -> Backbone:
    """mmseg's wrapper of timm's features, for those maps that have a pyramid's strides."""
    try:
        import mmseg.models  # noqa: F401
        import timm
    except ModuleNotFoundError as error:
        raise NoPyramidError(
            f"{error.name} is not installed; `pip install {error.name}` gives this row"
        ) from error
    if not timm.is_model(name):
        raise NoPyramidError(f"timm {timm.__version__} has no network of that name")
    try:
        features: Any = timm.create_model(name, features_only=True, pretrained=False)
    except (RuntimeError, AttributeError) as error:
        raise NoPyramidError(f"timm gives no maps of it: {error}") from error
    info = features.feature_info
    strides = info.reduction()
    if not set(_STRIDES) <= set(strides):
        found = ", ".join(str(stride) for stride in sorted(set(strides)))
        raise NoPyramidError(f"no pyramid: its maps have stride {found}, expected 4, 8, 16 and 32")
    indices = [len(strides) - 1 - strides[::-1].index(stride) for stride in _STRIDES]
    settings = {
        "type": "mmseg.TIMMBackbone",
        "model_name": name,
        "pretrained": False,
        "out_indices": tuple(indices),
    }
    return settings, [info.channels()[i] for i in indices]


NETWORKS: dict[str, Network] = {
    "resnet50": Network("ResNet-50", "ResNet", _resnet(50)),
    "resnet101": Network("ResNet-101", "ResNet", _resnet(101)),
    "resnext101-32x4d": Network(
        "ResNeXt-101-32x4d", "ResNeXt", _resnet(101, groups=32, base_width=4)
    ),
    "resnext101-64x4d": Network(
        "ResNeXt-101-64x4d", "ResNeXt", _resnet(101, groups=64, base_width=4)
    ),
    "swin-t": Network("Swin-T", "Swin", _swin(96, 6)),
    "swin-s": Network("Swin-S", "Swin", _swin(96, 18)),
    "swin-b": Network("Swin-B", "Swin", _swin(128, 18)),
    "swin-l": Network("Swin-L", "Swin", _swin(192, 18)),
    "convnext-t": Network("ConvNeXt-T", "ConvNeXt", _convnext("tiny", 96)),
    "convnext-s": Network("ConvNeXt-S", "ConvNeXt", _convnext("small", 96)),
    "convnext-b": Network("ConvNeXt-B", "ConvNeXt", _convnext("base", 128)),
    "convnext-l": Network("ConvNeXt-L", "ConvNeXt", _convnext("large", 192)),
    "convnext-xl": Network("ConvNeXt-XL", "ConvNeXt", _convnext("xlarge", 256)),
    "convnextv2-b": Network("ConvNeXt V2-B", "ConvNeXt V2", _convnext("base", 128, grn=True)),
    "convnextv2-l": Network("ConvNeXt V2-L", "ConvNeXt V2", _convnext("large", 192, grn=True)),
    "convnextv2-h": Network("ConvNeXt V2-H", "ConvNeXt V2", _convnext("huge", 352, grn=True)),
}
# Up to the size B: what a laptop's memory holds side by side.
DEFAULT = (
    *("resnet50", "resnet101", "resnext101-32x4d", "resnext101-64x4d"),
    *("swin-t", "swin-s", "swin-b", "convnext-t", "convnext-s", "convnext-b", "convnextv2-b"),
    *("timm:tf_efficientnetv2_s", "timm:tf_efficientnetv2_m"),
    *("timm:vit_base_patch16_224", "timm:deit_base_patch16_224"),
)
