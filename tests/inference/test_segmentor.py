"""Classes without all logits against mmseg's own segmentor: equal to the pixel."""

from __future__ import annotations

import copy

import mmseg.models  # noqa: F401  (fills the registry)
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import mmconvnext
from mmconvnext.inference import segmentor as lean
from mmconvnext.inference.segmentor import LeanEncoderDecoder

SLIDE = {"mode": "slide", "crop_size": (48, 64), "stride": (30, 40)}


def build(classes=7, test_cfg=None, align_corners=False, **head):
    torch.manual_seed(0)
    arch = {"depths": [1, 1, 1, 1], "channels": [8, 8, 8, 16]}
    model = MODELS.build(
        {
            "type": "EncoderDecoder",
            "backbone": {"type": "mmconvnext.ConvNeXt", "arch": arch},
            "decode_head": {
                "type": "FCNHead",
                "in_channels": 16,
                "channels": 8,
                "num_convs": 1,
                "num_classes": classes,
                "norm_cfg": {"type": "BN"},
                "align_corners": align_corners,
                **head,
            },
            "test_cfg": ConfigDict(test_cfg or {"mode": "whole"}),
        }
    )
    for parameter in model.decode_head.parameters():
        torch.nn.init.normal_(parameter)
    return model.eval()


def both(model, inputs, samples=None):
    fast = copy.deepcopy(model)
    assert LeanEncoderDecoder.take_over(fast)
    with torch.no_grad():
        stock = model.predict(inputs, copy.deepcopy(samples))
        return fast.predict(inputs, copy.deepcopy(samples)), stock


def assert_same_classes(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        assert "seg_logits" not in ours and "seg_logits" in theirs
        assert ours.pred_sem_seg.data.dtype == theirs.pred_sem_seg.data.dtype
        assert torch.equal(ours.pred_sem_seg.data, theirs.pred_sem_seg.data)
        assert theirs.pred_sem_seg.data.unique().numel() > 2


@pytest.fixture(params=[1, 10**9], ids=["class by class", "all at once"], autouse=True)
def chunk(request, monkeypatch):
    monkeypatch.setattr(lean, "_CHUNK_BYTES", request.param)


METAS = {
    "same size": {},
    "smaller": {"ori_shape": (50, 61)},
    "larger": {"ori_shape": (131, 170)},
    "padded": {"padding_size": [3, 5, 0, 7], "ori_shape": (70, 90)},
    "padded by the preprocessor": {"img_padding_size": [0, 6, 0, 9], "ori_shape": (44, 51)},
    "flipped": {"flip": True, "flip_direction": "horizontal", "ori_shape": (70, 90)},
    "upside down": {"flip": True, "flip_direction": "vertical", "padding_size": [0, 4, 0, 2]},
}


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("test_cfg", [{"mode": "whole"}, SLIDE], ids=["whole", "slide"])
@pytest.mark.parametrize("meta", METAS.values(), ids=METAS)
def test_finds_the_classes_that_mmseg_finds(meta, test_cfg, align_corners):
    sizes = {"ori_shape": (77, 101), "img_shape": (77, 101), "pad_shape": (77, 101)}
    samples = [SegDataSample(metainfo={**sizes, **m}) for m in (meta, {})]
    model = build(test_cfg=test_cfg, align_corners=align_corners)
    assert_same_classes(*both(model, torch.randn(2, 3, 77, 101), samples))


@pytest.mark.parametrize("test_cfg", [{"mode": "whole"}, SLIDE], ids=["whole", "slide"])
def test_without_samples(test_cfg):
    assert_same_classes(*both(build(test_cfg=test_cfg), torch.randn(2, 3, 64, 96)))


def test_samples_keep_what_they_had():
    shape = (64, 64)
    sample = SegDataSample(
        metainfo={"ori_shape": shape, "img_shape": shape, "img_path": "a.png"},
        gt_sem_seg=PixelData(data=torch.zeros(1, *shape)),
    )
    fast = build()
    assert LeanEncoderDecoder.take_over(fast)
    (found,) = fast.predict(torch.randn(1, 3, *shape), [sample])
    assert found is sample and found.img_path == "a.png" and "gt_sem_seg" in found


def test_of_equal_classes_the_first():
    model = build()
    torch.nn.init.zeros_(model.decode_head.conv_seg.weight)
    model.decode_head.conv_seg.bias.data = torch.tensor([0.0, 2, 1, 2, 2, 0, 2])
    found, expected = both(model, torch.randn(1, 3, 64, 64))
    assert torch.equal(found[0].pred_sem_seg.data, expected[0].pred_sem_seg.data)
    assert found[0].pred_sem_seg.data.unique().tolist() == [1]


def test_two_classes():
    model, inputs = build(classes=2), torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        first, second = model(inputs).mean((0, 2, 3))
        model.decode_head.conv_seg.bias[1] += first - second  # both are somewhere
    found, expected = both(model, inputs)
    assert torch.equal(found[0].pred_sem_seg.data, expected[0].pred_sem_seg.data)
    assert found[0].pred_sem_seg.data.unique().numel() == 2


def test_one_class_against_a_threshold_stays_mmsegs():
    model = build(classes=2, out_channels=1, threshold=0.3)
    assert not LeanEncoderDecoder.take_over(model)
    assert (
        "seg_logits"
        in mmconvnext.optimize_for_inference(model).predict(torch.randn(1, 3, 64, 64))[0]
    )


def test_subclasses_and_other_heads_stay():
    class Own(type(build())):
        pass

    model = build()
    model.__class__ = Own
    assert not LeanEncoderDecoder.take_over(model)
    model = build()
    model.decode_head.__class__ = type(
        "OwnHead", (type(model.decode_head),), {"predict_by_feat": lambda *_: None}
    )
    assert not LeanEncoderDecoder.take_over(model)


def test_inside_a_tta_model_logits_stay():
    model = MODELS.build({"type": "SegTTAModel", "module": build()})
    fast = mmconvnext.optimize_for_inference(model)
    assert "seg_logits" in fast.module.predict(torch.randn(1, 3, 64, 64))[0]


def test_the_whole_segmentor_optimised():
    model = build()
    fast = mmconvnext.optimize_for_inference(model)
    assert type(fast) is LeanEncoderDecoder and type(model) is not LeanEncoderDecoder
    inputs = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        found, expected = fast.predict(inputs)[0], model.predict(inputs)[0]
        logits = fast(inputs, mode="tensor")
        torch.testing.assert_close(logits, model(inputs, mode="tensor"), rtol=1e-4, atol=1e-4)
    same = found.pred_sem_seg.data == expected.pred_sem_seg.data
    assert same.float().mean() > 0.999
