"""Names, arguments and their errors, registration, initial weights, layers for rate decay."""

from __future__ import annotations

import logging

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from mmengine.registry import DefaultScope
from torch import nn

from mmconvnext.backbones import ConvNeXt
from mmconvnext.backbones.layers import LayerNorm2d
from mmconvnext.checkpoints import loading

SMALL = {"depths": [2, 1, 3, 1], "channels": [8, 16, 24, 40]}
PUBLISHED_PARAMETERS = {  # of the classifiers without their last layer, in millions
    ("tiny", False): 28.59 - 0.769,
    ("small", False): 50.22 - 0.769,
    ("base", False): 88.59 - 1.025,
    ("large", False): 197.77 - 1.537,
    ("xlarge", False): 350.20 - 2.049,
    ("atto", True): 3.71 - 0.321,
    ("femto", True): 5.23 - 0.385,
    ("pico", True): 9.07 - 0.513,
    ("nano", True): 15.62 - 0.641,
    ("huge", True): 660.29 - 2.817,
}


@pytest.fixture(autouse=True)
def quiet():
    logger = MMLogger.get_instance("mmengine")
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)


@pytest.mark.parametrize(("arch", "use_grn"), PUBLISHED_PARAMETERS)
def test_named_architectures_have_the_published_number_of_parameters(arch, use_grn):
    with torch.device("meta"):
        network = ConvNeXt(arch, use_grn=use_grn, out_indices=3)
    count = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert count == pytest.approx(PUBLISHED_PARAMETERS[arch, use_grn], abs=0.01)


def test_parameters_have_the_authors_names():
    v1 = set(ConvNeXt(SMALL, out_indices=(1, 3)).state_dict())
    expected = {f"{norm}.{part}" for norm in ("norm1", "norm3") for part in ("weight", "bias")}
    for i in range(4):
        for j, part in ((j, part) for j in (0, 1) for part in ("weight", "bias")):
            expected.add(f"downsample_layers.{i}.{j}.{part}")
        for j in range(SMALL["depths"][i]):
            expected.add(f"stages.{i}.{j}.gamma")
            for layer in ("dwconv", "norm", "pwconv1", "pwconv2"):
                expected |= {f"stages.{i}.{j}.{layer}.{part}" for part in ("weight", "bias")}
    assert v1 == expected
    v2 = ConvNeXt(SMALL, out_indices=(1, 3), use_grn=True).state_dict()
    grn = {n.replace("gamma", f"grn.{p}") for n in v1 if "gamma" in n for p in ("gamma", "beta")}
    assert set(v2) == {name for name in v1 if "gamma" not in name} | grn
    assert v2["stages.2.0.grn.gamma"].shape == (1, 1, 1, 96)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"arch": "medium"}, r"arch: expected one of atto, .*huge or a dict, found 'medium'"),
        ({"arch": {"depths": [1, 1]}}, "arch: .*keys depths and channels, found"),
        ({"arch": {**SMALL, "width": 1}}, "arch: .*keys depths and channels, found"),
        ({"arch": {"depths": [1], "channels": [8, 16]}}, r"arch\['channels'\]: .*found \[8, 16\]"),
        ({"arch": {"depths": [1, 0], "channels": [8, 16]}}, r"arch\['depths'\]: .*found \[1, 0\]"),
        ({"arch": {"depths": [], "channels": []}}, r"arch\['depths'\]: .*found \[\]"),
        ({"arch": 5}, "arch: expected a name or a dict .*found 5"),
        ({"in_channels": 0}, "in_channels: expected at least 1, found 0"),
        ({"stem_patch_size": 0}, "stem_patch_size: expected at least 1, found 0"),
        ({"out_indices": 4}, "out_indices: .*from -4 to 3, found 4"),
        ({"out_indices": (0, -5)}, r"out_indices: .*from -4 to 3, found \(0, -5\)"),
        ({"out_indices": (3, -1)}, r"out_indices: expected different stages.*found \(3, -1\)"),
        ({"out_indices": ()}, r"out_indices: .*found \(\)"),
        ({"frozen_stages": 5}, r"frozen_stages: expected 0 \(none\) to 4 .*found 5"),
        ({"frozen_stages": -1}, r"frozen_stages: expected 0 \(none\) to 4 .*found -1"),
        ({"drop_path_rate": -0.1}, "drop_path_rate: expected at least 0, below 1, found -0.1"),
        ({"drop_path_rate": 1}, "drop_path_rate: expected at least 0, below 1, found 1"),
        ({"drop_path_rate": float("nan")}, "drop_path_rate: .*found nan"),
        ({"layer_scale_init_value": -1e-6}, "layer_scale_init_value: expected 0 .*found -1e-06"),
        (
            {"use_grn": True, "layer_scale_init_value": 1e-6},
            "layer_scale_init_value: expected 0 or None with use_grn, found 1e-06",
        ),
        ({"output_stride": 4}, r"output_stride: expected 8, 16 or 32.*found 4"),
        ({"output_stride": 24}, r"output_stride: expected 8, 16 or 32.*found 24"),
        ({"stem_patch_size": 16, "output_stride": 8}, r"output_stride: .*\[16, 32, 64, 128\]"),
        ({"norm_cfg": {"type": "Nrm"}}, "norm_cfg: expected type LN2d.*'Nrm'"),
        ({"norm_cfg": {"type": "LN2d", "epsilon": 1}}, "norm_cfg: .*epsilon"),
        ({"norm_cfg": {"eps": 1e-6}}, "norm_cfg: expected type"),
        ({"norm_cfg": None}, "norm_cfg: .*found None"),
        ({"act_cfg": {"type": "Gelu"}}, "act_cfg: expected type GELU.*'Gelu'"),
    ],
)
def test_bad_arguments_are_named_with_what_was_found_and_what_is_allowed(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        ConvNeXt(**{"arch": SMALL, **arguments})
    assert "\n" not in str(error.value)


def test_layer_scale_is_a_v1_matter_unless_turned_off():
    v1 = ConvNeXt(SMALL).stages[0][0]
    assert torch.equal(v1.gamma, torch.full((8,), 1e-6))
    assert torch.equal(
        ConvNeXt(SMALL, layer_scale_init_value=0.1).stages[0][0].gamma, torch.full((8,), 0.1)
    )
    assert ConvNeXt(SMALL, layer_scale_init_value=0.0).stages[0][0].gamma is None
    for zero in (None, 0, 0.0):
        v2 = ConvNeXt(SMALL, use_grn=True, layer_scale_init_value=zero).stages[0][0]
        assert v2.gamma is None
        assert not v2.grn.gamma.any() and not v2.grn.beta.any()


def test_out_indices_may_count_from_the_end_and_outputs_come_in_stage_order():
    network = ConvNeXt(SMALL, out_indices=[-1, 1])
    assert [out.shape[1] for out in network(torch.randn(1, 3, 32, 32))] == [16, 40]
    assert [out.shape[1] for out in ConvNeXt(SMALL, out_indices=-2)(torch.randn(1, 3, 32, 32))] == [
        24
    ]


def test_gap_before_final_norm_gives_the_normalised_mean_of_each_map():
    maps = ConvNeXt(SMALL)
    pooled = ConvNeXt(SMALL, gap_before_final_norm=True)
    pooled.load_state_dict(maps.state_dict())
    for i in range(4):
        setattr(maps, f"norm{i}", nn.Identity())
    image = torch.randn(2, 3, 64, 96)
    for vector, feature_map in zip(pooled(image), maps(image), strict=True):
        mean = feature_map.mean((2, 3))
        expected = nn.functional.layer_norm(mean, mean.shape[1:], eps=1e-6)
        torch.testing.assert_close(vector, expected, rtol=1e-4, atol=1e-5)


def test_other_numbers_of_stages_inputs_and_patch_sizes_work():
    network = ConvNeXt({"depths": [1] * 5, "channels": [8] * 5}, out_indices=(0, 4))
    assert [out.shape[2:] for out in network(torch.randn(1, 3, 64, 64))] == [(16, 16), (1, 1)]
    with pytest.raises(ValueError, match="at least 64x64"):
        network(torch.randn(1, 3, 63, 64))
    network = ConvNeXt(SMALL, in_channels=6, stem_patch_size=2)
    shapes = [out.shape[2:] for out in network(torch.randn(1, 6, 32, 48))]
    assert shapes == [(16, 24), (8, 12), (4, 6), (2, 3)]


@pytest.mark.parametrize(
    ("norm_cfg", "kind"),
    [
        ({"type": "LN", "eps": 1e-6}, LayerNorm2d),
        ({"type": "BN"}, nn.BatchNorm2d),
        ({"type": "SyncBN"}, nn.SyncBatchNorm),
        ({"type": "GN", "num_groups": 4}, nn.GroupNorm),
    ],
)
def test_other_norms_take_the_place_of_every_layer_norm(norm_cfg, kind):
    network = ConvNeXt(SMALL, norm_cfg=norm_cfg).eval()
    norms = [module for module in network.modules() if isinstance(module, kind)]
    assert len(norms) == 4 + sum(SMALL["depths"]) + 4
    for out in network(torch.randn(2, 3, 64, 64)):
        assert out.isfinite().all()


def test_norms_can_be_frozen_by_their_config():
    for norm_cfg in (
        {"type": "LN2d", "requires_grad": False},
        {"type": "BN", "requires_grad": False},
    ):
        network = ConvNeXt(SMALL, norm_cfg=norm_cfg)
        for name, parameter in network.named_parameters():
            is_norm = "norm" in name or name in (
                "downsample_layers.0.1.weight",
                "downsample_layers.0.1.bias",
                *(f"downsample_layers.{i}.0.{p}" for i in (1, 2, 3) for p in ("weight", "bias")),
            )
            assert parameter.requires_grad != is_norm, name


def test_another_activation_is_used():
    network = ConvNeXt(SMALL, act_cfg={"type": "ReLU", "inplace": False})
    assert all(isinstance(block.act, nn.ReLU) for stage in network.stages for block in stage)


@pytest.mark.parametrize("family", ["mmengine", "mmdet", "mmseg"])
@pytest.mark.parametrize("name", ["ConvNeXt", "mmconvnext.ConvNeXt"])
def test_builds_by_name_from_every_registry_of_the_family(family, name):
    registry = pytest.importorskip(f"{family}.registry", reason=f"{family} is not installed")
    with DefaultScope.overwrite_default_scope(family):
        network = registry.MODELS.build({"type": name, "arch": "atto", "use_grn": True})
    assert type(network) is ConvNeXt
    assert network.channels == (40, 80, 160, 320)


def test_initial_weights_are_the_authors():
    network = ConvNeXt("atto", use_grn=True)
    torch.manual_seed(0)
    network.init_weights()
    assert network.is_init
    for name, module in network.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            assert not module.bias.any(), name
            tolerance = 4 * 0.02 / module.weight.numel() ** 0.5
            assert module.weight.std().item() == pytest.approx(0.02, abs=tolerance), name
            assert module.weight.mean().item() == pytest.approx(0, abs=tolerance), name
        elif isinstance(module, nn.LayerNorm):
            assert module.weight.eq(1).all() and not module.bias.any()


@pytest.fixture
def loads(monkeypatch):
    """Stands in for reading files: notes what is asked for and fills the network with sevens."""
    calls = []

    def load_pretrained_backbone(module, checkpoint, prefix=None):
        calls.append((checkpoint, prefix))
        if checkpoint == "broken.pth":
            raise ValueError("broken.pth: no key fits")
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.fill_(7)

    monkeypatch.setattr(loading, "load_pretrained_backbone", load_pretrained_backbone)
    return calls


def test_a_pretrained_file_comes_after_every_other_initialisation_and_once(loads):
    constant = {"type": "Constant", "layer": "Linear", "val": 3.0}
    file = {"type": "Pretrained", "checkpoint": "tiny.pth", "prefix": "backbone."}
    network = ConvNeXt(SMALL, init_cfg=[file, constant])
    network.init_weights()
    assert loads == [("tiny.pth", "backbone.")]
    assert all(parameter.eq(7).all() for parameter in network.parameters())
    assert network.is_init
    assert network.init_cfg == [file, constant]
    network.init_weights()
    assert len(loads) == 1


def test_a_pretrained_file_is_loaded_when_the_backbone_sits_in_a_model(loads):
    class Model(BaseModule):
        def __init__(self):
            super().__init__()
            self.backbone = ConvNeXt(SMALL, init_cfg={"type": "Pretrained", "checkpoint": "a.pth"})

    model = Model()
    model.init_weights()
    assert loads == [("a.pth", None)]
    assert model.backbone.stages[0][0].dwconv.weight.eq(7).all()


def test_a_file_that_does_not_fit_leaves_no_network_that_counts_as_initialised(loads):
    network = ConvNeXt(SMALL, init_cfg={"type": "Pretrained", "checkpoint": "broken.pth"})
    for _ in range(2):
        with pytest.raises(ValueError, match=r"broken\.pth"):
            network.init_weights()
        assert not network.is_init


def test_a_pretrained_config_without_a_file_is_an_error():
    with pytest.raises(ValueError, match="init_cfg: expected the key checkpoint"):
        ConvNeXt(SMALL, init_cfg={"type": "Pretrained"}).init_weights()


@pytest.mark.parametrize(
    ("arch", "name", "layer", "layers"),
    [
        ("tiny", "downsample_layers.0.0.weight", 0, 8),
        ("tiny", "downsample_layers.0.1.bias", 0, 8),
        ("tiny", "stages.0.2.gamma", 1, 8),
        ("tiny", "downsample_layers.1.1.weight", 2, 8),
        ("tiny", "stages.1.0.norm.weight", 2, 8),
        ("tiny", "downsample_layers.2.0.weight", 3, 8),
        ("tiny", "stages.2.2.dwconv.weight", 3, 8),
        ("tiny", "stages.2.3.dwconv.weight", 4, 8),
        ("tiny", "stages.2.8.dwconv.weight", 5, 8),
        ("tiny", "downsample_layers.3.1.weight", 6, 8),
        ("tiny", "stages.3.2.pwconv2.bias", 6, 8),
        ("tiny", "norm0.weight", 7, 8),
        ("atto", "stages.2.5.grn.beta", 4, 8),
        ("base", "stages.0.0.gamma", 1, 14),
        ("base", "stages.2.26.gamma", 11, 14),
        ("base", "downsample_layers.3.0.weight", 12, 14),
        ("base", "stages.3.0.gamma", 12, 14),
        ("base", "norm3.bias", 13, 14),
    ],
)
def test_layers_for_rate_decay_follow_the_authors_rule(arch, name, layer, layers):
    with torch.device("meta"):
        network = ConvNeXt(arch)
    assert network.get_layer_depth(name) == (layer, layers)
    assert network.get_layer_depth(f"backbone.{name}", prefix="backbone.") == (layer, layers)
    outside = network.get_layer_depth(f"head.{name}", prefix="backbone.")
    assert outside == (layers - 1, layers)
