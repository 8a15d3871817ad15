"""One config of every family that mmdet and mmseg ship: adapted, trained a step, and predicting."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from mmengine.config import Config

from mmconvnext.adapt import AdaptError, with_convnext
from mmconvnext.adapt.walking import dicts
from mmconvnext.cli.configs import load_config
from mmconvnext.cli.coverage import PACKAGES, shipped_configs
from mmconvnext.cli.errors import UsageError
from mmconvnext.cli.trial import TINY, _mark, backbone_kind, is_usual
from mmconvnext.evaluation.one_step import try_model

# What other packages stand in the way of, and how they say it.
BERT = "mmdet's language models need transformers < 5"
OUTSIDE = {
    "clrnet": (
        r"neck.in_channels=\[256, 512, 1024\] does not fit",
        "onedl's; its neck leaves out a map of the backbone, of which its config says nothing",
    ),
    "deepsort": ("mmpretrain", "its re-identification network is mmpretrain's"),
    "reid": ("mmpretrain", "its network is mmpretrain's"),
    "glip": (r"object.__init__\(\) takes exactly one argument", BERT),
    "grounding_dino": ("has no attribute batch_encode_plus", BERT),
    "mm_grounding_dino": ("has no attribute batch_encode_plus", BERT),
}
if sys.version_info < (3, 11):
    OLD = "the test requirements leave out what has no wheels for Python 3.10"
    OUTSIDE |= {"boxinst": ("skimage", OLD), "paa": ("sklearn", OLD), "lad": ("sklearn", OLD)}


def families() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for package in PACKAGES:
        for name, family in shipped_configs(package):
            found.setdefault(f"{package}-{family}", []).append(name)
    return found


FAMILIES = families()
# Each takes long, together half of the time of all; `make quick` has their like among the others.
LONG = {
    *("double_heads", "grid_rcnn", "groie", "htc", "legacy_1.x", "masktrack_rcnn", "ms_rcnn"),
    *("qdtrack", "sabl", "scnet", "seesaw_loss", "queryinst", "sparse_rcnn"),
    *("dyhead", "ld", "lad", "nas_fcos", "tood", "vfnet", "solo", "solov2"),
    *("ddq", "mask2former", "mask2former_vis", "apcnet", "fastfcn"),
    *("deepfashion", "gn", "gn+ws", "hrnet", "lvis", "simple_copy_paste"),
}
# How much is looked at, not how: what these settings are larger than makes a trial only longer.
FEWER = {
    **{"num_queries": 100, "num_proposals": 20, "max_per_img": 20, "num_classes": 200},
    # Widths inside of heads, which nothing else has to fit.
    **{"fc_out_channels": 128, "feedforward_channels": 256},
}


@pytest.fixture(autouse=True)
def one_thread():
    """More help little with maps this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def first_adapted(names: Iterable[str]) -> Config:
    """Of the configs with a backbone that a ConvNeXt replaces, the first in which it can."""
    error: Exception | None = None
    for name in names:
        try:
            cfg = load_config(name, {})
        except UsageError:  # mmdet ships some that nobody can read
            continue
        if cfg.get("model") and is_usual(backbone_kind(cfg.model)):
            try:
                return with_convnext(cfg, TINY, weights=None).config
            except AdaptError as refused:  # a C4, say
                error = error or refused
    if error is not None:
        raise error
    pytest.skip("has no ResNet, ResNeXt, Res2Net or Swin backbone")


def with_fewer(cfg: Config) -> Config:
    fewer = dict(FEWER)
    if "feat_relay_head" in repr(cfg.model):  # SCNet's: it reads what those layers give
        del fewer["fc_out_channels"]
    for node, _ in dicts(cfg.model):
        for name, most in fewer.items():
            if isinstance(node.get(name), int):
                node[name] = min(node[name], most)
    return cfg


_found: dict[str, Exception | None] = {}


def try_once(cfg: Config) -> None:
    """Tries a model, once a process: some families' first configs have equal ones."""
    mark = _mark(cfg)
    if mark not in _found:
        try:
            try_model(cfg)
            _found[mark] = None
        except Exception as error:
            _found[mark] = error
    if (error := _found[mark]) is not None:
        raise error


def marked(family: str) -> Any:
    long = family.partition("-")[2] in LONG
    return pytest.param(family, marks=[pytest.mark.slow] if long else [])


@pytest.mark.parametrize("family", map(marked, FAMILIES))
def test_a_config_of_each_family(family):
    outside = OUTSIDE.get(family.partition("-")[2])
    try:
        try_once(with_fewer(first_adapted(FAMILIES[family])))
    except Exception as error:
        if outside is None or not re.search(outside[0], str(error)):
            raise
        pytest.skip(outside[1])
