"""Pictures for painting, out of whatever a pipeline gives and whatever wraps a data set."""

from __future__ import annotations

import random

import numpy as np
import pytest

from mmconvnext.data.checks import DataError
from mmconvnext.data.samples import (
    augmented,
    chosen,
    displayable,
    innermost_of,
    locate,
    original,
    seeded,
)

BGR = np.array([[[0, 128, 255]]], np.uint8)
RGB = BGR[..., ::-1]


def test_whole_numbers_are_shown_as_they_are() -> None:
    assert (displayable(BGR, "bgr") == RGB).all()
    assert (displayable(RGB, "rgb") == RGB).all()


@pytest.mark.parametrize("scale", [1.0, 255.0], ids=["to 255", "to 1"])
def test_floats_are_scaled(scale) -> None:
    assert (displayable(BGR.astype(np.float32) / scale, "bgr") == RGB).all()


def test_normalised_floats_are_brought_back() -> None:
    norm = {"mean": [123.7, 116.3, 103.5], "std": [58.4, 57.1, 57.4], "to_rgb": True}
    normalised = ((RGB - np.array(norm["mean"])) / norm["std"]).astype(np.float32)
    assert (displayable(normalised, "bgr", norm) == RGB).all()
    stretched = displayable(normalised, "rgb")  # nobody says how
    assert stretched.min() == 0 and stretched.max() == 255


def test_grey_and_four_channels_are_shown() -> None:
    assert displayable(np.full((2, 3, 1), 7, np.uint8), "bgr").tolist() == [[[7] * 3] * 3] * 2
    assert displayable(np.full((2, 3), 7, np.uint8), "bgr").shape == (2, 3, 3)
    assert displayable(np.zeros((2, 3, 4), np.uint8), "rgb").shape == (2, 3, 3)


def test_choice_is_the_seeds() -> None:
    assert chosen(100, 5, 1) == chosen(100, 5, 1) != chosen(100, 5, 2)
    assert chosen(3, 5, 0) == [0, 1, 2]


def test_a_seed_leaves_no_trace() -> None:
    random.seed(5)
    np.random.seed(5)
    expected = random.random(), np.random.rand()
    random.seed(5)
    np.random.seed(5)
    with seeded(1):
        first = random.random(), np.random.rand()
    with seeded(1):
        assert (random.random(), np.random.rand()) == first
    assert (random.random(), np.random.rand()) == expected


@pytest.fixture
def coco(shapes):
    pytest.importorskip("mmdet")

    def settings(**more):
        plain = {
            "data_root": str(shapes["detection"]),
            "ann_file": "annotations/instances_train.json",
            "data_prefix": {"img": "images/train/"},
            "metainfo": {"classes": ("circle", "square", "triangle")},
            "pipeline": [
                {"type": "mmcv.LoadImageFromFile"},
                {"type": "mmdet.LoadAnnotations", "with_bbox": True, "with_mask": True},
                {"type": "mmdet.Resize", "scale": (32, 32)},
                {"type": "mmdet.PackDetInputs"},
            ],
        }
        return {**plain, **more}

    return settings


def build(settings):
    from mmdet.datasets import CocoDataset

    return CocoDataset(**settings)


def test_wrappers_are_seen_through(coco) -> None:
    from mmdet.registry import DATASETS

    settings = coco()
    *loading, packing = settings["pipeline"]
    one = {"type": "mmdet.CocoDataset", **settings, "pipeline": loading}
    other = {**one, "indices": 2}
    flips = [{"type": "mmdet.RandomFlip", "prob": 1.0}, packing]
    mixed = DATASETS.build(
        {
            "type": "MultiImageMixDataset",
            "pipeline": flips,
            "dataset": {
                "type": "RepeatDataset",
                "times": 2,
                "dataset": {"type": "mmdet.ConcatDataset", "datasets": [one, other]},
            },
        }
    )
    first, second = innermost_of(mixed)
    assert (len(first), len(second), len(mixed)) == (4, 2, 12)
    assert locate(mixed, 3) == (first, 3)
    assert locate(mixed, 6 + 5) == (second, 1)
    assert augmented(mixed, 11, order="bgr", seed=0).name == original(mixed, 11).name
    balanced = DATASETS.build(
        {"type": "ClassBalancedDataset", "oversample_thr": 1e-3, "dataset": one}
    )
    assert locate(balanced, 3) == (next(innermost_of(balanced)), 3)


def test_a_detection_sample_before_and_after(coco) -> None:
    dataset = build(coco())
    before, after = original(dataset, 1), augmented(dataset, 1, order="bgr", seed=0)
    assert before.name == after.name
    assert before.picture.shape == (64, 64, 3) and after.picture.shape == (32, 32, 3)
    assert before.labels.tolist() == after.labels.tolist()
    np.testing.assert_allclose(after.boxes, before.boxes / 2)
    assert before.masks is not None and after.masks is not None
    for box, mask in zip(before.boxes, before.masks, strict=True):
        rows, columns = np.nonzero(mask)
        edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(box, edges, atol=1.5)
    assert after.masks.shape == (len(after.labels), 32, 32)


def test_crowds_are_to_be_ignored(coco) -> None:
    dataset = build(coco())
    info = dataset.get_data_info(0)
    for instance in info["instances"]:
        instance["ignore_flag"] = 1
    dataset.get_data_info = lambda _: info
    sample = augmented(dataset, 0, order="bgr", seed=0)
    assert len(sample.labels) and set(sample.labels.tolist()) == {-1}
    assert original(dataset, 0).labels.tolist() == sample.labels.tolist()


def test_other_packing_is_named(coco) -> None:
    dataset = build(coco(pipeline=[{"type": "LoadImageFromFile"}]))
    with pytest.raises(DataError, match=r"expected one picture .* found .*img_path"):
        augmented(dataset, 0, order="bgr", seed=0)
