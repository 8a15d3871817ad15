"""What the recipes do to pictures, tried on pictures, against the authors' settings."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.structures.mask import PolygonMasks
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData
from mmseg.models import EncoderDecoder
from mmseg.structures import SegDataSample
from published import ALL, DETECTION, SEGMENTATION, load

SHORT_SIDES = list(range(480, 801, 32))
MEAN, STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
V2_DETECTION = [name for name in DETECTION if "convnextv2" in name]
V1_DETECTION = [name for name in DETECTION if name not in V2_DETECTION]


def steps(name: str, dataloader: str = "train_dataloader") -> list[dict]:
    """The pipeline, without its steps that read files."""
    pipeline = load(name)[dataloader].dataset.pipeline
    return [step for step in pipeline if not kind(step).startswith("Load")]


def kind(step: Any) -> str:
    """What a step does: its type without the package that it is from."""
    return step.type.rpartition(".")[2]


def picture(height: int, width: int) -> dict[str, Any]:
    """A picture with one object, whose left half is dark."""
    image = np.full((height, width, 3), 200, np.uint8)
    image[:, : width // 2] = 20
    box = [width * 0.25, height * 0.25, width * 0.5, height * 0.5]
    x1, y1, x2, y2 = box
    polygon = np.array([x1, y1, x2, y1, x2, y2, x1, y2])
    return dict(
        img=image,
        img_shape=(height, width),
        ori_shape=(height, width),
        img_id=0,
        img_path="made up",
        gt_bboxes=np.array([box], np.float32),
        gt_bboxes_labels=np.array([0]),
        gt_ignore_flags=np.array([False]),
        gt_masks=PolygonMasks([[polygon]], height, width),
        gt_seg_map=np.arange(height * width).reshape(height, width).astype(np.uint8) % 5,
        seg_fields=[],
    )


def results(name: str, height: int, width: int, times: int) -> list[dict]:
    cfg = load(name)
    init_default_scope(cfg.default_scope)
    run = Compose(steps(name))
    np.random.seed(0)
    found = []
    for _ in range(times):
        source = picture(height, width)
        if name in DETECTION:
            from mmdet.structures.bbox import HorizontalBoxes

            source["gt_bboxes"] = HorizontalBoxes(source["gt_bboxes"])
            del source["gt_seg_map"]
        else:
            source["seg_fields"] = ["gt_seg_map"]
        result = run(source)
        if result is not None:
            found.append(result)
    return found


def test_recipes_of_a_kind_share_their_training_pipeline() -> None:
    for group in (V1_DETECTION, V2_DETECTION):
        assert all(steps(name) == steps(group[0]) for name in group)
    for crop in ("512", "640"):
        group = [name for name in SEGMENTATION if name.endswith(f"_{crop}.py")]
        assert all(steps(name) == steps(group[0]) for name in group)


def test_coco_sizes_crops_and_flips() -> None:
    height, width = 480, 640
    whole, cropped, flipped = set(), 0, 0
    found = results(V1_DETECTION[0], height, width, 300)
    for result in found:
        sample, image = result["data_samples"], result["inputs"]
        tall, wide = image.shape[1:]
        flipped += sample.flip
        # The longer side is limited before the shorter one is wanted.
        assert min(tall, wide) in SHORT_SIDES or max(tall, wide) == 1333
        assert max(tall, wide) <= 1333
        if abs(wide / tall - width / height) > 0.01:
            cropped += 1
            continue
        whole.add(tall)
        scale = wide / width
        (box,) = sample.gt_instances.bboxes.tensor.numpy()
        expected = np.array([160, 120, 320, 240]) * scale
        if sample.flip:
            expected[[0, 2]] = wide - expected[[2, 0]]
        # Cropped to the same proportions by chance, a picture may hold the box elsewhere.
        if np.abs(box - expected).max() > 2:
            cropped += 1
    assert whole == set(SHORT_SIDES)
    assert 0.35 < cropped / len(found) < 0.6  # half of them take DETR's second way
    assert 0.4 < flipped / len(found) < 0.6


def test_coco_crops_are_of_384_to_600_pixels_out_of_three_sizes() -> None:
    choice = next(step for step in steps(V1_DETECTION[0]) if step.type == "RandomChoice")
    (resize,), (first, crop, second) = choice.transforms
    assert resize.scales == second.scales == [(side, 1333) for side in SHORT_SIDES]
    assert first.scales == [(side, 1333) for side in (400, 500, 600)]
    assert (crop.crop_type, crop.crop_size) == ("absolute_range", (384, 600))
    assert crop.allow_negative_crop
    assert all(step.keep_ratio for step in (resize, first, second))


def test_v2_jitters_from_a_tenth_to_twice_1024_and_pads_to_it() -> None:
    height, width = 480, 640
    found = results(V2_DETECTION[0], height, width, 200)
    sizes = np.array([result["inputs"].shape[1:] for result in found])
    assert sizes.max() == 1024 and sizes.min() < 0.2 * 1024
    uncropped = sizes[(sizes < 1024).all(1)]
    assert np.abs(uncropped[:, 1] / uncropped[:, 0] - width / height).max() < 0.03
    assert 0.3 < (sizes[:, 1] == 1024).mean() < 0.7  # scales above 1, a little over half
    cfg = load(V2_DETECTION[0])
    init_default_scope("mmdet")
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    batch = {
        "inputs": [result["inputs"] for result in found[:2]],
        "data_samples": [result["data_samples"] for result in found[:2]],
    }
    out = preprocessor(batch, training=True)
    assert out["inputs"].shape == (2, 3, 1024, 1024)
    masks = out["data_samples"][0].gt_instances.masks
    assert (masks.height, masks.width) == (1024, 1024)


@pytest.mark.parametrize("crop", [512, 640])
def test_ade20k_crops_scales_and_labels(crop: int) -> None:
    name = next(n for n in SEGMENTATION if n.endswith(f"_{crop}.py"))
    by_type = {kind(step): step for step in steps(name)}
    resize, cut = by_type["RandomResize"], by_type["RandomCrop"]
    assert (resize.scale, resize.ratio_range) == ((4 * crop, crop), (0.5, 2.0))
    assert resize.keep_ratio
    assert (cut.crop_size, cut.cat_max_ratio) == ((crop, crop), 0.75)
    assert by_type["RandomFlip"].prob == 0.5
    assert "PhotoMetricDistortion" in by_type
    pipeline = load(name).train_dataloader.dataset.pipeline
    load_labels = next(step for step in pipeline if kind(step) == "LoadAnnotations")
    assert load_labels.reduce_zero_label
    found = results(name, 300, 400, 60)
    sizes = np.array([result["inputs"].shape[1:] for result in found])
    assert sizes.max() == crop
    assert (crop // 2 <= sizes.min()) and (sizes.min() < crop)  # a scale of a half is not cropped
    assert 0.25 < np.mean([result["data_samples"].flip for result in found]) < 0.75


@pytest.mark.parametrize("name", ALL)
def test_pictures_are_normalised_then_padded(name: str) -> None:
    cfg = load(name)
    init_default_scope(cfg.default_scope)
    settings = dict(cfg.model.data_preprocessor)
    settings.pop("batch_augments", None)  # V2's further padding
    preprocessor = MODELS.build(settings)
    blue = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 50, 70)).astype(np.uint8))
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.ones(1, 50, 70, dtype=torch.long)))
    batch = {"inputs": [blue], "data_samples": [sample] if name in SEGMENTATION else None}
    out = preprocessor(batch, training=name in SEGMENTATION)
    size = (64, 96) if name in DETECTION else cfg.model.data_preprocessor.size
    image = out["inputs"][0].numpy()
    assert image.shape == (3, *size)
    red_first = blue.numpy()[::-1].transpose(1, 2, 0).astype(np.float64)
    expected = ((red_first - MEAN) / STD).transpose(2, 0, 1)
    np.testing.assert_allclose(image[:, :50, :70], expected, rtol=1e-4, atol=1e-4)
    assert not image[:, 50:].any() and not image[:, :, 70:].any()
    if name in SEGMENTATION:
        labels = out["data_samples"][0].gt_sem_seg.data[0]
        assert labels.shape == size
        assert (labels[:50, :70] == 1).all() and (labels[50:] == 255).all()


@pytest.mark.parametrize("name", DETECTION)
def test_detectors_are_tested_at_one_scale(name: str) -> None:
    (resize,) = [s for s in steps(name, "test_dataloader") if s.type == "Resize"]
    assert (resize.scale, resize.keep_ratio) == ((1333, 800), True)


@pytest.mark.parametrize("name", SEGMENTATION)
def test_segmentors_slide_over_the_whole_picture(name: str) -> None:
    cfg = load(name)
    crop = 640 if name.endswith("_640.py") else 512
    stride = {512: 341, 640: 426}[crop]
    assert cfg.model.test_cfg == dict(mode="slide", crop_size=(crop, crop), stride=(stride, stride))
    (resize,) = [s for s in steps(name, "test_dataloader") if s.type == "Resize"]
    assert (resize.scale, resize.keep_ratio) == ((4 * crop, crop), True)
    seen = []

    def encode_decode(window: torch.Tensor, _: Any) -> torch.Tensor:
        seen.append(window.shape[-2:])
        return window[:, :1]

    model = SimpleNamespace(
        test_cfg=cfg.model.test_cfg, out_channels=1, encode_decode=encode_decode
    )
    image = torch.rand(1, 3, crop, crop + 2 * stride + 1)
    out = EncoderDecoder.slide_inference(model, image, [{}])
    assert seen == [(crop, crop)] * 4  # three strides are two and a rest
    torch.testing.assert_close(out, image[:, :1])
