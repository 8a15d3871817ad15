"""Strategies of mm configs: models whose parts fit each other, and what may stand there instead."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple

from hypothesis import strategies as st

# Channels of each stage's map, by the packages' own tables.
BASIC, BOTTLENECK = (64, 128, 256, 512), (256, 512, 1024, 2048)


class Backbone(NamedTuple):
    """A backbone's arguments, and the channels of the maps that it gives."""

    cfg: dict[str, Any]
    channels: tuple[int, ...]


Draw = Callable[[Any], Any]
_norms = st.sampled_from([{"type": "BN"}, {"type": "SyncBN"}, {"type": "BN", "eps": 0.001}])


@st.composite
def _resnets(draw: Draw, scope: str) -> Backbone:
    depth = draw(st.sampled_from([18, 34, 50]))
    kinds = ["ResNet", "ResNetV1d"] + ["ResNetV1c"] * (scope == "mmseg")
    cfg: dict[str, Any] = {"type": draw(st.sampled_from(kinds)), "depth": depth}
    if depth == 50:
        kinds = [cfg["type"], "ResNeXt"] + ["Res2Net"] * (scope == "mmdet")
        kind = draw(st.sampled_from(kinds))
        cfg["type"] = kind
        if kind == "ResNeXt":
            cfg |= {"groups": 32, "base_width": 4}
        elif kind == "Res2Net":
            cfg |= {"scales": 4, "base_width": 26}
    channels = BOTTLENECK if depth == 50 else BASIC
    indices = draw(_indices(4))
    if draw(st.booleans()):  # dilated
        cfg |= {"strides": (1, 2, 1, 1), "dilations": (1, 1, 2, 4)}
    cfg |= {"out_indices": indices, "frozen_stages": draw(st.integers(-1, 4))}
    if draw(st.booleans()):
        cfg |= {"norm_cfg": draw(_norms), "norm_eval": draw(st.booleans())}
    return Backbone(cfg, tuple(channels[i] for i in indices))


@st.composite
def _swins(draw: Draw) -> Backbone:
    indices = draw(_indices(4))
    cfg = {"type": "SwinTransformer", "embed_dims": 12, "depths": (1, 1, 1, 1)}
    cfg |= {"num_heads": (1, 2, 3, 4), "out_indices": indices, "drop_path_rate": 0.1}
    return Backbone(cfg, tuple(12 * 2**i for i in indices))


@st.composite
def _mobilenets(draw: Draw, scope: str) -> Backbone:
    """Their indices count what lies between maps, too."""
    channels = {1: 24, 2: 32, 4: 96, 6: 320}
    indices = tuple(sorted(draw(st.sets(st.sampled_from(sorted(channels)), min_size=1))))
    return Backbone(
        {"type": "MobileNetV2", "out_indices": indices}, tuple(channels[i] for i in indices)
    )


@st.composite
def _indices(draw: Draw, stages: int) -> tuple[int, ...]:
    return tuple(sorted(draw(st.sets(st.integers(0, stages - 1), min_size=1))))


def backbones(scope: str) -> st.SearchStrategy[Backbone]:
    """Those whose place a ConvNeXt can take."""
    return _resnets(scope) | _swins() | _mobilenets(scope)


@st.composite
def _segmentors_head(draw: Draw, channels: tuple[int, ...], several: bool) -> dict[str, Any]:
    head = {"channels": 8, "num_classes": 3, "norm_cfg": draw(_norms)}
    if several and len(channels) > 1 and draw(st.booleans()):
        order = draw(st.permutations(range(len(channels))))
        return head | {
            "type": "FCNHead",
            "input_transform": "resize_concat",
            "in_index": list(order),
            "in_channels": [channels[i] for i in order],
        }
    index = draw(st.integers(-len(channels), len(channels) - 1))
    head |= {"type": "FCNHead", "num_convs": draw(st.integers(1, 2)), "in_index": index}
    if index == -1 and draw(st.booleans()):
        del head["in_index"]
    return head | {"in_channels": channels[index]}


@st.composite
def segmentors(draw: Draw) -> dict[str, Any]:
    """A config of mmseg."""
    backbone = draw(backbones("mmseg"))
    channels = backbone.channels
    model: dict[str, Any] = {"type": "EncoderDecoder", "backbone": backbone.cfg}
    if draw(st.booleans()):
        count = len(channels) + draw(st.integers(0, 1))
        model["neck"] = {"type": "FPN", "in_channels": list(channels), "out_channels": 8}
        model["neck"]["num_outs"] = count
        channels = (8,) * count
    model["decode_head"] = draw(_segmentors_head(channels, several=True))
    if draw(st.booleans()):
        model["auxiliary_head"] = draw(_segmentors_head(channels, several=False))
    model |= {"train_cfg": {}, "test_cfg": {"mode": "whole"}}
    if draw(st.booleans()):
        model["pretrained"] = "open-mmlab://resnet50_v1c"
    return {"default_scope": "mmseg", "model": model, **draw(_around("SegDataPreProcessor"))}


@st.composite
def detectors(draw: Draw) -> dict[str, Any]:
    """A config of mmdet, with one stage."""
    backbone = draw(backbones("mmdet"))
    channels = backbone.channels
    levels = len(channels)
    kind = draw(st.sampled_from(["FPN", "ChannelMapper", "several"]))
    outs = levels + draw(st.integers(0, 2))
    neck: Any = {"type": kind, "in_channels": list(channels), "out_channels": 8, "num_outs": outs}
    if kind == "ChannelMapper":
        neck["kernel_size"] = 1
    elif kind == "several":
        neck["type"] = "FPN"
        refining = {"type": "BFP", "in_channels": 8, "num_levels": outs, "refine_level": 0}
        neck = [neck, refining]
    elif draw(st.booleans()):
        start = draw(st.integers(0, levels - 1))
        neck |= {"start_level": start, "add_extra_convs": "on_input"}
    head = {"type": "RetinaHead", "num_classes": 3, "in_channels": 8, "feat_channels": 8}
    head["stacked_convs"] = 1
    generator = {"type": "AnchorGenerator", "octave_base_scale": 4, "scales_per_octave": 1}
    head["anchor_generator"] = generator | {"ratios": [1.0], "strides": [8] * outs}
    model = {"type": "RetinaNet", "backbone": backbone.cfg, "neck": neck, "bbox_head": head}
    return {"default_scope": "mmdet", "model": model, **draw(_around("DetDataPreprocessor"))}


@st.composite
def _around(draw: Draw, preprocessor: str) -> dict[str, Any]:
    """What a config has beside its model."""
    cfg: dict[str, Any] = {}
    if draw(st.booleans()):
        mean = draw(st.sampled_from([[0.0] * 3, [103.53, 116.28, 123.675]]))
        cfg["data_preprocessor"] = {"type": preprocessor, "mean": mean, "std": [1.0] * 3}
    if draw(st.booleans()):
        keys = {"backbone": {"lr_mult": 0.1}, "head": {"lr_mult": 10.0}, "norm": {"decay_mult": 0}}
        cfg["optim_wrapper"] = {
            "type": "OptimWrapper",
            "optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9},
            "paramwise_cfg": draw(st.sampled_from([None, {}, {"custom_keys": keys}])),
        }
        poly = {"type": "PolyLR", "eta_min": draw(st.sampled_from([0, 1e-4])), "by_epoch": False}
        cfg["param_scheduler"] = draw(st.sampled_from([[poly], poly, []]))
        cfg["auto_scale_lr"] = {"base_batch_size": draw(st.sampled_from([16, 64]))}
    if draw(st.booleans()):
        imports = draw(st.sampled_from(["other", ["other"], ("a", "mmconvnext"), []]))
        cfg["custom_imports"] = {"imports": imports}
    return cfg


ABSURD = (
    st.sampled_from([None, "", "abc", "4", -1, 0, 1, 7, 100, 0.5, float("nan"), True])
    | st.sampled_from([[], [1], [None], ["a", 2], [1, 2, 3, 4, 5], (0, 1, 2, 3), [{}], [[]]])
    | st.sampled_from([{}, {"type": "Nothing"}, {"type": None}, {1: 2}])
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to everything inside ``node``."""
    if isinstance(node, dict):
        items = list(node.items())
    elif isinstance(node, (list, tuple)):
        items = list(enumerate(node))
    else:
        items = []
    return [way for key, value in items for way in ((*path, key), *places(value, (*path, key)))]


def put(node: Any, path: tuple[Any, ...], value: Any, gone: bool) -> Any:
    """``node`` with ``value`` at ``path``, or nothing there."""
    if not path:
        return value
    changed = dict(node) if isinstance(node, dict) else list(node)
    if len(path) == 1 and gone:
        del changed[path[0]]
    else:
        changed[path[0]] = put(changed[path[0]], path[1:], value, gone)
    return tuple(changed) if isinstance(node, tuple) else changed


@st.composite
def absurd(draw: Draw, sound: Any) -> Any:
    """``sound`` with up to three of its parts replaced or gone."""
    cfg = deepcopy(draw(sound))
    for _ in range(draw(st.integers(1, 3))):
        ways = places(cfg)
        if ways:
            gone = draw(st.booleans())
            cfg = put(cfg, draw(st.sampled_from(ways)), None if gone else draw(ABSURD), gone)
    return cfg
