"""Our detection steps against mmdet's own, fed the same random numbers: equal to the bit."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmdet.structures.mask import BitmapMasks, mask_target
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS, init_default_scope
from torch.utils.data import DataLoader

from mmconvnext.benchmarks.pipeline import dataset, host_steps
from mmconvnext.data.fast.arrays import channels_first, forwards
from mmconvnext.data.fast.detection import LoadAnnotations
from mmconvnext.data.fast.masks import DrawnLater
from mmconvnext.data.photos import make_coco_photos

RECIPES = ("coco_instance", "coco_instance_lsj")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    make_coco_photos(folder, 8, (180, 250))
    return folder


def sample(pictures: Any, index: int, seed: int) -> tuple[Any, float]:
    """A training sample, and the random number that would have been drawn next."""
    np.random.seed(seed)
    return pictures.pipeline(pictures.get_data_info(index)), np.random.random()


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_seed_gives_what_mmdets_steps_give(recipe: str, photos: Path) -> None:
    theirs, ours = dataset(recipe, photos, host_steps), dataset(recipe, photos)
    assert type(theirs.pipeline.transforms[1]).__module__.startswith("mmdet.")
    assert type(ours.pipeline.transforms[1]) is LoadAnnotations
    flips, crowds, kept, empty = set(), 0, 0, 0
    for seed in range(48):
        index = seed % len(theirs)
        (stock, stock_next), (fast, fast_next) = (sample(p, index, seed) for p in (theirs, ours))
        assert stock_next == fast_next
        if stock is None:
            assert fast is None
            continue
        assert list(stock) == list(fast)
        assert torch.equal(stock["inputs"], fast["inputs"]) and fast["inputs"].is_contiguous()
        expected, found = stock["data_samples"], fast["data_samples"]
        assert expected.metainfo == found.metainfo
        flips.add(found.flip)
        for kind in ("gt_instances", "ignored_instances"):
            a, b = getattr(expected, kind), getattr(found, kind)
            assert list(a.keys()) == list(b.keys())
            assert torch.equal(a.bboxes.tensor, b.bboxes.tensor)
            assert torch.equal(a.labels, b.labels)
            sent = pickle.loads(pickle.dumps(b.masks))
            assert not sent.drawn and np.array_equal(a.masks.masks, sent.masks)
            assert sent.masks.dtype == a.masks.masks.dtype
        crowds += len(found.ignored_instances)
        kept += len(found.gt_instances)
        empty += len(found.gt_instances) == 0
    assert flips == {True, False} and crowds and kept > 100 and empty


@pytest.mark.parametrize("recipe", RECIPES)
def test_other_results_of_the_steps_are_mmdets(recipe: str, photos: Path) -> None:
    """What the last step does not pack: ignore flags, homography, scales."""
    found = []
    for steps in (host_steps, lambda node: node):
        pictures = dataset(recipe, photos, lambda node, steps=steps: steps(node)[:-1])
        found.append([sample(pictures, seed % 8, seed)[0] for seed in range(24)])
    for stock, fast in zip(*found, strict=True):
        if stock is None:
            assert fast is None
            continue
        assert set(stock) == set(fast)
        assert {"gt_ignore_flags", "homography_matrix", "scale_factor"} <= set(stock)
        for key in set(stock) - {"gt_bboxes", "gt_masks"}:
            np.testing.assert_array_equal(stock[key], fast[key], err_msg=key)


@pytest.mark.parametrize("recipe", RECIPES)
def test_workers_preprocessor_and_mask_targets_take_the_samples(recipe: str, photos: Path) -> None:
    targets = []
    for steps in (host_steps, lambda node: node):
        pictures = dataset(recipe, photos, steps)
        pictures.full_init()
        loader = DataLoader(
            _Seeded(pictures), batch_size=2, num_workers=1, collate_fn=pseudo_collate
        )
        init_default_scope("mmdet")
        preprocess = MODELS.build(
            dict(type="DetDataPreprocessor", mean=[0.0] * 3, std=[1.0] * 3, pad_mask=True)
            | dict(pad_size_divisor=32)
        )
        for batch in loader:
            data = preprocess(batch, training=True)
            instances = [each.gt_instances for each in data["data_samples"]]
            for each in instances:
                assert (each.masks.height, each.masks.width) == tuple(data["inputs"].shape[2:])
            boxes = [each.bboxes.repeat(3, 1) + 3.0 for each in instances]
            objects = [torch.arange(len(each)).repeat(3) for each in instances]
            masks = [each.masks for each in instances]
            cfg = Config(dict(mask_size=28))
            targets.append(mask_target(boxes, objects, masks, cfg))
    half = len(targets) // 2
    assert half == 3 and sum(map(len, targets[:half])) > 30
    for expected, found in zip(targets[:half], targets[half:], strict=True):
        assert expected.dtype == found.dtype and torch.equal(expected, found)


class _Seeded:
    """Pictures 0 to 2 and 4 to 6: those with objects."""

    def __init__(self, pictures: Any) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Any:
        return sample(self.pictures, index + index // 3, 100 + index)[0]


def masks_of_both_kinds(count: int = 3) -> tuple[BitmapMasks, DrawnLater]:
    import pycocotools.mask as coco_mask

    bitmaps = np.random.default_rng(1).integers(0, 2, (count, 21, 34)).astype(np.uint8)
    outlines = [coco_mask.encode(np.asfortranarray(bitmap)) for bitmap in bitmaps]
    return BitmapMasks(bitmaps, 21, 34), DrawnLater.as_annotated(outlines, 21, 34)


OPERATIONS = {
    "enlarge": lambda m: m.resize((50, 71)),
    "shrink": lambda m: m.resize((9, 13)),
    "rescale": lambda m: m.rescale((40, 90)),
    "smooth": lambda m: m.resize((30, 40), interpolation="bilinear"),
    "smooth rescale": lambda m: m.rescale((40, 90), interpolation="bilinear"),
    "flip": lambda m: m.flip(),
    "flip down": lambda m: m.flip("vertical"),
    "flip both": lambda m: m.flip("diagonal"),
    "crop": lambda m: m.crop(np.array([3, 4, 30, 16])),
    "crop over the edge": lambda m: m.crop(np.array([-3, 4, 99, 16])),
    "pad": lambda m: m.pad((32, 64)),
    "pad with ones": lambda m: m.pad((32, 64), pad_val=1),
    "one": lambda m: m[1],
    "some": lambda m: m[np.array([2, 0])],
    "by flags": lambda m: m[np.arange(len(m)) % 2 == 0],
    "none": lambda m: m[np.array([], int)],
    "expand": lambda m: m.expand(40, 50, 3, 4),
    "translate": lambda m: m.translate((21, 34), 5),
    "cat": lambda m: m.cat([m, m]),
    "chain": lambda m: m.flip().resize((60, 97)).crop(np.array([7, 9, 80, 50])).pad((64, 96)),
    "padded, then flipped": lambda m: m.pad((32, 64)).flip("diagonal").resize((50, 50)),
}


@pytest.mark.parametrize("looked_at", [False, True])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_on_masks_is_mmdets(operation: str, looked_at: bool) -> None:
    stock, fast = masks_of_both_kinds()
    if looked_at:  # and written into, as mmdet's CopyPaste does
        stock.masks = 1 - stock.masks
        fast.masks = 1 - fast.masks
    expected, found = OPERATIONS[operation](stock), OPERATIONS[operation](fast)
    assert (len(expected), expected.height, expected.width) == (
        len(found),
        found.height,
        found.width,
    )
    np.testing.assert_array_equal(
        expected.get_bboxes("hbox").tensor, found.get_bboxes("hbox").tensor
    )
    np.testing.assert_array_equal(expected.masks, found.masks)
    assert found.masks.dtype == np.uint8
    np.testing.assert_array_equal(expected.areas, found.areas)
    assert torch.equal(expected.to_tensor(torch.float, "cpu"), found.to_tensor(torch.float, "cpu"))


def sparse_bitmaps() -> np.ndarray:
    """A pixel, two far apart, a line, a diagonal, a block at an edge, everything, nothing."""
    bitmaps = np.zeros((8, 21, 34), np.uint8)
    bitmaps[0, 10, 17] = 1
    bitmaps[1, [2, 19], [30, 3]] = 1
    bitmaps[2, :, 8] = 1
    bitmaps[3, 3:13, 10:20] = np.eye(10)
    bitmaps[4, 15:, 20:] = 1
    bitmaps[5] = 1
    bitmaps[7] = np.random.default_rng(0).random((21, 34)) < 0.02
    return bitmaps


@pytest.mark.parametrize("operation", OPERATIONS)
def test_boxes_of_sparse_masks_are_mmdets(operation: str) -> None:
    """Few pixels: rows and columns that shrinking skips matter, and so does every edge."""
    import pycocotools.mask as coco_mask

    bitmaps = sparse_bitmaps()
    outlines = [coco_mask.encode(np.asfortranarray(bitmap)) for bitmap in bitmaps]
    stock = OPERATIONS[operation](BitmapMasks(bitmaps, 21, 34))
    fast = OPERATIONS[operation](DrawnLater.as_annotated(outlines, 21, 34))
    expected = stock.get_bboxes("hbox").tensor
    found = fast.get_bboxes("hbox").tensor
    assert expected.dtype == found.dtype and torch.equal(expected, found)
    assert np.array_equal(stock.masks, fast.masks)


@pytest.mark.parametrize("seed", range(20))
def test_boxes_after_random_resizes_and_crops_are_mmdets(seed: int) -> None:
    import pycocotools.mask as coco_mask

    rng, bitmaps = np.random.default_rng(seed), sparse_bitmaps()
    outlines = [coco_mask.encode(np.asfortranarray(bitmap)) for bitmap in bitmaps]
    both: list[BitmapMasks] = [
        BitmapMasks(bitmaps, 21, 34),
        DrawnLater.as_annotated(outlines, 21, 34),
    ]
    for _ in range(3):
        shape = tuple(rng.integers(4, 70, 2).tolist())
        corner = rng.integers(0, np.array(shape[::-1]) // 2)
        box = np.concatenate([corner, corner + rng.integers(1, 40, 2)])
        both = [masks.resize(shape).flip("diagonal").crop(box) for masks in both]
        expected, found = (masks.get_bboxes("hbox").tensor for masks in both)
        assert torch.equal(expected, found)


def test_boxes_of_odd_run_lengths_are_those_of_the_pixels() -> None:
    """Annotated runs may have no length: what pycocotools calls their box is larger."""
    import pycocotools.mask as coco_mask

    counts = ([21 * 34, 0], [30, 2, 10, 0, 21 * 34 - 42], [5, 0, 21 * 34 - 5], [0, 0, 21 * 34])
    outlines = [
        coco_mask.frPyObjects({"size": [21, 34], "counts": list(each)}, 21, 34) for each in counts
    ]
    fast = DrawnLater.as_annotated(outlines, 21, 34).flip().crop(np.array([0, 0, 34, 18]))
    stock = BitmapMasks(np.stack([coco_mask.decode(each) for each in outlines]), 21, 34)
    stock = stock.flip().crop(np.array([0, 0, 34, 18]))
    assert torch.equal(stock.get_bboxes("hbox").tensor, fast.get_bboxes("hbox").tensor)
    assert np.array_equal(stock.masks, fast.masks)


@pytest.mark.parametrize("binarize", [True, False])
@pytest.mark.parametrize("boxes", [0, 5])
def test_crops_for_boxes_are_mmdets(boxes: int, binarize: bool) -> None:
    stock, fast = masks_of_both_kinds()
    rng = np.random.default_rng(2)
    corners = rng.uniform(0, 17, (boxes, 2))
    regions = np.hstack([corners, corners + rng.uniform(2, 15, (boxes, 2))]).astype(np.float32)
    objects = rng.integers(0, 3, boxes)
    expected, found = (
        masks.crop_and_resize(regions, (7, 9), objects, binarize=binarize)
        for masks in (stock, fast)
    )
    assert np.array_equal(expected.masks, found.masks) and len(found) == boxes
    assert not boxes or expected.masks.any()


def test_resizing_follows_opencv_at_every_size() -> None:
    stock, fast = masks_of_both_kinds(1)
    for size in range(1, 90):
        shape = (size, 91 - size)
        assert np.array_equal(stock.resize(shape).masks, fast.resize(shape).masks), shape


def test_an_outline_of_another_size_is_refused() -> None:
    _, masks = masks_of_both_kinds()
    with pytest.raises(ValueError, match=r"mask 0 .* expected .* 21 and 35, found \(21, 34\)"):
        DrawnLater.as_annotated(masks._outlines, 21, 35)


def test_masks_can_stay_polygons(photos: Path) -> None:
    def polygons(node: Any) -> Any:
        load = {**node[1], "poly2mask": False}
        return [node[0], load, *node[2:]]

    pictures = dataset("coco_instance", photos, polygons)
    masks = sample(pictures, 1, 0)[0]["data_samples"].gt_instances.masks
    assert type(masks).__name__ == "PolygonMasks" and len(masks)


@pytest.mark.parametrize("flip", [(), (0,), (1,), (0, 1)])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_channels_first_is_a_transposed_copy(flip: tuple, channels: int, dtype: type) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (13, 17, channels)).astype(dtype)
    view = np.flip(picture[1:-2, 2:-1], flip)
    planes = channels_first(view)
    assert np.array_equal(planes.numpy(), view.transpose(2, 0, 1)) and planes.is_contiguous()
    assert planes.numpy().dtype == dtype
    planes[:] = 0
    assert picture.any()


def test_only_backwards_arrays_are_copied() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    assert forwards(picture) is picture
    assert np.array_equal(forwards(picture[:, ::-1]), picture[:, ::-1])
    empty = picture[:0, ::-1]
    assert forwards(empty) is empty
