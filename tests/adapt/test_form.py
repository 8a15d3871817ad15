"""Parts of a config that are something else than mmengine takes are named; found by fuzzing."""

from __future__ import annotations

from typing import Any

import pytest
from mmengine.config import Config

from mmconvnext.adapt import AdaptError, with_convnext

TINY = {"arch": {"depths": [1, 1, 1, 1], "channels": [8, 16, 32, 64]}}


def small(**changed: Any) -> Config:
    """A segmentor that can be adapted, with parts of its model and of the config changed."""
    model: dict[str, Any] = {
        "type": "EncoderDecoder",
        "backbone": {"type": "ResNet", "depth": 18},
        "decode_head": {"type": "FCNHead", "in_channels": 512, "channels": 8, "num_classes": 3},
    }
    model |= changed.pop("model", {})
    return Config({"default_scope": "mmseg", "model": model, **changed})


def adapted(cfg: Config, backbone: Any = TINY) -> Config:
    return with_convnext(cfg, backbone, weights=None).config


def test_the_config_of_these_tests_is_sound():
    assert adapted(small()).model.decode_head.in_channels == 64


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"default_scope": 5}, "default_scope: expected a package's name, found 5"),
        ({"custom_imports": "abc"}, "custom_imports: expected a dict with the list imports"),
        ({"custom_imports": {}}, "custom_imports has no imports"),
        ({"custom_imports": {"imports": 1}}, "custom_imports.imports: expected a list of modules"),
        ({"optim_wrapper": [1]}, "optim_wrapper: expected a dict, found [1]"),
        ({"optim_wrapper": {"optimizer": "SGD"}}, "optim_wrapper.optimizer: expected a dict"),
        (
            {"optim_wrapper": {"optimizer": {"lr": "0.1"}}},
            "optim_wrapper.optimizer.lr: expected a number, found '0.1'",
        ),
        (
            {"optim_wrapper": {"paramwise_cfg": {"custom_keys": [1]}}},
            "optim_wrapper.paramwise_cfg.custom_keys: expected a dict, found [1]",
        ),
        ({"optim_wrapper": {"type": "X"}, "auto_scale_lr": 16}, "auto_scale_lr: expected a dict"),
        (
            {"data_preprocessor": {"type": "SegDataPreProcessor", "mean": 5.0}},
            "data_preprocessor.mean: expected a list of numbers, found 5.0",
        ),
        ({"model": {"neck": "FPN"}}, "model.neck: expected a dict, or a list of dicts"),
        ({"model": {"neck": []}}, "model.neck: expected dicts in the list, found []"),
        (
            {"model": {"neck": {"type": "FPN", "in_channels": ["a", 2]}}},
            "model.neck.in_channels: expected numbers in the list, found ['a', 2]",
        ),
        (
            {"model": {"neck": {"type": "FPN", "in_channels": [64], "start_level": "1"}}},
            "model.neck.start_level: expected the number of a level, from 0, found '1'; leave it "
            "out for 0",
        ),
        (
            {"model": {"backbone": {"type": "ResNet", "depth": 18, "frozen_stages": None}}},
            "model.backbone.frozen_stages: expected the number of frozen stages, -1 for none, "
            "found None; leave it out for -1",
        ),
        (
            {"model": {"backbone": {"type": "SwinTransformer", "out_indices": ()}}},
            "model.backbone (SwinTransformer) does not give feature maps",
        ),
        (
            {"model": {"backbone": {"type": "SwinTransformer", "img_size": "large"}}},
            "model.backbone (SwinTransformer) cannot be built, to see what it gives: ValueError",
        ),
    ],
)
def test_what_is_of_another_kind_is_named(changed, said):
    with pytest.raises(AdaptError) as error:
        adapted(small(**changed))
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("backbone", "said"),
    [
        ({"arch": "tinny"}, "arch: expected one of atto"),
        ({"arch": {"depths": 3, "channels": [8]}}, "arch['depths']: expected a list of positive"),
        ({"arch": {"depths": [1, 1], "channels": [8, 16]}}, "arch: expected 4 stages"),
    ],
)
def test_archs_that_take_no_backbones_place_are_named(backbone, said):
    with pytest.raises(AdaptError) as error:
        adapted(small(), backbone)
    assert said in str(error.value)


def test_modules_whose_names_have_ours_in_them_are_not_ours():
    cfg = adapted(small(custom_imports={"imports": "my_mmconvnext_heads"}))
    assert cfg.custom_imports.imports == ["mmconvnext", "my_mmconvnext_heads"]


def test_the_order_of_out_indices_does_not_matter():
    """ResNet gives its maps in the order of its stages, whatever that of the indices."""
    model = {"backbone": {"type": "ResNet", "depth": 18, "out_indices": (3, 1, 1)}}
    model["decode_head"] = {"type": "FCNHead", "in_channels": 128, "in_index": 0, "channels": 8}
    cfg = adapted(small(model=model | {"decode_head": model["decode_head"] | {"num_classes": 3}}))
    assert cfg.model.backbone.out_indices == (1, 3)
    assert cfg.model.decode_head.in_channels == 16


def test_heads_with_odd_indices_are_left_alone():
    odd = {"type": "FCNHead", "in_channels": [512], "in_index": ["a"], "channels": 8}
    cfg = adapted(small(model={"auxiliary_head": odd}))
    assert cfg.model.auxiliary_head.in_channels == [512]
