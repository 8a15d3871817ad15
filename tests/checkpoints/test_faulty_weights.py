"""What a checkpoint may have where weights belong is named, whatever its kind; found by fuzzing."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from sample_checkpoints import FCMAE, error_of, foreign, network

from mmconvnext.checkpoints.loading import find_weights, load_pretrained_backbone

KERNEL = "stages.0.0.dwconv.weight"
POINTWISE = "stages.0.0.pwconv1.weight"
STEM = "downsample_layers.0.0.weight"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (KERNEL, torch.tensor(1.0), "of another network"),
        (POINTWISE, torch.tensor(1.0), f"of another shape ({POINTWISE} ()"),
        (POINTWISE, torch.zeros(0, 4), f"of another shape ({POINTWISE} (0, 4)"),
        (STEM, torch.zeros(4), f"of another shape ({STEM} (4,)"),
        (STEM, torch.zeros(4, 0, 4, 4), f"of another shape ({STEM} (4, 0, 4, 4)"),
        (STEM, torch.zeros(4, 3, 4, 4, dtype=torch.complex64), f"missing from it ({STEM})"),
        (STEM, torch.zeros(4, 3, 4, 4).to_sparse(), f"missing from it ({STEM})"),
        (STEM, torch.zeros(4, 3, 4, 4, device="meta"), f"missing from it ({STEM})"),
    ],
)
def test_no_weight_is_named(name, value, said, save):
    file = save(network().state_dict() | {name: value})
    assert said in error_of(load_pretrained_backbone, network(1), file)


@pytest.mark.parametrize("shape", [(), (0,), (5, 4), (4,), (2, 2, 2, 2)])
def test_no_kernel_of_a_sparse_network_is_named(shape, save):
    weights = foreign(network(use_grn=True).state_dict(), FCMAE)
    file = save(weights | {"stages.0.0.dwconv.kernel": torch.zeros(shape)})
    said = error_of(load_pretrained_backbone, network(1, use_grn=True), file)
    assert KERNEL in said or "of another network" in said


def test_names_that_are_no_text_are_not_the_networks(save):
    native = network().state_dict()
    net = network(1)
    load_pretrained_backbone(net, save({0: torch.ones(2), (1, 2): torch.ones(1), **native}))
    for name, value in net.state_dict().items():
        assert torch.equal(value, native[name])
    said = error_of(load_pretrained_backbone, network(1), save({0: torch.ones(2)}))
    assert "found no tensors" in said


def test_names_that_are_no_text_do_not_spoil_an_error():
    with pytest.raises(ValueError, match=r"found 0, 1\.5"):
        find_weights({0: torch.ones(1), 1.5: 2}, ema=True)


@pytest.mark.parametrize("versions", [None, 1, ["a"], {"": None, 5: {"version": 1}}])
def test_odd_versions_of_layers_are_left_out(versions, save):
    weights = OrderedDict(network().state_dict())
    vars(weights)["_metadata"] = versions
    report = load_pretrained_backbone(network(1), save(weights))
    assert report.loaded
