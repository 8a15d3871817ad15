"""Memory layout, input sizes, dilation, mixed precision, compilation, checkpointing, freezing."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mmconvnext.backbones import ConvNeXt
from mmconvnext.backbones.layers import GRN, PointwiseConv2d, add_dropping

SMALL = {"depths": [2, 1, 3, 2], "channels": [8, 16, 24, 40]}
TINIEST = {"depths": [1, 1, 1, 1], "channels": [8, 16, 24, 40]}


def network(seed=0, arch=SMALL, **options):
    """A small network whose weights are large enough for every block to matter."""
    torch.manual_seed(seed)
    net = ConvNeXt(arch, **options)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "gamma" in name or "beta" in name:
                parameter.uniform_(0.3, 1)
    return net


def relative_difference(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm()).item()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("linear_pw_conv", [True, False])
def test_memory_is_channels_last_inside_and_plain_outside_whatever_comes_in(
    version, linear_pw_conv
):
    net = network(use_grn=version == 2, linear_pw_conv=linear_pw_conv, output_stride=16)
    seen = []

    def check(module, args, out):
        for tensor in (*args, out):
            if not isinstance(module, inside_mlp):
                tensor = tensor.permute(0, 2, 3, 1)
            seen.append(tensor.is_contiguous())

    inside_mlp = (nn.Linear, nn.GELU, GRN, PointwiseConv2d)  # these work on (N, H, W, C)
    for module in net.modules():
        if isinstance(module, (*inside_mlp, nn.Conv2d, nn.LayerNorm)):
            module.register_forward_hook(check)
    image = torch.randn(2, 3, 64, 96)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        for out in net(image.to(memory_format=memory_format)):
            assert out.is_contiguous()
    assert len(seen) > 100
    assert all(seen)


def test_a_transposed_view_as_input_gives_the_same_as_its_copy():
    net = network()
    view = torch.randn(2, 3, 96, 64).transpose(2, 3)
    for out, expected in zip(net(view), net(view.contiguous()), strict=True):
        torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (63, 95), (50, 129)])
def test_any_size_from_32_gives_maps_of_the_stride_rounded_down(size):
    height, width = size
    outs = network()(torch.randn(1, 3, height, width))
    expected = []
    for channels, stride in zip(SMALL["channels"], (4, 2, 2, 2), strict=True):
        height, width = height // stride, width // stride
        expected.append((1, channels, height, width))
    assert [tuple(out.shape) for out in outs] == expected


@pytest.mark.parametrize("size", [(31, 64), (64, 31)])
def test_an_input_below_32_is_refused_with_both_sizes(size):
    with pytest.raises(ValueError, match=rf"input: expected at least 32x32.*{size[0]}x{size[1]}"):
        network()(torch.randn(1, 3, *size))


@pytest.mark.parametrize("output_stride", [16, 8])
def test_dilated_outputs_at_the_strided_grid_equal_the_strided_networks(output_stride):
    strided, dilated = network(), network(output_stride=output_stride)
    dilated.load_state_dict(strided.state_dict(), strict=True)
    image = torch.randn(1, 3, 128, 160)
    for stride, out, expected in zip((4, 8, 16, 32), dilated(image), strided(image), strict=True):
        step = max(1, stride // output_stride)
        assert out.shape[2:] == (128 * step // stride, 160 * step // stride)
        assert relative_difference(out[..., ::step, ::step], expected) < 1e-5


def test_dilated_outputs_of_odd_sizes_equal_the_strided_networks_away_from_the_border():
    # One block a stage: what a position of the last map sees reaches less than 4 of its cells.
    strided, dilated = network(arch=TINIEST), network(arch=TINIEST, output_stride=8)
    dilated.load_state_dict(strided.state_dict(), strict=True)
    image = torch.randn(1, 3, 429, 395)
    ours, theirs = dilated(image)[3], strided(image)[3]
    assert ours.shape[2:] == (429 // 8, 395 // 8)
    assert theirs.shape[2:] == (13, 12)
    inside = (..., slice(0, 7), slice(0, 6))
    assert relative_difference(ours[..., ::4, ::4][inside], theirs[inside]) < 1e-5


def test_output_stride_32_is_the_undilated_network():
    image = torch.randn(1, 3, 70, 64)
    for out, expected in zip(network(output_stride=32)(image), network()(image), strict=True):
        assert torch.equal(out, expected)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_stays_near_full_precision_forward_and_backward(version, dtype):
    net = network(use_grn=version == 2, drop_path_rate=0.3)
    image = torch.randn(2, 3, 64, 64)
    results = []
    for enabled in (False, True):
        torch.manual_seed(3)
        with torch.autocast("cpu", dtype=dtype, enabled=enabled):
            outs = net(image)
        # The square of what a norm gives hardly depends on the weights.
        loss = sum((out.float() * torch.randn(out.shape)).mean() for out in outs)
        results.append((outs, torch.autograd.grad(loss, list(net.parameters()))))
    (outs, grads), (half_outs, half_grads) = results
    for half, full in zip(half_outs, outs, strict=True):
        assert relative_difference(half.float(), full) < 0.03
    everything = [torch.cat([grad.flatten() for grad in part]) for part in (half_grads, grads)]
    assert relative_difference(*everything) < 0.05


@pytest.mark.parametrize(("version", "with_cp"), [(1, False), (2, True)])
def test_compiles_to_one_graph_with_equal_outputs_and_gradients(version, with_cp):
    torch._dynamo.reset()
    net = network(arch=TINIEST, use_grn=version == 2, with_cp=with_cp, output_stride=16)
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    image = torch.randn(2, 3, 64, 64)
    results = []
    for forward in (net, compiled):
        outs = forward(image)
        grads = torch.autograd.grad(sum(out.square().mean() for out in outs), net.parameters())
        results.append((*outs, *grads))
    for eager, graph in zip(*results, strict=True):
        torch.testing.assert_close(graph, eager, rtol=1e-4, atol=1e-6)


def test_compiles_to_one_graph_with_drop_path_and_frozen_stages():
    torch._dynamo.reset()
    net = network(drop_path_rate=0.5, frozen_stages=1)
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    image = torch.randn(4, 3, 64, 64)
    torch.manual_seed(4)
    expected = net(image)
    torch.manual_seed(4)
    for out, eager in zip(compiled(image), expected, strict=True):
        torch.testing.assert_close(out, eager)


def test_drop_path_depends_on_the_seed_alone():
    net = network(drop_path_rate=0.5)
    image = torch.randn(4, 3, 32, 32)

    def last_map(seed):
        torch.manual_seed(seed)
        return net(image)[3]

    assert torch.equal(last_map(1), last_map(1))
    assert not torch.equal(last_map(1), last_map(2))


def test_drop_path_keeps_the_expected_share_and_the_mean():
    torch.manual_seed(0)
    zeros = torch.zeros(20_000, 2, 1, 1)
    out = add_dropping(zeros, lambda x, factor: x + factor, 0.3, list)
    assert set(out.unique().tolist()) == {0.0, torch.tensor(1 / 0.7).item()}
    assert torch.equal(out[:, 0], out[:, 1])  # per sample
    assert out.mean().item() == pytest.approx(1, abs=0.02)


def test_drop_path_rates_rise_linearly_from_zero_to_the_given_rate():
    net = network(drop_path_rate=0.7)
    rates = [block.drop_path_rate for stage in net.stages for block in stage]
    assert rates == pytest.approx([0.1 * i for i in range(8)])


def test_frozen_stages_get_no_gradient_and_stay_in_eval_mode_after_train():
    net = network(frozen_stages=2, drop_path_rate=0.5, norm_cfg={"type": "BN"})
    frozen = ("downsample_layers.0", "downsample_layers.1", "stages.0", "stages.1")

    def check():
        for name, parameter in net.named_parameters():
            assert parameter.requires_grad != name.startswith(frozen), name

    check()
    assert net.train() is net
    check()
    for name, module in net.named_modules():
        assert module.training != name.startswith(frozen), name
    before = copy.deepcopy(net.state_dict())
    sum(out.square().mean() for out in net(torch.randn(2, 3, 64, 64))).backward()
    for name, parameter in net.named_parameters():
        assert (parameter.grad is None) == name.startswith(frozen), name
    for name, value in net.state_dict().items():
        if "running_mean" in name:
            assert torch.equal(value, before[name]) == name.startswith(frozen), name
    assert not any(module.training for module in net.eval().modules())


def test_stages_behind_the_last_output_are_not_computed():
    net = network(out_indices=(0, 1))
    calls = []
    net.stages[2].register_forward_hook(lambda *_: calls.append(2))
    net.stages[1].register_forward_hook(lambda *_: calls.append(1))
    assert len(net(torch.randn(1, 3, 32, 32))) == 2
    assert calls == [1]


def test_a_network_can_be_built_without_memory_on_the_meta_device():
    with torch.device("meta"):
        net = ConvNeXt("huge", use_grn=True, drop_path_rate=0.3)
    assert {parameter.device.type for parameter in net.parameters()} == {"meta"}
    assert net.stages[3][2].drop_path_rate == pytest.approx(0.3)
