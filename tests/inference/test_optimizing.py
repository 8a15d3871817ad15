from __future__ import annotations

import copy

import pytest
import torch
from sample_networks import shaken
from torch import nn

import mmconvnext
from mmconvnext.backbones import ConvNeXt, pointwise
from mmconvnext.backbones.block import Block
from mmconvnext.inference import block as fused_block
from mmconvnext.inference import compile_backbones
from mmconvnext.inference.block import FusedBlock

SMALL = {"arch": {"depths": [1, 2, 2, 1], "channels": [8, 12, 16, 24]}}
VARIANTS = {
    "V1": {},
    "V2": {"use_grn": True},
    "no layer scale": {"layer_scale_init_value": 0.0},
    "convolutions": {"linear_pw_conv": False},
    "dilated": {"output_stride": 8},
    "V2 dilated": {"output_stride": 16, "use_grn": True},
    "some stages": {"out_indices": (1, 2)},
    "pooled": {"gap_before_final_norm": True},
    "another stem": {"in_channels": 5, "stem_patch_size": 2},
    "ReLU": {"act_cfg": {"type": "ReLU"}},
    "BatchNorm": {"norm_cfg": {"type": "BN"}},
    "norm without affine": {"norm_cfg": {"type": "LN2d", "elementwise_affine": False}},
    "eps": {"norm_cfg": {"type": "LN2d", "eps": 0.1}},
}


@torch.no_grad()
def assert_same(found, expected, tolerance=1e-5):
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape and ours.stride() == theirs.stride()
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("parts", ["whole", "by parts"])
@pytest.mark.parametrize("kernel", ["oneDNN", "plain"])
@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_computes_what_the_network_computes(options, kernel, parts, monkeypatch):
    if kernel == "plain":
        monkeypatch.setattr(pointwise, "_EAGER", None)
    if parts == "by parts":
        monkeypatch.setattr(fused_block, "_POSITIONS", 7)
    network = shaken(ConvNeXt(**SMALL, **options))
    fast = mmconvnext.optimize_for_inference(network)
    x = torch.randn(2, options.get("in_channels", 3), 77, 101)
    with torch.no_grad():
        assert_same(fast(x), network(x))
    kinds = {type(block) for stage in fast.stages for block in stage}
    assert kinds == {FusedBlock}


@pytest.mark.parametrize("use_grn", [False, True])
def test_tiny_differs_by_rounding_only(use_grn):
    network = shaken(ConvNeXt("tiny", use_grn=use_grn))
    x = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        assert_same(mmconvnext.optimize_for_inference(network)(x), network(x), 1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_stay(dtype):
    network = shaken(ConvNeXt(**SMALL)).to(dtype)
    x = torch.randn(1, 3, 64, 64, dtype=dtype)
    with torch.no_grad():
        found, expected = mmconvnext.optimize_for_inference(network)(x), network(x)
    assert {m.dtype for m in found} == {dtype}
    assert_same(found, expected, 1e-12 if dtype == torch.float64 else 0.1)


def test_what_was_folded_is_gone():
    fast = mmconvnext.optimize_for_inference(shaken(ConvNeXt(**SMALL, use_grn=True)))
    names = set(fast.state_dict())
    assert not any("gamma" in name and "grn" not in name for name in names)
    assert not any(".norm." in name or "beta" in name for name in names)
    assert not any(f"downsample_layers.{i}.0.weight" in names for i in (1, 2, 3))
    assert {"downsample_layers.0.1.weight", "norm0.weight", "norm3.bias"} <= names


def test_a_dilated_layer_keeps_its_norm():
    fast = mmconvnext.optimize_for_inference(shaken(ConvNeXt(**SMALL, output_stride=16)))
    names = set(fast.state_dict())
    assert "downsample_layers.3.0.weight" in names and "downsample_layers.2.0.weight" not in names


def test_the_original_stays_as_it_was():
    network = ConvNeXt(**SMALL).train()
    before = copy.deepcopy(network.state_dict())
    fast = mmconvnext.optimize_for_inference(network)
    assert fast is not network and type(network) is ConvNeXt and network.training
    assert isinstance(network.stages[0][0], Block)
    assert all(p.requires_grad for p in network.parameters())
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    ours = {p.data_ptr() for p in fast.parameters()}
    assert not ours & {p.data_ptr() for p in network.parameters()}


def test_in_place_takes_the_network_itself():
    network = shaken(ConvNeXt(**SMALL))
    assert mmconvnext.optimize_for_inference(network, inplace=True) is network
    assert isinstance(network.stages[0][0], FusedBlock)


def test_refuses_training_and_gives_no_gradients():
    fast = mmconvnext.optimize_for_inference(nn.ModuleDict({"backbone": ConvNeXt(**SMALL)}))
    with pytest.raises(RuntimeError, match="can only predict") as caught:
        fast.train()
    assert "\n" not in str(caught.value)
    assert not fast["backbone"].training
    assert fast.eval() is fast
    assert not any(p.requires_grad for p in fast.parameters())
    x = torch.randn(1, 3, 32, 32, requires_grad=True)
    assert not any(m.requires_grad for m in fast["backbone"](x))


def test_refuses_what_it_cannot_optimise():
    with pytest.raises(ValueError, match=r"ConvNeXt in it, found none in Linear"):
        mmconvnext.optimize_for_inference(nn.Linear(2, 2))
    fast = mmconvnext.optimize_for_inference(ConvNeXt(**SMALL))
    with pytest.raises(ValueError, match="optimised before"):
        mmconvnext.optimize_for_inference(fast)


def test_a_checkpoint_of_the_network_does_not_pass_for_one_of_the_fast_one():
    network = shaken(ConvNeXt(**SMALL))
    fast = mmconvnext.optimize_for_inference(network)
    with pytest.raises(RuntimeError, match=r"expand"):
        fast.load_state_dict(network.state_dict())
    again = mmconvnext.optimize_for_inference(ConvNeXt(**SMALL))
    again.load_state_dict(fast.state_dict())
    x = torch.randn(1, 3, 40, 40)
    assert_same(again(x), fast(x), 0)


def test_compiled_computes_the_same_at_all_sizes():
    network = shaken(ConvNeXt({"depths": [1, 1], "channels": [8, 12]}, out_indices=(0, 1)))
    fast = mmconvnext.optimize_for_inference(network)
    assert compile_backbones(nn.ModuleList([fast])) == 1
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    with torch.no_grad():
        for size in ((48, 64), (56, 40), (104, 72)):
            x = torch.randn(2, 3, *size)
            assert_same(fast(x), network(x))
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize("compiled", [False, True])
def test_under_autocast_it_finds_the_same(compiled):
    network = shaken(ConvNeXt(**SMALL))
    fast = mmconvnext.optimize_for_inference(network)
    if compiled:
        torch._dynamo.reset()
        fast = torch.compile(fast, backend="aot_eager", fullgraph=True)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for found, expected in zip(fast(x), network(x), strict=True):
            assert (found - expected).norm() <= 0.03 * expected.norm()


def test_compiled_other_sizes_need_no_other_program():
    """Of two and of three parts."""
    torch._dynamo.reset()
    network = shaken(ConvNeXt(**SMALL))
    fast = mmconvnext.optimize_for_inference(network).stages[0][0]
    compiled = torch.compile(fast, backend="aot_eager", fullgraph=True, dynamic=True)
    counters = torch._dynamo.utils.counters
    counters.clear()
    with torch.no_grad():
        for size in [(40, 42), (48, 47), (24, 70)]:
            x = torch.randn(1, 8, *size).contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(compiled(x), network.stages[0][0](x), rtol=1e-5, atol=1e-5)
    assert counters["stats"]["unique_graphs"] == 1
