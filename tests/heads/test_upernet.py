"""The fast head against mmseg's: numbers, gradients, checkpoints, and what is left to mmseg."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmseg.models.decode_heads import UPerHead
from torch import Tensor, nn

from mmconvnext.evaluation.one_step import try_model
from mmconvnext.heads import upernet
from mmconvnext.heads.upernet import FastUPerHead

RECIPE = "mmconvnext::segmentation/upernet_convnext_t_ade20k_512.py"
CHANNELS = [8, 16, 24, 32]
DEMO_SIZES = [(32, 32), (16, 16), (8, 8), (4, 4)]


def heads(**changes: Any) -> tuple[FastUPerHead, UPerHead]:
    """Ours and mmseg's with the same weights, in double precision, without dropout."""
    init_default_scope("mmseg")
    torch.manual_seed(0)
    cfg: dict[str, Any] = dict(
        in_channels=CHANNELS, in_index=[0, 1, 2, 3], channels=32, num_classes=5, dropout_ratio=0.0
    )
    cfg |= {"norm_cfg": dict(type="BN"), "align_corners": False} | changes
    ours = MODELS.build({"type": "mmconvnext.FastUPerHead", **cfg}).double()
    theirs = MODELS.build({"type": "UPerHead", **cfg}).double()
    ours.init_weights()
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.2)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def pyramid(sizes: list[tuple[int, int]] = DEMO_SIZES) -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(2, c, *s).double() for c, s in zip(CHANNELS, sizes, strict=True)]


def assert_same(ours: nn.Module, theirs: nn.Module, maps: list[Tensor]) -> None:
    """Outputs, gradients of parameters and inputs, and running statistics."""
    results = []
    for head in (ours, theirs):
        inputs = [m.clone().requires_grad_() for m in maps]
        logits = head(inputs)
        logits.square().sum().backward()
        grads = {name: p.grad for name, p in head.named_parameters()}
        results.append((logits.detach(), grads, [m.grad for m in inputs], dict(head.state_dict())))
    torch.testing.assert_close(*results, rtol=1e-8, atol=1e-8)


@pytest.fixture
def fusions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many maps each fast fusion had."""
    counts: list[int] = []
    inner = upernet.conv3x3_of_resized

    def noted(maps: list[Tensor], *args: Any, **kwargs: Any) -> Tensor:
        counts.append(len(maps))
        return inner(maps, *args, **kwargs)

    monkeypatch.setattr(upernet, "conv3x3_of_resized", noted)
    return counts


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    "sizes",
    [
        DEMO_SIZES,
        [(33, 27), (17, 14), (9, 7), (5, 4)],
        [(16, 16), (8, 8), (8, 8), (8, 8)],  # a dilated backbone
        [(8, 8), (16, 16), (8, 8), (4, 4)],  # a stage larger than the first
    ],
    ids=str,
)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "training"])
def test_same_numbers_as_mmsegs(
    sizes: list[tuple[int, int]], align_corners: bool, training: bool, fusions: list[int]
) -> None:
    ours, theirs = (head.train(training) for head in heads(align_corners=align_corners))
    assert_same(ours, theirs, pyramid(sizes))
    assert fusions == [5, 4]  # the pooled maps and the last stage; the four levels


@pytest.mark.parametrize(
    "changes",
    [
        dict(norm_cfg=None),  # the convolutions then have a bias
        dict(norm_cfg=dict(type="GN", num_groups=4), act_cfg=dict(type="GELU")),
        dict(pool_scales=(1, 9)),  # the last stage is smaller than that
        dict(act_cfg=None),
    ],
    ids=str,
)
def test_any_arguments(changes: dict[str, Any], fusions: list[int]) -> None:
    ours, theirs = heads(**changes)
    assert_same(ours, theirs, pyramid())
    assert len(fusions) == 2


def test_state_dicts_load_both_ways() -> None:
    ours, theirs = heads()
    assert [*ours.state_dict()] == [*theirs.state_dict()]
    for parameter in theirs.parameters():
        nn.init.normal_(parameter)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    torch.testing.assert_close(ours.eval()(pyramid()), theirs.eval()(pyramid()))


def change_nothing_known(head: UPerHead, what: str) -> None:
    """Put something into both fusions that is no plain 3x3 convolution."""
    for module in (head.bottleneck, head.fpn_bottleneck):
        if what == "spectral norm":
            torch.manual_seed(0)
            module.conv = nn.utils.spectral_norm(module.conv)
        elif what == "dilation":
            module.conv.dilation, module.conv.padding = (2, 2), (2, 2)
        elif what == "circular padding":
            module.conv.padding_mode = "circular"
            module.conv._reversed_padding_repeated_twice = [1, 1, 1, 1]
        elif what == "bn folded in eval":
            module.turn_on_efficient_conv_bn_eval()


@pytest.mark.parametrize(
    "what", ["spectral norm", "dilation", "circular padding", "bn folded in eval"]
)
def test_what_is_no_plain_convolution_is_left_to_mmseg(what: str, fusions: list[int]) -> None:
    ours, theirs = heads()
    for head in (ours, theirs):
        change_nothing_known(head, what)
        head.eval()
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(pyramid()), theirs(pyramid()), rtol=0, atol=0)
    assert fusions == []


def test_switched_off_it_is_mmsegs_to_the_bit(fusions: list[int]) -> None:
    ours, theirs = (head.eval() for head in heads())
    ours.fast_fusion = False
    assert torch.equal(ours(pyramid()), theirs(pyramid()))
    assert fusions == []


def test_autocast_gives_what_mmsegs_gives() -> None:
    ours, theirs = (head.float().eval() for head in heads())
    maps = [m.float() for m in pyramid()]
    exact = theirs(maps)
    with torch.autocast("cpu", torch.bfloat16):
        found, wanted = ours(maps), theirs(maps)
    assert found.dtype == wanted.dtype == torch.bfloat16
    assert (found - exact).std() < 1.5 * (wanted - exact).std()


def test_one_graph_for_torch_compile_and_export() -> None:
    ours, theirs = (head.float().eval() for head in heads())
    maps = [m.float() for m in pyramid()]
    with torch.no_grad():
        wanted = theirs(maps)
        compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(maps), wanted, rtol=1e-4, atol=1e-4)
        exported = torch.export.export(ours, (maps,)).module()
        torch.testing.assert_close(exported(maps), wanted, rtol=1e-4, atol=1e-4)


def saved_bytes(head: nn.Module, maps: list[Tensor]) -> int:
    """What the backward pass keeps, each memory once; parameters are there anyway."""
    kept = {}
    own = {p.untyped_storage().data_ptr() for p in head.parameters()}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        outputs = head(maps)
    assert outputs.requires_grad
    return sum(s.nbytes() for address, s in kept.items() if address not in own)


def test_the_large_concatenated_map_is_not_kept() -> None:
    ours, theirs = heads(channels=64)
    maps = pyramid([(64, 64), (32, 32), (16, 16), (8, 8)])
    concatenated = 2 * 4 * 64 * 64 * 64 * 8  # bytes, of double precision
    # The finest level and the small ones take its place: a fourth and a little of the rest.
    assert saved_bytes(theirs, maps) - saved_bytes(ours, maps) > 0.6 * concatenated


def test_the_recipes_have_it_and_train_with_it() -> None:
    cfg = Config.fromfile(RECIPE)
    assert cfg.model.decode_head.type == "mmconvnext.FastUPerHead"
    cfg.model.backbone = dict(
        type="mmconvnext.ConvNeXt", arch=dict(depths=[1, 1, 1, 1], channels=CHANNELS)
    )
    cfg.model.decode_head.update(in_channels=CHANNELS, channels=16, num_classes=4)
    cfg.model.auxiliary_head.update(in_channels=CHANNELS[2], channels=16, num_classes=4)
    cfg.model.test_cfg = dict(mode="whole")
    try_model(cfg, size=64)


def test_a_backbone_alone_imports_no_mmseg() -> None:
    code = (
        "import sys, mmconvnext; from mmengine.registry import MODELS; "
        "MODELS.build(dict(type='mmconvnext.ConvNeXt', arch='atto')); "
        "assert 'mmseg' not in sys.modules; "
        "print(MODELS.get('mmconvnext.FastUPerHead').__name__, 'mmseg' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "FastUPerHead True", answer.stdout + answer.stderr
