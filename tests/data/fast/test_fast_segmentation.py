"""Our segmentation steps against mmseg's own, fed the same random numbers: equal to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmseg.datasets import transforms as mmseg_steps
from PIL import Image

from mmconvnext.benchmarks.pipeline import dataset, host_steps
from mmconvnext.data.fast import segmentation
from mmconvnext.data.photos import make_ade_photos

pytestmark = pytest.mark.filterwarnings("ignore:`reduce_zero_label`")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    make_ade_photos(folder, 6, (200, 270))
    return folder


@pytest.mark.parametrize("recipe", ["ade20k", "ade20k_640", "ade20k_v2"])
def test_a_seed_gives_what_mmsegs_steps_give(recipe: str, photos: Path) -> None:
    theirs, ours = dataset(recipe, photos, host_steps), dataset(recipe, photos)
    assert not any("mmconvnext" in type(s).__module__ for s in theirs.pipeline.transforms)
    assert sum("mmconvnext" in type(s).__module__ for s in ours.pipeline.transforms) == 4
    flips = set()
    for seed in range(24):
        found = []
        for pictures in (theirs, ours):
            np.random.seed(seed)
            sample = pictures.pipeline(pictures.get_data_info(seed % 6))
            found.append((sample, np.random.random()))
        (stock, stock_next), (fast, fast_next) = found
        assert stock_next == fast_next and list(stock) == list(fast)
        assert torch.equal(stock["inputs"], fast["inputs"]) and fast["inputs"].is_contiguous()
        expected, found = stock["data_samples"], fast["data_samples"]
        assert expected.metainfo == found.metainfo
        labels = found.gt_sem_seg.data
        assert torch.equal(expected.gt_sem_seg.data, labels) and labels.dtype == torch.int64
        flips.add(found.flip)
    assert flips == {True, False}


def labels_of(steps: Any, path: Path, **settings: Any) -> np.ndarray:
    reduced = settings.pop("reduce_zero_label")
    results = {"seg_map_path": str(path), "reduce_zero_label": reduced, "seg_fields": []}
    load = steps.LoadAnnotations(**settings.pop("step", {}))
    found = load({**results, **settings})
    assert found["seg_fields"] == ["gt_seg_map"]
    return found["gt_seg_map"]


@pytest.mark.parametrize("reduced", [True, False])
@pytest.mark.parametrize("label_map", [None, {0: 5, 5: 0, 254: 3, 255: 9, 300: 1}])
@pytest.mark.parametrize("mode", ["L", "P"])
def test_labels_are_mmsegs(reduced: bool, label_map: Any, mode: str, tmp_path: Path) -> None:
    every = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    if mode == "P":
        every = every.convert("P")
        every.putpalette(list(range(255, -1, -1)) * 3)
    every.save(tmp_path / "every.png")
    settings = dict(reduce_zero_label=reduced, label_map=label_map)
    expected, found = (
        labels_of(steps, tmp_path / "every.png", **settings)
        for steps in (mmseg_steps, segmentation)
    )
    assert np.array_equal(expected, found) and found.dtype == np.uint8
    assert len(np.unique(found)) > 200


def test_a_step_that_disagrees_with_its_data_set_is_refused(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "map.png")
    with pytest.raises(ValueError, match="reduce_zero_label=False, found True"):
        labels_of(
            segmentation,
            tmp_path / "map.png",
            reduce_zero_label=False,
            step=dict(reduce_zero_label=True),
        )


@pytest.mark.parametrize("ratio", [0.4, 0.75, 1.0])
def test_crops_are_tried_as_often_as_mmsegs(ratio: float) -> None:
    rng = np.random.default_rng(0)
    patches = np.array([255, 0, 1, 1, 1])[rng.integers(0, 5, (6, 8))]
    results = {
        "gt_seg_map": np.kron(patches, np.ones((20, 20))).astype(np.uint8),
        "img": np.zeros((120, 160, 3), np.uint8),
    }
    boxes = []
    for steps in (mmseg_steps, segmentation):
        crop = steps.RandomCrop(crop_size=(40, 30), cat_max_ratio=ratio)
        np.random.seed(3)
        boxes.append([tuple(map(int, crop.crop_bbox(results))) for _ in range(60)])
    assert boxes[0] == boxes[1] and len(set(boxes[0])) > 30


def test_labels_are_counted_beyond_what_float32_holds() -> None:
    labels = np.broadcast_to(np.uint8(3), (4097, 4096))
    assert segmentation._counts(labels)[3] == 4097 * 4096
    assert segmentation._counts(labels[:5])[3] == 5 * 4096


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_colours_are_mmsegs(dtype: type) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 65, 3)).astype(dtype)
    changed = 0
    for seed in range(40):
        found = []
        for steps in (mmseg_steps, segmentation):
            np.random.seed(seed)
            view = np.flip(picture.copy(), 1)
            distorted = steps.PhotoMetricDistortion()({"img": view})["img"]
            found.append((distorted, np.random.random()))
        (expected, expected_next), (own, own_next) = found
        assert expected_next == own_next
        assert expected.dtype == own.dtype and np.array_equal(expected, own)
        changed += not np.array_equal(own, np.flip(picture, 1))
    assert changed > 20
