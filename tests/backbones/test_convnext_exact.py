"""The network against the papers' blocks, written down plainly: every output, every gradient."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmconvnext.backbones import ConvNeXt
from mmconvnext.backbones.layers import GRN

DEPTHS, CHANNELS = [2, 1, 3, 1], [8, 16, 24, 40]
SMALL = {"depths": DEPTHS, "channels": CHANNELS}
OUTPUT_NORMS = ("norm0", "norm1", "norm2", "norm3")


class ChannelsFirstNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class PaperGRN(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, channels))

    def forward(self, x):
        gx = x.pow(2).sum((1, 2), keepdim=True).sqrt()
        nx = gx / (gx.mean(-1, keepdim=True) + 1e-6)
        return self.gamma * (x * nx) + self.beta + x


class PaperBlock(nn.Module):
    def __init__(self, channels, rate, version):
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, kernel_size=7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)
        if version == 1:
            self.gamma = nn.Parameter(1e-6 * torch.ones(channels))
        else:
            self.grn = PaperGRN(4 * channels)
        self.version, self.rate = version, rate

    def forward(self, x):
        shortcut = x
        x = self.dwconv(x)
        x = x.permute(0, 2, 3, 1)
        x = self.norm(x)
        x = self.pwconv1(x)
        x = F.gelu(x)
        if self.version == 2:
            x = self.grn(x)
        x = self.pwconv2(x)
        if self.version == 1:
            x = self.gamma * x
        x = x.permute(0, 3, 1, 2)
        if self.training and self.rate > 0:
            for sample, number in enumerate(torch.rand(len(x)).tolist()):
                kept = number >= self.rate
                x = x.clone()
                x[sample] = x[sample] / (1 - self.rate) if kept else 0 * x[sample]
        return shortcut + x


class PaperNetwork(nn.Module):
    def __init__(self, version, drop_path_rate=0.0):
        super().__init__()
        rates = [drop_path_rate * i / (sum(DEPTHS) - 1) for i in range(sum(DEPTHS))]
        stem = nn.Sequential(nn.Conv2d(3, CHANNELS[0], 4, 4), ChannelsFirstNorm(CHANNELS[0]))
        self.downsample_layers = nn.ModuleList([stem])
        for before, after in pairwise(CHANNELS):
            self.downsample_layers.append(
                nn.Sequential(ChannelsFirstNorm(before), nn.Conv2d(before, after, 2, 2))
            )
        self.stages = nn.ModuleList()
        for depth, channels in zip(DEPTHS, CHANNELS, strict=True):
            blocks = [PaperBlock(channels, rates.pop(0), version) for _ in range(depth)]
            self.stages.append(nn.Sequential(*blocks))
        for name, channels in zip(OUTPUT_NORMS, CHANNELS, strict=True):
            self.add_module(name, ChannelsFirstNorm(channels))

    def forward(self, x):
        outs = []
        for downsample, stage, name in zip(
            self.downsample_layers, self.stages, OUTPUT_NORMS, strict=True
        ):
            x = stage(downsample(x))
            outs.append(getattr(self, name)(x))
        return outs


def shake(network):
    """Weights at which every parameter matters, so that no gradient is trivially small."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1 and "grn" not in name:
                fan_in = parameter[0].numel()
                parameter.copy_(noise / fan_in**0.5)
            else:
                parameter.copy_(0.5 + 0.3 * noise)


def gradients(network, image, seed=0):
    image = image.clone().requires_grad_()
    torch.manual_seed(seed)
    outs = network(image)
    generator = torch.Generator().manual_seed(9)
    loss = sum((out * torch.randn(out.shape, generator=generator)).mean() for out in outs)
    names, parameters = zip(*network.named_parameters(), strict=True)
    grads = torch.autograd.grad(loss, (image, *parameters))
    return outs, dict(zip(("image", *names), grads, strict=True))


def relative_difference(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm()).item()


def assert_same_step(ours, paper, image, seed=0):
    our_outs, our_grads = gradients(ours, image, seed)
    outs, grads = gradients(paper, image, seed)
    assert [out.shape for out in our_outs] == [out.shape for out in outs]
    for our_out, out in zip(our_outs, outs, strict=True):
        assert relative_difference(our_out, out) < 1e-5
    assert our_grads.keys() == grads.keys()
    for name, grad in grads.items():
        assert grad.norm() > 0, name
        assert relative_difference(our_grads[name], grad) < 1e-5, name


def paper_and_ours(version, drop_path_rate=0.0, **options):
    paper = PaperNetwork(version, drop_path_rate)
    shake(paper)
    ours = ConvNeXt(SMALL, use_grn=version == 2, drop_path_rate=drop_path_rate, **options)
    ours.load_state_dict(paper.state_dict(), strict=True)
    return paper, ours


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", [(64, 96), (75, 101)])
def test_outputs_and_gradients_equal_the_papers(version, training, size):
    paper, ours = paper_and_ours(version)
    image = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    assert_same_step(ours.train(training), paper.train(training), image)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("with_cp", [False, True])
def test_drop_path_equals_the_papers_on_the_same_random_numbers(version, with_cp):
    paper, ours = paper_and_ours(version, drop_path_rate=0.6, with_cp=with_cp)
    image = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    # With seed 2 each block keeps some sample: no gradient is zero.
    assert_same_step(ours.train(), paper.train(), image, seed=2)


def test_drop_path_is_off_in_eval_mode():
    paper, ours = paper_and_ours(1, drop_path_rate=0.6)
    image = torch.randn(2, 3, 64, 64)
    assert_same_step(ours.eval(), paper.eval(), image)


@pytest.mark.parametrize("version", [1, 2])
def test_convolutions_as_pointwise_layers_compute_the_same(version):
    paper, ours = paper_and_ours(version)
    convolutional = ConvNeXt(SMALL, use_grn=version == 2, linear_pw_conv=False)
    weights = {
        name: value[:, :, None, None] if "pwconv" in name and value.dim() == 2 else value
        for name, value in paper.state_dict().items()
    }
    convolutional.load_state_dict(weights, strict=True)
    image = torch.randn(2, 3, 64, 64)
    for ours_out, out in zip(convolutional(image), ours(image), strict=True):
        assert relative_difference(ours_out, out) < 1e-5


def test_in_double_precision_the_gradients_equal_the_papers_to_its_accuracy():
    for version in (1, 2):
        paper, ours = paper_and_ours(version)
        image = torch.randn(1, 3, 45, 64, dtype=torch.float64)
        _, our_grads = gradients(ours.double(), image)
        _, grads = gradients(paper.double(), image)
        for name, grad in grads.items():
            assert relative_difference(our_grads[name], grad) < 1e-12, name


def test_half_precision_grn_survives_sums_beyond_half_range():
    grn, paper = GRN(4), PaperGRN(4)
    for module in (grn, paper):
        nn.init.constant_(module.gamma, 0.5)
        nn.init.constant_(module.beta, 0.25)
    x = 20 * torch.rand(1, 40, 40, 4, generator=torch.Generator().manual_seed(0))
    assert x.pow(2).sum((1, 2)).max() > torch.finfo(torch.float16).max
    half = grn.half()(x.half())
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), paper(x), rtol=3e-3, atol=3e-3)
