"""The networks on the road from ResNet to ConvNeXt, against torchvision's, mmdet's, ours,
and the paper."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
import torchvision
from mmengine.registry import MODELS as ROOT
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.feature_extraction import create_feature_extractor

from mmconvnext import ConvNeXt, LayerDecayOptimWrapperConstructor, RoadNet
from mmconvnext.backbones.road_stops import STEPS

SMALL = {"depths": [[1, 2, 2, 1], [1, 1, 4, 1]], "widths": [8, 8, 16]}
# GFLOPs of the paper's tables 10 and 11. Two of table 10 are other networks' (docs/road.md): at
# `layer_norm` it has 4.46, ConvNeXt-T's, where table 11 has no change, and then 4.49.
GFLOPS = {
    "resnet50": "4.09 4.53 4.42 2.35 5.27 4.64 4.07 4.10 4.15 4.21 4.29 4.15 4.15 4.15 4.15 4.46",
    "resnet200": "15.01 14.52 14.38 7.23 16.76 15.68 14.63 14.70 14.81 14.95 15.13 14.81 14.81 "
    "14.81 14.81 15.35",
}
# A block's layers in order, the second of a stage, after the paper's figures 3 and 4.
BOTTLENECK = "pwconv1 norm1 act1 {} norm2 act2 pwconv2 norm3 + act"
MOVED_UP = "dwconv norm1 act1 pwconv1 norm2 act2 pwconv2 norm3 + act"
LAYERS = {
    **dict.fromkeys(STEPS[:3], BOTTLENECK.format("conv")),
    **dict.fromkeys(STEPS[3:6], BOTTLENECK.format("dwconv")),
    **dict.fromkeys(STEPS[6:12], MOVED_UP),
    "fewer_activations": "dwconv norm1 pwconv1 norm2 act pwconv2 norm3 +",
    **dict.fromkeys(STEPS[13:], "dwconv norm pwconv1 act pwconv2 +"),
}


def seeded(network: nn.Module, seed: int = 0) -> nn.Module:
    """With weights, biases and statistics that all matter."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator) * 0.1
            scale = name.endswith("running_var") or (value.ndim == 1 and "weight" in name)
            value.copy_(1 + noise.abs() if scale else noise)
    return network


def picture(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7))


def torchvisions() -> tuple[dict, nn.Module]:
    """The file of a ResNet-50, and what gives its stages' maps."""
    whole = seeded(torchvision.models.resnet50())
    return whole.state_dict(), create_feature_extractor(
        whole, {f"layer{i}": str(i) for i in range(1, 5)}
    )


def mmdets() -> tuple[dict, nn.Module]:
    """The same of mmdet's, whose 3x3 convolutions halve the maps (``style="pytorch"``)."""
    resnet = pytest.importorskip("mmdet.models").ResNet
    whole = seeded(resnet(depth=50, style="pytorch", norm_eval=False))
    return whole.state_dict(), whole


@pytest.mark.parametrize("peer", [torchvisions, mmdets])
@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("size", [64, 75])
def test_first_stop_is_torchvisions_and_mmdets_resnet(
    tmp_path, peer: Callable[[], tuple[dict, nn.Module]], train: bool, size: int
) -> None:
    weights, theirs = peer()
    torch.save(weights, tmp_path / "resnet50.pth")
    file = {"type": "Pretrained", "checkpoint": str(tmp_path / "resnet50.pth")}
    ours = RoadNet("resnet", init_cfg=file)
    ours.init_weights()
    ours.double().train(train)
    theirs.double().train(train)
    x = picture(2, 3, size, size).double()
    maps = theirs(x)
    expected = tuple(maps.values() if isinstance(maps, dict) else maps)
    assert len(expected) == 4
    for found, map_ in zip(ours(x), expected, strict=True):
        torch.testing.assert_close(found, map_, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(  # in training the statistics move alike
        ours.state_dict()["downsample_layers.0.1.running_mean"],
        theirs.state_dict()["bn1.running_mean"],
    )


@pytest.mark.parametrize(("regime", "arch"), [("resnet50", "tiny"), ("resnet200", "base")])
def test_last_stop_is_convnext(regime: str, arch: str) -> None:
    ours = RoadNet(regime=regime)
    theirs = ConvNeXt(arch)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert ours.stages[0][0].gamma[0] == theirs.stages[0][0].gamma[0]
    theirs.load_state_dict(seeded(ours).state_dict())  # ours takes 1x1 kernels for matrices
    x = picture(2, 3, 64, 70)
    with torch.no_grad():
        for found, expected in zip(ours.eval()(x), theirs.eval()(x), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_last_stop_trains_as_convnext_and_drops_the_same_samples() -> None:
    settings = {"drop_path_rate": 0.6, "layer_scale_init_value": 1.0}
    ours = RoadNet(regime=SMALL, **settings)
    theirs = ConvNeXt({"depths": [1, 1, 4, 1], "channels": [16, 32, 64, 128]}, **settings)
    theirs.load_state_dict(seeded(ours).state_dict())
    grads = []
    for network in (ours.double(), theirs.double()):
        torch.manual_seed(3)
        sum(out.square().mean() for out in network(picture(4, 3, 64, 64).double())).backward()
        grads.append([p.grad.flatten() for p in network.parameters()])
    for found, expected in zip(*grads, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("regime", list(GFLOPS))
@pytest.mark.parametrize("step", STEPS)
def test_operations_are_the_papers(step: str, regime: str) -> None:
    with torch.device("meta"):
        network = RoadNet(step, regime).eval()
        classifier = nn.Linear(network.channels[-1], 1000)
        with FlopCounterMode(display=False) as counter:
            classifier(network(torch.empty(1, 3, 224, 224))[-1].mean((2, 3)))
    printed = GFLOPS[regime].split()[STEPS.index(step)]
    assert f"{counter.get_total_flops() / 2e9:.2f}" == printed


@pytest.mark.parametrize(
    ("step", "regime", "millions"),
    [  # the paper's tables 9 and 12; torchvision's resnet50; timm's resnet200
        ("resnet", "resnet50", 25.6),
        ("separate_downsampling", "resnet50", 28.6),
        ("resnet", "resnet200", 64.7),
        ("separate_downsampling", "resnet200", 88.6),
    ],
)
def test_parameters_of_the_ends_are_the_published(step: str, regime: str, millions: float) -> None:
    with torch.device("meta"):
        network = RoadNet(step, regime, out_indices=3)
        classifier = nn.Linear(network.channels[-1], 1000)
    count = sum(p.numel() for part in (network, classifier) for p in part.parameters())
    assert round(count / 1e6, 1) == millions


@pytest.mark.parametrize("step", STEPS)
def test_layers_of_a_block_are_those_of_the_papers_figures(step: str) -> None:
    block = RoadNet(step, SMALL).stages[2][1]
    ran: list[str] = []
    for name, layer in block.named_children():
        shown = "+ act" if name == "last_act" else name
        layer.register_forward_hook(lambda *_, shown=shown: ran.append(shown))
    x = picture(1, block.pwconv2.out_channels, 4, 4)
    block(x)
    assert " ".join(ran + ([] if "+ act" in ran else ["+"])) == LAYERS[step]
    kernel = {"kernel_5": 5, "kernel_7": 7, "kernel_9": 9, "kernel_11": 11}.get(step)
    kernel = kernel or (3 if STEPS.index(step) < STEPS.index("kernel_5") else 7)
    spatial = block.dwconv if "dwconv" in LAYERS[step] else block.conv
    assert spatial.kernel_size == (kernel, kernel)
    acts = {type(m) for m in block.modules() if isinstance(m, (nn.ReLU, nn.GELU))}
    assert acts == {nn.GELU if STEPS.index(step) >= STEPS.index("gelu") else nn.ReLU}
    norms = {isinstance(m, nn.LayerNorm) for name, m in block.named_children() if "norm" in name}
    assert norms == {STEPS.index(step) >= STEPS.index("layer_norm")}


@pytest.mark.parametrize("step", STEPS)
def test_a_layer_has_a_bias_unless_a_batch_norm_follows(step: str) -> None:
    network = RoadNet(step, SMALL)
    for part in (*network.downsample_layers, *(b for stage in network.stages for b in stage)):
        layers = [m for m in part.modules() if not list(m.children())]
        for layer, after in pairwise([*layers, None]):
            if isinstance(layer, nn.Conv2d):
                assert (layer.bias is None) == isinstance(after, nn.BatchNorm2d)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("size", [(64, 64), (75, 98)])
def test_every_stop_gives_a_pyramid_and_gradients(step: str, size: tuple[int, int]) -> None:
    network = RoadNet(step, SMALL, drop_path_rate=0.2)
    network.init_weights()
    outs = network(picture(2, 3, *size))
    assert [out.shape[1] for out in outs] == list(network.channels)
    for out, stride in zip(outs, (4, 8, 16, 32), strict=True):
        for have, pixels in zip(out.shape[2:], size, strict=True):
            assert pixels // stride <= have <= -(-pixels // stride)
    sum(out.sum() for out in outs).backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("step", STEPS)
def test_layer_wise_decay_works_at_every_stop(step: str) -> None:
    model = nn.Module()
    model.backbone = RoadNet(step, SMALL)
    model.head = nn.Linear(2, 2)
    build = LayerDecayOptimWrapperConstructor(
        {"type": "OptimWrapper", "optimizer": {"type": "AdamW", "lr": 1.0, "weight_decay": 0.1}},
        {"decay_rate": 0.5},
    )
    groups = build(model).param_groups
    blocks = 2 if step == "resnet" else 4  # of the third stage: one or two layers
    layers = 3 + -(-blocks // 3)
    rate = {id(p): g["lr"] for g in groups for p in g["params"]}
    decay = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
    backbone = model.backbone
    assert rate[id(backbone.downsample_layers[0][0].weight)] == 0.5 ** (layers + 1)
    for stage, layer in ((0, 1), (1, 2), (2, 3), (3, layers)):
        for p in backbone.stages[stage][0].parameters():
            assert rate[id(p)] == 0.5 ** (layers + 1 - layer)
            assert decay[id(p)] == (0.0 if p.ndim == 1 else 0.1)
    assert rate[id(model.head.weight)] == 1.0


def test_frozen_stages_and_norms_stay_as_they_are() -> None:
    network = RoadNet("depthwise", SMALL, frozen_stages=1, norm_eval=True)
    assert network.training
    before = {k: v.clone() for k, v in network.state_dict().items() if "running" in k}
    sum(out.sum() for out in network(picture(2, 3, 64, 64))).backward()
    assert all(torch.equal(network.state_dict()[k], v) for k, v in before.items())
    frozen = [network.downsample_layers[0], network.stages[0]]
    assert all(p.grad is None for part in frozen for p in part.parameters())
    assert all(p.grad is not None for p in network.stages[1].parameters())
    moving = RoadNet("depthwise", SMALL)
    moving(picture(2, 3, 64, 64))
    assert moving.stages[0][0].norm1.running_mean.abs().sum() > 0


def test_layer_scale_is_at_every_stop_when_asked_for() -> None:
    assert RoadNet("resnet", SMALL).stages[0][0].gamma is None
    scaled = RoadNet("resnet", SMALL, layer_scale_init_value=0.5).stages[0][0].gamma
    assert scaled.tolist() == [0.5] * 32
    assert RoadNet(regime=SMALL, layer_scale_init_value=0).stages[0][0].gamma is None


def test_mm_packages_find_it_by_its_bare_name() -> None:
    network = ROOT.build({"type": "RoadNet", "step": "width", "regime": SMALL, "out_indices": [-1]})
    assert [out.shape for out in network(picture(2, 3, 64, 64))] == [(2, 512, 2, 2)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"step": "resnext"}, "step: expected one of resnet, stage_ratio, .*, found 'resnext'"),
        ({"regime": "resnet18"}, "regime: expected one of resnet50, resnet200 or a dict, found"),
        ({"regime": {"depths": [1, 2], "widths": [1]}}, "regime: expected a name or dict"),
        ({"regime": {"depths": [[1], [1, 2]], "widths": [1, 1, 1]}}, "as many stages in both"),
        ({"regime": {"depths": [[1], [0]], "widths": [1, 1, 1]}}, "positive integers"),
        ({"regime": {"depths": [[1], [1]], "widths": [8, 8, -8]}}, "positive integers"),
        ({"in_channels": 0}, "in_channels: expected at least 1, found 0"),
        ({"frozen_stages": 5}, r"frozen_stages: expected 0 \(none\) to 4 \(all stages\), found 5"),
        ({"layer_scale_init_value": -1}, "layer_scale_init_value: expected 0"),
        ({"drop_path_rate": 1}, "drop_path_rate: expected at least 0, below 1"),
        ({"out_indices": (0, 4)}, "out_indices: expected different stages"),
        ({"step": "width", "norm_cfg": {"type": "Batch"}}, "norm_cfg: expected type"),
    ],
)
def test_bad_arguments_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RoadNet(**settings)


def test_too_small_a_picture_is_named() -> None:
    with pytest.raises(ValueError, match="expected at least 32x32 pixels, found 31x64"):
        RoadNet(regime=SMALL)(picture(1, 3, 31, 64))
    with pytest.raises(ValueError, match="expected at least 4x4 pixels, found 64x3"):
        RoadNet("gelu", SMALL)(picture(1, 3, 64, 3))
