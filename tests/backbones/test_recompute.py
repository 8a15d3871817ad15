"""Every way to train a block gives the gradients of its layers one by one; what each keeps."""

from __future__ import annotations

import copy
from itertools import product

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmconvnext.backbones import ConvNeXt, depthwise
from mmconvnext.backbones.block import Block
from mmconvnext.backbones.layers import add_dropping
from mmconvnext.backbones.mlp import chunks_pay

# Narrow stages go by chunks, wide ones layer by layer.
BOTH_WAYS = {"depths": [2, 1, 2, 1], "channels": [16, 32, 264, 288]}
MODES = (None, "activation", "mlp", "block")
KINDS = {
    "V1": {},
    "V2": {"use_grn": True},
    "convolutions": {"linear_pw_conv": False, "layer_scale_init_value": 0.0},
    "tanh": {"act_cfg": {"type": "GELU", "approximate": "tanh"}},
    "ReLU": {"act_cfg": {"type": "ReLU"}},
    "dilated": {"output_stride": 8},
}

VERSIONS = ("V1", "V2")


def network(recompute=None, arch=BOTH_WAYS, **options):
    torch.manual_seed(0)
    net = ConvNeXt(arch, recompute=recompute, **options)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "gamma" in name or "beta" in name:
                parameter.uniform_(0.3, 1)
    return net


def layer_by_layer(net):
    """The same network without any of our functions: nobody passes by a hook."""
    net = copy.deepcopy(net)
    for module in net.modules():
        if isinstance(module, Block):
            module.pwconv1.register_forward_hook(lambda *_: None)
            module.recompute = None
        if isinstance(module, depthwise.DepthwiseConv2d):
            module.forward = lambda x, conv=module: nn.Conv2d.forward(conv, x)
    return net


def step(net, image, seed=2):
    torch.manual_seed(seed)
    image = image.clone().requires_grad_()
    outs = net(image)
    # The square of what a norm gives hardly depends on the weights.
    sum((out * torch.randn(out.shape, dtype=out.dtype)).mean() for out in outs).backward()
    grads = {name: p.grad for name, p in net.named_parameters()} | {"image": image.grad}
    return outs, {name.removeprefix("module."): grad for name, grad in grads.items()}


def assert_same(found, expected, tolerance=1e-5):
    for ours, theirs in zip(found[0], expected[0], strict=True):
        assert (ours - theirs).norm() <= tolerance * theirs.norm()
    for name, theirs in expected[1].items():
        ours = found[1][name]
        assert (ours is None) == (theirs is None), name
        if theirs is not None:
            assert (ours - theirs).norm() <= tolerance * theirs.norm(), name


@pytest.mark.parametrize(("mode", "kind"), product(MODES, KINDS))
def test_gradients_are_those_of_the_layers(mode, kind):
    net = network(mode, drop_path_rate=0.4, **KINDS[kind])
    image = torch.randn(3, 3, 72, 104)  # in stage 1 more than one chunk of positions
    assert_same(step(net, image), step(layer_by_layer(net), image))


def test_narrow_blocks_go_by_chunks_and_wide_ones_do_not():
    net = network()
    block = net.stages[0][0]
    assert not chunks_pay(torch.ones(1, 16, 8, 8), nn.LayerNorm(16), block.act)  # not our norm
    assert chunks_pay(torch.ones(1, 16, 8, 8), block.norm, block.act)
    assert not chunks_pay(torch.ones(1, 288, 8, 8), net.stages[3][0].norm, block.act)


@pytest.mark.parametrize(("mode", "kind"), product(MODES, VERSIONS))
def test_under_autocast_the_gradients_are_those_of_the_layers(mode, kind):
    net = network(mode, drop_path_rate=0.4, **KINDS[kind])
    image = torch.randn(2, 3, 64, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = step(net, image)
        expected = step(layer_by_layer(net), image)
    # Folding layer scale rounds at another place: bf16 has 3 digits.
    assert_same(found, expected, tolerance=0.05)
    if mode is not None:
        plain = network(None, drop_path_rate=0.4, **KINDS[kind])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert_same(found, step(plain, image))


@pytest.mark.parametrize("mode", MODES)
def test_in_double_precision(mode):
    net = network(mode, drop_path_rate=0.4).double()
    image = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    assert_same(step(net, image), step(layer_by_layer(net), image), tolerance=1e-12)


@pytest.mark.parametrize(("mode", "kind"), product(MODES, VERSIONS))
def test_frozen_parameters_get_no_gradient_and_change_no_other(mode, kind):
    net = network(mode, frozen_stages=1, **KINDS[kind])
    for stage in net.stages[1:]:
        for block in stage:
            for frozen in (block.norm, block.pwconv1, block.dwconv):
                frozen.requires_grad_(False)
    found = step(net, torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert found[1]["stages.2.0.pwconv1.weight"] is None
    assert found[1]["stages.2.0.pwconv2.weight"] is not None
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert_same(found, step(layer_by_layer(net), image))


@pytest.mark.parametrize(("mode", "kind"), product(MODES, VERSIONS))
def test_compiled_the_gradients_are_the_same(mode, kind):
    """Compiled, drop path multiplies by zero: the same draws must drop the same samples."""
    torch._dynamo.reset()
    small = {"depths": [1, 2], "channels": [16, 264]}  # a narrow stage and a wide one
    net = network(mode, small, drop_path_rate=0.5, out_indices=(0, 1), **KINDS[kind])
    compiled = torch.compile(copy.deepcopy(net), backend="aot_eager", fullgraph=True)
    image = torch.randn(2, 3, 64, 64)
    (outs, grads), (_, expected) = step(compiled, image), step(net, image)
    assert len(outs) == 2
    for name, grad in expected.items():
        ours = grads["_orig_mod." + name] if name != "image" else grads[name]
        assert (ours - grad).norm() <= 1e-5 * grad.norm(), name


@pytest.mark.parametrize("kind", VERSIONS)
def test_under_ddp_every_parameter_gets_a_gradient_whatever_is_dropped(kind, tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        for mode in MODES:
            net = network(mode, drop_path_rate=0.9, **KINDS[kind])
            wrapped = DistributedDataParallel(copy.deepcopy(net))
            image = torch.randn(2, 3, 64, 64)
            found = step(wrapped, image)
            step(wrapped, image)  # fails where a gradient did not come
            wrapped.zero_grad()
            assert_same(found := step(wrapped, image), step(layer_by_layer(net), image))
            assert any(not grad.any() for grad in found[1].values())  # a block dropped for all
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("version", [1, 2])
def test_each_mode_keeps_less_and_as_much_as_it_says(version):
    kept = []
    for mode in MODES:
        net = ConvNeXt(
            {"depths": [3], "channels": [264]}, recompute=mode, use_grn=version == 2, out_indices=0
        )
        parameters = {p.untyped_storage().data_ptr() for p in net.parameters()}
        storages = {}

        def pack(tensor, storages=storages, parameters=parameters):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in parameters:
                storages[storage.data_ptr()] = storage  # held, so that no other takes its place
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            outs = net(torch.randn(1, 3, 64, 64))
        kept.append(sum(storage.nbytes() for storage in storages.values()))
        del outs
    width = 264 * 16 * 16 * 4  # bytes of one block's input
    if version == 1:
        for more, less, widths in ((0, 1, 5), (1, 2, 4), (2, 3, 1)):
            assert kept[more] - kept[less] == pytest.approx(3 * widths * width, rel=0.02)
    assert kept == sorted(kept, reverse=True)


def test_layers_that_somebody_replaced_or_watches_are_called():
    net = network("mlp")
    block = net.stages[2][0]
    seen = []
    block.pwconv2.register_forward_hook(lambda *_: seen.append("pwconv2"))

    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    other = net.stages[2][1]
    replaced = Doubled(264, 4 * 264)
    replaced.load_state_dict(other.pwconv1.state_dict())
    x = torch.randn(1, 264, 8, 8)
    before = other.branch(x)
    other.pwconv1 = replaced
    assert not torch.allclose(other.branch(x), before)
    block(x)
    assert seen == ["pwconv2"]


def test_replaced_layers_are_recomputed_too():
    """With LoRA and the like, saving memory must not stop in silence."""

    class Replaced(nn.Linear):
        pass

    calls = []
    net = ConvNeXt({"depths": [1], "channels": [16]}, recompute="block", out_indices=0)
    block = net.stages[0][0]
    block.pwconv1.__class__ = Replaced
    block.pwconv1.register_forward_hook(lambda *_: calls.append(1))
    found = step(net, torch.randn(1, 3, 32, 32))
    assert calls == [1, 1]
    block.recompute = None
    torch.manual_seed(0)
    image = torch.randn(1, 3, 32, 32)
    expected = step(net, image)
    block.recompute = "block"
    assert_same(step(net, image), expected)
    assert found[1]["stages.0.0.gamma"].any()


def test_norms_over_all_samples_see_all_samples():
    """BN of the kept samples alone would be another network's."""
    torch.manual_seed(0)
    arch = {"depths": [2], "channels": [16]}
    options = {"drop_path_rate": 0.9, "layer_scale_init_value": 100.0, "out_indices": 0}
    net = ConvNeXt(arch, norm_cfg={"type": "BN"}, **options)
    block = net.stages[0][1]
    x = torch.randn(4, 16, 8, 8)
    every = block.branch(x)
    assert not torch.allclose(block.branch(x[:2]), every[:2], atol=1e-3)
    torch.manual_seed(29)
    kept = (torch.rand(4) >= 0.9).float().view(4, 1, 1, 1)
    torch.manual_seed(29)
    expected = x + every * kept / (1 - 0.9)
    assert kept.any() and not kept.all()
    assert (block(x) - expected).norm() <= 1e-5 * expected.norm()


def test_dropped_samples_are_not_computed():
    seen = []

    def branch(x, factor):
        seen.append(x.shape[0])
        return factor * x

    x = torch.arange(1.0, 7).view(6, 1, 1, 1).expand(6, 2, 3, 3)
    torch.manual_seed(1)
    kept = torch.rand(6) >= 0.5
    torch.manual_seed(1)
    out = add_dropping(x, branch, 0.5, list)
    assert 0 < kept.sum() < 6 and seen == [int(kept.sum())]
    assert torch.equal(out, x * torch.where(kept, 3, 1).view(-1, 1, 1, 1))


def test_a_block_whose_samples_are_all_dropped_has_gradients_of_zero():
    net = ConvNeXt({"depths": [2], "channels": [16]}, out_indices=0, drop_path_rate=0.999).train()
    block = net.stages[0][1]
    block.norm.weight.requires_grad_(False)
    x = torch.randn(2, 16, 4, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    torch.manual_seed(0)
    out = block(x)
    assert torch.equal(out, x)
    out.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x)) and block.norm.weight.grad is None
    learning = [parameter for parameter in block.parameters() if parameter.requires_grad]
    assert len(learning) == 8
    assert all(not parameter.grad.any() for parameter in learning)


def test_with_cp_is_mmpretrains_name_for_block():
    net = ConvNeXt(BOTH_WAYS, with_cp=True)
    assert {block.recompute for stage in net.stages for block in stage} == {"block"}


def test_what_cannot_be_recomputed_is_refused():
    with pytest.raises(ValueError, match="recompute: expected one of None, 'activation', 'mlp'"):
        ConvNeXt(BOTH_WAYS, recompute="blocks")
    with pytest.raises(ValueError, match="norm_cfg: expected a norm without running statistics"):
        ConvNeXt(BOTH_WAYS, recompute="mlp", norm_cfg={"type": "BN"})
