from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from mmconvnext.backbones import ConvNeXt
from mmconvnext.optim import layer_rates

TINY = {"depths": [1, 1, 4, 1], "channels": [4, 4, 4, 8]}


def detector(device: str = "meta") -> nn.Module:
    with torch.device(device):
        return nn.ModuleDict({"backbone": ConvNeXt(arch=TINY), "head": nn.Conv2d(8, 3, 1)})


def wrapper(constructor: str | None = "mmconvnext.LayerDecayOptimWrapperConstructor", **paramwise):
    cfg = {
        "type": "AmpOptimWrapper",  # needs a GPU, which the rates do not
        "loss_scale": "dynamic",
        "optimizer": {"type": "AdamW", "lr": 1e-3, "weight_decay": 0.05},
        "paramwise_cfg": paramwise,
    }
    return cfg | ({"constructor": constructor} if constructor else {})


def test_each_layer_has_its_names_scale_and_decay():
    model = detector()
    found = layer_rates(model, wrapper(decay_rate=0.5))
    layers = [entry.layer for entry in found]
    assert layers == sorted(layers) and set(layers) == {0, 1, 2, 3, 4, 5, 6}
    for entry in found:
        assert entry.scale == pytest.approx(0.5 ** (6 - entry.layer))
        assert entry.rate == pytest.approx(1e-3 * entry.scale)
        assert entry.weight_decay == (
            0.05 if entry.group.endswith("_decay") and "no" not in entry.group else 0.0
        )
    of_head = {name for entry in found if entry.layer == 6 for name in entry.names}
    assert {"head.weight", "head.bias", "backbone.norm0.weight"} <= of_head
    names = [name for entry in found for name in entry.names]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert sum(entry.parameters for entry in found) == sum(p.numel() for p in model.parameters())


def test_other_constructors_have_rates_and_no_layers():
    cfg = wrapper(None, custom_keys={"head": {"lr_mult": 10.0, "decay_mult": 0.0}})
    body, head = sorted(layer_rates(detector(), cfg), key=lambda entry: entry.scale)
    assert (body.layer, body.scale, body.weight_decay) == (None, 1.0, 0.05)
    assert (head.scale, head.weight_decay, head.names) == (10.0, 0.0, ("head.weight", "head.bias"))


def test_mmdets_constructor_is_found_in_its_scope_and_has_layers():
    cfg = wrapper(
        "LearningRateDecayOptimizerConstructor",
        decay_rate=0.7,
        decay_type="layer_wise",
        num_layers=6,
    )
    found = layer_rates(detector(), cfg, scope="mmdet")
    assert {entry.layer for entry in found} == {0, 1, 2, 3, 4, 6, 7}  # 4 blocks of the 9 it takes
    assert found[-1].scale == 1.0 and found[0].scale == pytest.approx(0.7**7)


def test_frozen_parameters_are_left_out_and_nothing_is_logged(caplog):
    model = detector()
    model["head"].requires_grad_(False)
    with caplog.at_level(logging.INFO):
        found = layer_rates(model, wrapper(decay_rate=0.5))
    assert not [name for entry in found for name in entry.names if name.startswith("head")]
    assert not caplog.records and logging.root.manager.disable == logging.NOTSET


def test_an_optimizer_without_a_rate_is_named():
    with pytest.raises(ValueError, match=r"optim_wrapper.optimizer.lr: expected a number"):
        layer_rates(detector(), {"optimizer": {"type": "AdamW"}})
