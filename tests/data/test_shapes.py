from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from PIL import Image

from mmconvnext.data.shapes import (
    CLASSES,
    Shape,
    ShapesSpec,
    draw_picture,
    make_ade_shapes,
    make_coco_shapes,
    shape_mask,
)

SPEC = ShapesSpec(train=5, val=3, size=64, max_shapes=4, seed=7)


def files(root: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()
    }


@pytest.mark.parametrize("make", [make_coco_shapes, make_ade_shapes])
def test_a_seed_gives_the_same_files_and_another_seed_other_pictures(make, tmp_path):
    make(tmp_path / "a", SPEC)
    make(tmp_path / "b", SPEC)
    make(tmp_path / "c", ShapesSpec(train=5, val=3, size=64, seed=8))
    first = files(tmp_path / "a")
    assert first == files(tmp_path / "b")
    other = files(tmp_path / "c")
    pictures = [name for name in first if name.startswith("images")]
    assert len(pictures) == 8
    assert not any(first[name] == other[name] for name in pictures)


def test_a_larger_set_begins_with_the_smaller_ones_pictures(tmp_path):
    few, many = (draw_picture(ShapesSpec(train=n, size=64), 0, 2)[0] for n in (3, 300))
    assert np.array_equal(few, many)


def test_coco_polygons_boxes_and_areas_agree_with_the_masks(tmp_path):
    mask_tools = pytest.importorskip("pycocotools.mask")
    make_coco_shapes(tmp_path / "coco", SPEC)
    described = json.loads((tmp_path / "coco/annotations/instances_train.json").read_text())
    for index, image in enumerate(described["images"]):
        _, shapes = draw_picture(SPEC, 0, index)
        own = [a for a in described["annotations"] if a["image_id"] == image["id"]]
        assert [a["category_id"] - 1 for a in own] == [shape.label for shape in shapes]
        for annotation, shape in zip(own, shapes, strict=True):
            runs = mask_tools.frPyObjects(annotation["segmentation"], 64, 64)
            rasterised = mask_tools.decode(runs)[:, :, 0].astype(bool)
            mask = shape_mask(shape, 64)
            assert (mask & rasterised).sum() / (mask | rasterised).sum() > 0.88
            assert annotation["area"] == pytest.approx(mask.sum(), rel=0.08)
            rows, columns = np.nonzero(mask)
            x, y, width, height = annotation["bbox"]
            assert x - 0.5 <= columns.min() and columns.max() + 1 <= x + width + 0.5
            assert y - 0.5 <= rows.min() and rows.max() + 1 <= y + height + 0.5
            assert width - (columns.max() + 1 - columns.min()) < 2.5


def test_the_mask_of_an_upright_square_is_exact():
    square = Shape(1, np.array([[2.0, 3.0], [6.0, 3.0], [6.0, 5.0], [2.0, 5.0]]), (255, 0, 0))
    expected = np.zeros((8, 8), dtype=bool)
    expected[3:5, 2:6] = True
    assert np.array_equal(shape_mask(square, 8), expected)


def test_shapes_do_not_overlap_lie_inside_and_show_in_their_colour():
    for index in range(40):
        picture, shapes = draw_picture(ShapesSpec(size=96), 0, index)
        masks = [shape_mask(shape, 96) for shape in shapes]
        assert 1 <= len(shapes) <= 4
        assert np.sum(masks, axis=0).max() == 1
        for shape, mask in zip(shapes, masks, strict=True):
            assert shape.corners.min() > 0 and shape.corners.max() < 96
            assert np.abs(picture[mask].mean(axis=0) - shape.color).max() < 8


def test_semantic_maps_hold_zero_for_a_patch_and_one_for_background(tmp_path):
    make_ade_shapes(tmp_path / "ade", SPEC)
    for index in range(SPEC.val):
        path = tmp_path / f"ade/annotations/validation/{index:06}.png"
        semantic = np.asarray(Image.open(path))
        _, shapes = draw_picture(SPEC, 1, index)
        expected = np.ones((64, 64), dtype=int)
        for shape in shapes:
            expected[shape_mask(shape, 64)] = shape.label + 2
        labelled = semantic > 0
        assert np.array_equal(semantic[labelled], expected[labelled])
        rows, columns = np.nonzero(~labelled)
        assert len(rows) == 8 * 8 and np.ptp(rows) == np.ptp(columns) == 7


def test_both_layouts_show_the_same_pictures(tmp_path):
    coco, ade = make_coco_shapes(tmp_path / "coco", SPEC), make_ade_shapes(tmp_path / "ade", SPEC)
    assert coco == ade
    assert (tmp_path / "coco/images/val/000002.png").read_bytes() == (
        tmp_path / "ade/images/validation/000002.png"
    ).read_bytes()


def test_counts_are_those_of_the_annotation_files(tmp_path):
    stats = make_coco_shapes(tmp_path / "coco", SPEC)
    for part in ("train", "val"):
        described = json.loads((tmp_path / f"coco/annotations/instances_{part}.json").read_text())
        labels = [annotation["category_id"] - 1 for annotation in described["annotations"]]
        assert stats[part] == {
            "images": len(described["images"]),
            "instances": len(labels),
            **{name: labels.count(label) for label, name in enumerate(CLASSES)},
        }


def test_the_same_data_are_left_alone_and_different_ones_replaced(tmp_path):
    root = tmp_path / "coco"
    first = make_coco_shapes(root, SPEC)
    marker = root / "marker"
    marker.touch()
    assert make_coco_shapes(root, SPEC) == first
    assert marker.exists()
    make_coco_shapes(root, ShapesSpec(train=2, val=1, size=64, seed=7))
    assert not marker.exists()
    assert len(list((root / "images/train").iterdir())) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["coco"]


def test_an_interrupted_call_leaves_what_was_there(tmp_path, monkeypatch):
    root = tmp_path / "coco"
    make_coco_shapes(root, SPEC)
    before, save, saved = files(root), Image.Image.save, []

    def full_disk(image, *args, **kwargs):
        saved.append(args)
        if len(saved) > 3:
            raise OSError(28, "No space left on device")
        save(image, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        make_coco_shapes(root, ShapesSpec(train=9, val=3, size=64))
    assert files(root) == before
    assert [p.name for p in tmp_path.iterdir()] == ["coco"]


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_a_folder_of_something_else_is_refused_and_kept(content, tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    (root / "mine.jpg").write_bytes(b"precious")
    if content is not None:
        (root / "shapes.json").write_text(content)
    with pytest.raises(FileExistsError, match="photos: expected nothing or made-up shapes"):
        make_coco_shapes(root, SPEC)
    assert (root / "mine.jpg").read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("argument", "value"),
    [("train", 0), ("val", 0), ("size", 31), ("max_shapes", 0), ("seed", -1)],
)
def test_an_impossible_set_is_refused_by_name(argument, value):
    with pytest.raises(ValueError, match=rf"{argument} must be at least .*, got {value}"):
        ShapesSpec(**{argument: value})


def test_mmseg_reads_the_maps_with_zero_ignored(tmp_path):
    datasets = pytest.importorskip("mmseg.datasets")
    init_default_scope("mmseg")  # another test's scope would have mmseg's names looked up in it
    make_ade_shapes(tmp_path / "ade", SPEC)
    dataset = datasets.BaseSegDataset(
        metainfo=dict(classes=("background", *CLASSES)),
        data_root=str(tmp_path / "ade"),
        data_prefix=dict(img_path="images/training", seg_map_path="annotations/training"),
        img_suffix=".png",
        reduce_zero_label=True,
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations", reduce_zero_label=True),
        ],
    )
    seen = np.unique([dataset[index]["gt_seg_map"] for index in range(len(dataset))])
    assert len(dataset) == SPEC.train
    assert {0, 255} < set(seen.tolist()) <= {0, 1, 2, 3, 255}
