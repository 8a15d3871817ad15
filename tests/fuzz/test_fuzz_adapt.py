"""Any config gets a ConvNeXt with which it builds and runs, or one line that says why not."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from budget import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from mm_configs import ABSURD, absurd, detectors, segmentors
from mmengine.config import Config

from mmconvnext.adapt import AdaptError, with_convnext
from mmconvnext.cli.models import build_on, build_without_memory

pytestmark = pytest.mark.filterwarnings(
    "ignore"
)  # mmdet's and mmseg's, of what they are built with
CHANNELS = [8, 16, 32, 64]
TINY = {"arch": {"depths": [1, 1, 1, 1], "channels": CHANNELS}}
SIDE = 64


@settings(max_examples=examples(10))
@given(cfg=segmentors() | detectors())
def test_a_config_whose_parts_fit_is_adapted_and_runs(cfg):
    before = Config(deepcopy(cfg))
    adapted = with_convnext(before, TINY, weights=None).config
    assert before._cfg_dict.to_dict() == cfg
    assert "mmconvnext" in adapted.custom_imports.imports
    model = build_on("cpu", adapted).eval()
    stages = adapted.model.backbone.out_indices
    with torch.no_grad():
        maps = model.backbone(torch.zeros(2, 3, SIDE, SIDE))
        outs = model(torch.zeros(2, 3, SIDE, SIDE), mode="tensor")
    assert [out.shape[1] for out in maps] == [CHANNELS[i] for i in stages]
    assert all(torch.is_tensor(out) for out in _flat(outs)) and len(_flat(outs)) > 0


def _flat(outs: Any) -> list[Any]:
    return [outs] if torch.is_tensor(outs) else [leaf for part in outs for leaf in _flat(part)]


@settings(max_examples=examples(25))
@given(cfg=absurd(segmentors() | detectors()), options=st.booleans())
def test_an_absurd_config_is_adapted_or_refused(cfg, options):
    try:
        before = Config(deepcopy(cfg))
    except Exception:  # mmengine's own refusal
        return
    plain = deepcopy(before._cfg_dict.to_dict())
    try:
        adapted = with_convnext(before, TINY, weights=None, keep_optimizer=options).config
    except AdaptError as error:
        assert str(error) and "\n" not in str(error)
        return
    finally:
        assert repr(before._cfg_dict.to_dict()) == repr(plain)  # NaN is not equal to itself
    try:
        build_without_memory(adapted)
    except Exception:
        # What adapting does not look at was wrong before.
        with pytest.raises(Exception):  # noqa: B017  (any, of whatever raises it)
            build_without_memory(before)


_arguments = st.dictionaries(
    st.sampled_from(["arch", "out_indices", "use_grn", "frozen_stages", "nonsense"]), ABSURD
)
_archs = st.fixed_dictionaries({"arch": st.fixed_dictionaries({"depths": ABSURD})}) | _arguments


@settings(max_examples=examples(8))
@given(cfg=detectors(), backbone=_archs | st.text(max_size=12))
def test_absurd_backbones_are_refused(cfg, backbone):
    try:
        adapted = with_convnext(Config(cfg), backbone, weights=None).config
    except AdaptError as error:
        assert str(error) and "\n" not in str(error)
        return
    assert isinstance(backbone, dict)
    assert adapted.model.backbone.type
