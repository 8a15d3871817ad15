"""Every operator that mmdet and mmseg reach is there, and their layers run on it, forward and back.

Found by reading: what the installed mmdet and mmseg (shipped configs included) import from
``mmcv.ops`` or name as a ``type``, and what that calls in ``mmcv._ext``. The layers below are the
ones through which the configs get there. Also reached, but plain PyTorch in mmcv itself:
``CornerPool``, ``CrissCrossAttention``, ``point_sample``, ``SimpleRoIAlign``, the cells of NAS-FPN,
and on a CPU ``MultiScaleDeformableAttention``.
"""

from __future__ import annotations

import inspect
import re
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

import mmconvnext  # noqa: F401  (provides mmcv._ext)

# isort: split
import mmcv._ext
import mmcv.ops
from mmcv.cnn import build_conv_layer, build_norm_layer, build_upsample_layer
from mmengine.registry import MODELS

mmdet = pytest.importorskip("mmdet.models", reason="needs mmdet")
mmseg = pytest.importorskip("mmseg.models", reason="needs mmsegmentation")

# In the same file of mmcv as nms, but for rotated boxes and quadrangles, which mmdet does not have.
BESIDE = {"nms_rotated", "nms_quadri"}


def names_used_by(package):
    """What the package's sources and configs import from mmcv.ops, or name as a type of it."""
    names = set()
    for path in Path(package.__file__).parents[1].rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for imported in re.findall(r"from mmcv\.ops[.\w]* import (\([^)]*\)|.*)", text):
            names.update(re.findall(r"\w+", imported))
        names.update(re.findall(r"\btype=['\"](?:mmcv\.)?(\w+)['\"]", text))
    return names


def operators_behind(name):
    """The functions of mmcv._ext called in the file that defines ``name``, and in those it uses."""
    item = getattr(mmcv.ops, name, None) or MODELS.module_dict.get(name)
    module = inspect.getmodule(getattr(item, "__self__", item))  # deform_conv2d is a class's apply
    if module is None or not module.__name__.startswith("mmcv.ops."):
        return set()
    found, waiting, seen = set(), [module], set()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        source = inspect.getsource(module)
        found.update(re.findall(r"ext_module\.(\w+)", source))
        files = re.findall(r"from (?:mmcv\.ops)?\.(\w+) import", source)
        waiting += [getattr(mmcv.ops, file) for file in files if hasattr(mmcv.ops, file)]
    return found


@pytest.mark.parametrize("package", [mmdet, mmseg], ids=lambda package: package.__name__)
def test_every_operator_that_the_package_reaches_is_provided(package):
    from mmconvnext.compat.mmcv_ops import operators

    reached = set().union(*map(operators_behind, names_used_by(package)))
    assert "sigmoid_focal_loss_forward" in reached  # the search finds what is known
    assert reached - BESIDE - set(operators()) == set()


def test_what_only_a_shipped_config_names_is_found():
    names = names_used_by(mmdet)
    assert {"DCN", "DCNv2", "SAC", "carafe", "MMSyncBN", "DeformRoIPoolPack"} <= names
    assert "deform_roi_pool_forward" in operators_behind("ModulatedDeformRoIPoolPack")
    assert "sync_bn_forward_mean" in operators_behind("MMSyncBN")
    assert "deform_conv_forward" in operators_behind("SAC")
    assert "softnms" in operators_behind("batched_nms")


@pytest.fixture
def called(monkeypatch):
    """Names of the functions of mmcv._ext that were called."""
    names = set()

    def watch(name, operator, *args, **kwargs):
        names.add(name)
        return operator(*args, **kwargs)

    for name, operator in list(vars(mmcv._ext).items()):
        if callable(operator) and not name.startswith("_"):
            monkeypatch.setattr(mmcv._ext, name, partial(watch, name, operator))
    return names


def tensors_in(output):
    return [output] if isinstance(output, torch.Tensor) else list(output)


def run_both_ways(layer, *inputs):
    """Run forward and backward; everything has to be finite, and the gradients not all zero."""
    outputs = tensors_in(layer(*inputs))
    assert all(output.isfinite().all() for output in outputs)
    sum((output * torch.rand_like(output)).sum() for output in outputs).backward()
    parameters = layer.parameters() if isinstance(layer, torch.nn.Module) else []
    sources = [t for i in inputs for t in tensors_in(i) if t.requires_grad] + list(parameters)
    gradients = [source.grad for source in sources if source.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.abs().sum() > 0 for gradient in gradients)


def picture(channels=4, size=8):
    return torch.randn(2, channels, size, size, requires_grad=True)


V1 = {"deform_conv_forward", "deform_conv_backward_input", "deform_conv_backward_parameters"}
V2 = {"modulated_deform_conv_forward", "modulated_deform_conv_backward"}


@pytest.mark.parametrize(
    ("conv_cfg", "operators"),
    [
        (dict(type="DCN", deform_groups=2), V1),
        (dict(type="DCNv2", deform_groups=2), V2),
        (dict(type="SAC", use_deform=True), V1),
    ],
    ids=["DCN", "DCNv2", "SAC"],
)
def test_deformable_conv_layers(called, conv_cfg, operators):
    layer = build_conv_layer(conv_cfg, 4, 4, 3, padding=1, bias=False)
    run_both_ways(layer, picture())
    assert operators <= called


@pytest.mark.parametrize(("kind", "operators"), [("DCN", V1), ("DCNv2", V2)])
def test_backbone_with_deformable_stages(called, kind, operators):
    backbone = mmdet.ResNet(
        50,
        base_channels=4,
        stem_channels=4,
        dcn=dict(type=kind, deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, True, True, True),
    )
    run_both_ways(backbone, picture(3, 64))
    assert operators <= called


def test_necks_and_heads_of_mmdet_on_deformable_convolution(called):
    run_both_ways(mmdet.DyHead(16, 16, num_blocks=1), [picture(16, 8), picture(16, 4)])
    assert called >= V2
    adaption = mmdet.dense_heads.guided_anchor_head.FeatureAdaption(4, 4, deform_groups=2)
    run_both_ways(adaption, picture(), picture(2))
    run_both_ways(partial(mmdet.TOODHead.deform_sampling, None), picture(), picture(8))
    assert called >= V1


def test_carafe_upsampling(called):
    run_both_ways(build_upsample_layer(dict(type="carafe", channels=4, scale_factor=2)), picture())
    neck = mmdet.FPN_CARAFE([4, 8], 4, num_outs=2)
    run_both_ways(neck, [picture(4, 8), picture(8, 4)])
    assert called == {"carafe_forward", "carafe_backward"}


def test_multi_scale_deformable_attention_layer():
    layer = mmcv.ops.MultiScaleDeformableAttention(16, 2, 2, 2, batch_first=True, dropout=0.0)
    shapes = torch.tensor([[4, 5], [2, 2]])
    query = torch.randn(2, 24, 16, requires_grad=True)

    def attend(query):
        references = torch.rand(2, 24, 2, 2)
        starts = torch.tensor([0, 20])
        return layer(
            query, reference_points=references, spatial_shapes=shapes, level_start_index=starts
        )

    run_both_ways(attend, query)


@pytest.mark.parametrize("kind", ["collect", "distribute", "bi-direction"])
def test_psanet_head(called, kind):
    torch.manual_seed(0)
    head = mmseg.PSAHead(
        mask_size=(7, 7),
        psa_type=kind,
        in_channels=4,
        channels=8,
        num_classes=3,
        norm_cfg=dict(type="BN"),
        align_corners=False,
    )
    run_both_ways(head, [picture(4, 8)])
    assert called == {"psamask_forward", "psamask_backward"}


ROI_LAYERS = {
    "RoIAlign": dict(output_size=3, sampling_ratio=0),
    "RoIPool": dict(output_size=3),
    "DeformRoIPoolPack": dict(output_size=3, output_channels=4, deform_fc_channels=8),
    "ModulatedDeformRoIPoolPack": dict(output_size=3, output_channels=4, deform_fc_channels=8),
}


@pytest.mark.parametrize("kind", ROI_LAYERS)
def test_roi_extractor(called, kind):
    extractor = mmdet.SingleRoIExtractor(
        dict(type=kind, **ROI_LAYERS[kind]), 4, featmap_strides=[4, 8], finest_scale=16
    )
    rois = torch.tensor([[0, 2.0, 3.0, 15.0, 20.0], [1, 0.0, 0.0, 31.0, 60.0], [1, 5, 5, 25, 9]])
    run_both_ways(extractor, [picture(4, 16), picture(4, 8)], rois)
    assert len(called) == 2


def test_masked_convolution_of_guided_anchoring(called):
    layer = mmcv.ops.MaskedConv2d(4, 3, 3, padding=1)
    x, mask = torch.randn(1, 4, 6, 6), torch.zeros(1, 6, 6)
    mask[0, 2, 3] = 1
    output = layer(x, mask)
    assert output[..., 2, 3].abs().sum() > 0
    assert output.abs().sum() == output[..., 2, 3].abs().sum()
    assert called == {"masked_im2col_forward", "masked_col2im_forward"}


@pytest.mark.parametrize(("kind", "operator"), [("nms", "nms"), ("soft_nms", "softnms")])
def test_nms_kinds_of_the_configs(called, kind, operator):
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]])
    scores = torch.tensor([[0.9, 0.0, 0.0], [0.8, 0.0, 0.0], [0.7, 0.0, 0.0]])
    multiclass_nms = mmdet.layers.multiclass_nms
    dets, labels = multiclass_nms(boxes, scores, 0.3, dict(type=kind, iou_threshold=0.5))
    assert operator in called
    assert dets[:, 4].max() == pytest.approx(0.9)
    assert labels.tolist() == [0] * len(dets)


@pytest.fixture
def one_process():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_mmsyncbn_equals_batch_norm(one_process, called, dtype):
    torch.manual_seed(0)
    layer = build_norm_layer(dict(type="MMSyncBN", stats_mode="N"), 4)[1]
    reference = torch.nn.BatchNorm2d(4)
    reference.load_state_dict(layer.state_dict())
    x = torch.randn(3, 4, 5, 6).to(dtype)
    mine, theirs = x.clone().requires_grad_(), x.float().requires_grad_()
    found, wanted = layer(mine), reference(theirs)
    grad = torch.randn_like(found)
    found.backward(grad)
    wanted.backward(grad.float())
    assert len(called) == 5
    torch.testing.assert_close(found, wanted.to(dtype))
    torch.testing.assert_close(mine.grad, theirs.grad.to(dtype))
    torch.testing.assert_close(layer.weight.grad, reference.weight.grad)
    torch.testing.assert_close(layer.bias.grad, reference.bias.grad)
    torch.testing.assert_close(layer.state_dict(), reference.state_dict())


def test_mmsyncbn_of_an_empty_batch_leaves_its_statistics_alone(one_process):
    layer = build_norm_layer(dict(type="MMSyncBN", stats_mode="N"), 4)[1]
    output = layer(torch.empty(0, 4, 5, 6, requires_grad=True))
    assert output.shape == (0, 4, 5, 6)
    output.sum().backward()
    assert layer.running_mean.tolist() == [0] * 4
    assert layer.running_var.tolist() == [1] * 4
