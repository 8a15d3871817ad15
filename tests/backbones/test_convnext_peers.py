"""The network against timm's and torchvision's, their weights renamed to the authors'."""

from __future__ import annotations

import re

import pytest
import torch

from mmconvnext.backbones import ConvNeXt

TIMM_NAMES = (
    (r"^stem_(\d)\.", r"downsample_layers.0.\1."),
    (r"^stages_(\d)\.downsample\.", r"downsample_layers.\1."),
    (r"^stages_(\d)\.blocks\.", r"stages.\1."),
    (r"\.conv_dw\.", ".dwconv."),
    (r"\.mlp\.fc(\d)\.", r".pwconv\1."),
    (r"\.mlp\.grn\.weight$", ".grn.gamma"),
    (r"\.mlp\.grn\.bias$", ".grn.beta"),
)
# torchvision has the stem, and then by turns the stages and the layers between, in `features`.
TORCHVISION_NAMES = (
    (r"^features\.0\.", "downsample_layers.0."),
    (r"^features\.([246])\.", lambda m: f"downsample_layers.{int(m[1]) // 2}."),
    (r"^features\.([1357])\.", lambda m: f"stages.{int(m[1]) // 2}."),
    (r"\.block\.0\.", ".dwconv."),
    (r"\.block\.2\.", ".norm."),
    (r"\.block\.3\.", ".pwconv1."),
    (r"\.block\.5\.", ".pwconv2."),
    (r"\.layer_scale$", ".gamma"),
)


def renamed(weights, names, drop=()):
    result = {}
    for name, value in weights.items():
        if name.startswith(drop):
            continue
        for pattern, replacement in names:
            name = re.sub(pattern, replacement, name)
        if name.endswith("grn.gamma") or name.endswith("grn.beta"):
            value = value.reshape(1, 1, 1, -1)
        result[name] = value.flatten() if re.fullmatch(r"stages\.\d\.\d+\.gamma", name) else value
    return result


def shake(network):
    """No parameter at a value that hides it: layer scale and GRN start at almost nothing."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.std() < 1e-4:
                parameter.copy_(0.5 + 0.2 * torch.randn(parameter.shape, generator=generator))


def ours_with(weights, **options):
    network = ConvNeXt(**options)
    missing, unexpected = network.load_state_dict(weights, strict=False)
    assert not unexpected
    assert {name.split(".")[0] for name in missing} == {"norm0", "norm1", "norm2", "norm3"}
    for i in range(4):  # the peers give their maps out as they are
        setattr(network, f"norm{i}", torch.nn.Identity())
    return network.eval()


def assert_equal_maps_and_stem_gradients(ours, stem, maps, stem_weight):
    for our_map, expected in zip(ours, maps, strict=True):
        assert our_map.shape == expected.shape
        assert (our_map - expected).norm() < 1e-5 * expected.norm()
    gradients = [
        torch.autograd.grad(sum(m.square().mean() for m in outs), weight)[0]
        for outs, weight in ((ours, stem), (maps, stem_weight))
    ]
    assert (gradients[0] - gradients[1]).norm() < 1e-5 * gradients[1].norm()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("convnext_tiny", {"arch": "tiny"}),
        ("convnextv2_atto", {"arch": "atto", "use_grn": True, "linear_pw_conv": False}),
    ],
)
def test_maps_and_gradients_equal_timms(name, options):
    timm = pytest.importorskip("timm", reason="timm is a test extra")
    torch.manual_seed(0)
    peer = timm.create_model(name, features_only=True).eval()
    shake(peer)
    weights = renamed(peer.state_dict(), TIMM_NAMES)
    network = ours_with(weights, **options)
    image = torch.randn(1, 3, 96, 110)
    assert_equal_maps_and_stem_gradients(
        network(image), network.downsample_layers[0][0].weight, peer(image), peer.stem_0.weight
    )


def test_maps_and_gradients_equal_torchvisions():
    models = pytest.importorskip("torchvision.models", reason="torchvision is a test extra")
    torch.manual_seed(0)
    peer = models.convnext_tiny().eval()
    shake(peer)
    network = ours_with(renamed(peer.state_dict(), TORCHVISION_NAMES, ("classifier",)))
    image = torch.randn(1, 3, 96, 110)
    maps, x = [], image
    for i, layer in enumerate(peer.features):
        x = layer(x)
        if i % 2:
            maps.append(x)
    assert_equal_maps_and_stem_gradients(
        network(image),
        network.downsample_layers[0][0].weight,
        maps,
        peer.features[0][0].weight,
    )
