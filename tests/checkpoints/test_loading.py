"""Reading checkpoints and loading backbones from them: what fits is loaded exactly, what does not
is refused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import EMAHook
from safetensors.torch import save_file
from sample_checkpoints import error_of
from torch import nn

from mmconvnext.backbones import ConvNeXt
from mmconvnext.checkpoints.formats import FORMATS
from mmconvnext.checkpoints.keys import compare_keys
from mmconvnext.checkpoints.loading import load_pretrained_backbone
from mmconvnext.checkpoints.reading import CheckpointError
from mmconvnext.checkpoints.translating import from_native

NORMS_BUT_LAST = ("norm0", "norm1", "norm2")
TINY = {"depths": [1, 1, 4, 1], "channels": [4, 4, 4, 8]}


def network(seed: int, **kwargs) -> ConvNeXt:
    torch.manual_seed(seed)
    net = ConvNeXt(**{"arch": TINY} | kwargs)
    for param in net.parameters():
        nn.init.normal_(param)
    return net


def authors_weights(net: ConvNeXt) -> dict:
    """As the authors' classification files have them: one final norm and a head, no norm of the
    stages' outputs."""
    weights = {k: v.clone() for k, v in net.state_dict().items() if not k.startswith("norm")}
    width = net.norm3.weight.shape[0]
    weights |= {"norm.weight": torch.ones(width), "norm.bias": torch.zeros(width)}
    return weights | {"head.weight": torch.ones(10, width), "head.bias": torch.zeros(10)}


@pytest.fixture
def log(monkeypatch):
    from mmengine.logging import MMLogger

    lines: list[str] = []
    monkeypatch.setattr(MMLogger, "info", lambda self, message: lines.append(message))
    return lines


def assert_loaded(net: ConvNeXt, source: ConvNeXt, but: tuple[str, ...] = ()) -> None:
    for key, value in source.state_dict().items():
        if not key.startswith(but):
            torch.testing.assert_close(net.state_dict()[key], value, rtol=0, atol=0, msg=key)


def test_authors_classifier_loads_all_but_the_output_norms(save, log):
    source, net = network(0), network(1)
    norms = {k: v.clone() for k, v in net.state_dict().items() if k.startswith("norm")}
    file = save({"model": authors_weights(source)})
    load_pretrained_backbone(net, file)
    assert_loaded(net, source, but=("norm",))
    for key, value in norms.items():
        torch.testing.assert_close(net.state_dict()[key], value, rtol=0, atol=0)
    count = len(source.state_dict()) - 8
    assert log == [
        f"ConvNeXt: {count} tensors (0.0 M parameters) from {file} (the authors'); "
        "dropped, norm before the classifier: 2 (norm.weight, norm.bias); "
        "dropped, classifier: 2 (head.weight, head.bias); "
        "initialised afresh: 8 (norm0.weight, norm0.bias, norm1.weight, …)"
    ]


def with_prefix(net: nn.Module, prefix: str) -> dict:
    weights = {prefix + key: value for key, value in net.state_dict().items()}
    return weights | {"neck.conv.weight": torch.zeros(1)}


@pytest.mark.parametrize(
    ("pack", "prefix"),
    [
        (lambda net: net.state_dict(), None),
        (lambda net: {"state_dict": net.state_dict(), "meta": {"epoch": 3}}, None),
        (lambda net: {"state_dict": with_prefix(net, "backbone.")}, None),
        (lambda net: {"state_dict": with_prefix(net, "module.backbone.")}, None),
        (lambda net: {"state_dict": with_prefix(net, "module.module.backbone.")}, None),
        (lambda net: {"state_dict": with_prefix(net, "backbone._orig_mod.")}, None),
        (lambda net: {"state_dict": with_prefix(net, "student.backbone.")}, None),
        (
            lambda net: {
                "model": with_prefix(network(5), "teacher.") | with_prefix(net, "student.")
            },
            None,
        ),
        (lambda net: {"state_dict": with_prefix(net, "student.net.")}, "student.net"),
        (lambda net: {"model": with_prefix(net, "student.net.")}, "student.net."),
    ],
)
def test_layouts_load_exactly(save, pack, prefix):
    source, net = network(0), network(1)
    load_pretrained_backbone(net, save(pack(source)), prefix)
    assert_loaded(net, source)


def test_dinov3_inside_of_a_model_loads_exactly(save):
    """Somebody's `self.model`; its norm lay outside of `model.` where transformers has one."""
    native = {k: v for k, v in network(0).state_dict().items() if k[:5] not in NORMS_BUT_LAST}
    bare = next(f for f in FORMATS if f.first_kernel == "stages.0.layers.0.depthwise_conv.weight")
    inside = {f"model.{key}": value for key, value in from_native(native, bare).items()}
    net = network(1)
    report = load_pretrained_backbone(net, save(inside))
    assert not report.dropped
    assert_loaded(net, network(0), but=NORMS_BUT_LAST)


def test_v2_weights_load_exactly(save):
    source, net = network(0, use_grn=True), network(1, use_grn=True)
    load_pretrained_backbone(net, save({"model": authors_weights(source)}))
    assert_loaded(net, source, but=("norm",))


def test_safetensors_load_exactly(tmp_path):
    source, net = network(0), network(1)
    file = str(tmp_path / "weights.safetensors")
    save_file(dict(source.state_dict()), file)
    load_pretrained_backbone(net, file)
    assert_loaded(net, source)


def test_init_weights_reads_the_file(save):
    source = network(0)
    file = save({"model": authors_weights(source)})
    net = ConvNeXt(TINY, init_cfg={"type": "Pretrained", "checkpoint": file})
    net.init_weights()
    assert_loaded(net, source, but=("norm",))
    torch.testing.assert_close(net.norm2.weight, torch.ones(4))


def broken(**changes) -> dict:
    weights = authors_weights(network(0)) | changes
    return {key: value for key, value in weights.items() if value is not None}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            authors_weights(network(0, arch={"depths": [1, 1, 3, 1], "channels": [4, 4, 4, 8]})),
            "expected V1 with depths 1-1-4-1 and channels 4-4-4-8, found V1 with depths 1-1-3-1 ",
        ),
        (
            authors_weights(network(0, arch={"depths": [1, 1, 5, 1], "channels": [4, 4, 4, 8]})),
            "found V1 with depths 1-1-5-1 and channels 4-4-4-8; set arch and use_grn to the file's",
        ),
        (
            broken(**{"stages.0.0.gamma": torch.zeros(5)}),
            "of 87 keys 1 of another shape (stages.0.0.gamma (5,) instead of (4,))",
        ),
        (
            authors_weights(network(0, arch={"depths": [1, 1, 4, 1], "channels": [6, 6, 6, 6]})),
            "and channels 4-4-4-8, found V1 with depths 1-1-4-1 and channels 6-6-6-6",
        ),
        (broken(**{"downsample_layers.0.1.bias": None}), "1 missing from it (downsample_layers.0."),
        (
            authors_weights(network(0, use_grn=True)),
            "expected V1 with depths 1-1-4-1 and channels 4-4-4-8, found V2 with depths 1-1-4-1 ",
        ),
        (
            {"layer1.0.conv1.weight": torch.zeros(1)},
            "expected the weights of a ConvNeXt, found layer1.0.conv1.weight",
        ),
        ({}, "found no tensors"),
    ],
)
def test_weights_of_another_network_are_refused(save, weights, message):
    net = network(1)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    file = save({"model": weights})
    error = error_of(load_pretrained_backbone, net, file)
    assert message in error
    assert error.startswith(f"checkpoint {file}")
    for key, value in net.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_prefix_that_is_not_in_the_file_is_refused(save):
    error = error_of(load_pretrained_backbone, network(0), save(network(0).state_dict()), "encoder")
    assert "expected the weights of a ConvNeXt under 'encoder.' (init_cfg.prefix), found " in error


def test_keys_and_shapes_are_compared():
    model = {"a": torch.zeros(2), "b": torch.zeros(2), "c": torch.zeros(2)}
    report = compare_keys(
        model | {"bn.num_batches_tracked": torch.zeros(())},
        {"a": torch.ones(2), "b": torch.ones(3), "d": torch.ones(1)},
    )
    assert (report.total, report.matched, report.missing) == (4, ("a",), ("c",))
    assert (report.unknown, report.reshaped) == (("d",), ("b (3,) instead of (2,)",))


def test_differences_are_told_in_one_line():
    weights = {"weight": torch.zeros(2, 2), "head": torch.zeros(1)}
    report = compare_keys(nn.Linear(2, 2).state_dict(), weights)
    assert error_of(report.check, "checkpoint x.pth", "Linear") == (
        "checkpoint x.pth is of another architecture than Linear: of 2 keys "
        "1 missing from it (bias), 1 unknown to the model (head)"
    )
    compare_keys(weights, weights).check("checkpoint x.pth", "Linear")


def test_several_networks_need_a_prefix(save):
    both = with_prefix(network(0), "first.") | with_prefix(network(2), "second.")
    error = error_of(load_pretrained_backbone, network(1), save(both))
    assert "expected one network, found 2, under 'first.', 'second.'; say which with " in error
    net = network(1)
    load_pretrained_backbone(net, save(both), "second")
    assert_loaded(net, network(2))


def test_averaged_weights_are_taken_on_demand(save):
    source, averaged, net = network(0), network(2), network(1)
    for place in ("state_dict_ema", "model_ema"):
        content = {"model": source.state_dict(), place: with_prefix(averaged, "module.backbone.")}
        load_pretrained_backbone(net, save(content))
        assert_loaded(net, source)
        load_pretrained_backbone(net, save(content), ema=True)
        assert_loaded(net, averaged)
    error = error_of(lambda: load_pretrained_backbone(net, save(source.state_dict()), ema=True))
    assert "expected averaged weights under model_ema or state_dict_ema, found " in error


def test_mmengines_files_have_the_averaged_weights_in_front(save):
    class Model(nn.Module):
        def __init__(self, seed: int) -> None:
            super().__init__()
            self.backbone = network(seed)

    runner = SimpleNamespace(model=Model(0))
    hook = EMAHook()
    hook.before_run(runner)
    for mean in hook.ema_model.parameters():
        mean.data.mul_(2)
    content = {"state_dict": dict(runner.model.state_dict())}
    hook.before_save_checkpoint(runner, content)
    net = network(1)
    for ema in (False, True):
        load_pretrained_backbone(net, save(content), ema=ema)
        assert_loaded(net, hook.ema_model.module.backbone)
        assert not torch.equal(net.norm0.weight, runner.model.backbone.norm0.weight)


def test_another_number_of_input_channels_is_refused_or_fitted(save):
    source = network(0)
    file = save(source.state_dict())
    net = network(1, in_channels=4)
    error = error_of(load_pretrained_backbone, net, file)
    assert "its stem takes 3 input channels, the model's 4; set in_channels=3, or " in error
    image = torch.randn(1, 1, 32, 32)
    expected = source.downsample_layers[0][0](image.expand(-1, 3, -1, -1))
    for stem in ("average", "repeat"):
        load_pretrained_backbone(net, file, stem=stem)
        assert_loaded(net, source, but=("downsample_layers.0.0.weight",))
    load_pretrained_backbone(net, file, stem="average")
    found = net.downsample_layers[0][0](image.expand(-1, 4, -1, -1))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    load_pretrained_backbone(net, file, stem="repeat")
    old, new = source.downsample_layers[0][0].weight, net.downsample_layers[0][0].weight
    torch.testing.assert_close(new, old[:, [0, 1, 2, 0]] * 0.75)
    with pytest.raises(CheckpointError, match="one of average, repeat, found 'guess'"):
        load_pretrained_backbone(net, file, stem="guess")
