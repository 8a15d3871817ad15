from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from mmconvnext.data.statistics import class_rows, count_objects, count_pixels, size_of, summary

CLASSES = ("circle", "square", "triangle")


@pytest.mark.parametrize(
    ("side", "size"), [(31.9, "small"), (32, "medium"), (95.9, "medium"), (96, "large")]
)
def test_sizes_by_box_and_by_mask(side, size) -> None:
    assert size_of({"bbox": [5, 5, 5 + side, 5 + side]}) == size
    square = [0, 0, side, 0, side, side, 0, side]
    assert size_of({"bbox": [0, 0, 500, 500], "mask": [square]}) == size


def test_sizes_by_run_lengths_and_of_parts() -> None:
    pytest.importorskip("pycocotools")
    from pycocotools import mask as coder

    bitmap = np.zeros((200, 200), np.uint8)
    bitmap[:40, :40] = 1
    packed = coder.encode(np.asfortranarray(bitmap))
    assert size_of({"bbox": [0, 0, 200, 200], "mask": packed}) == "medium"
    runs = {"size": [200, 200], "counts": [0, 900, 200 * 200 - 900]}
    assert size_of({"bbox": [0, 0, 200, 200], "mask": runs}) == "small"
    part = [0, 0, 30, 0, 30, 30, 0, 30]  # 900 pixels each
    assert size_of({"bbox": [0, 0, 99, 99], "mask": [part, part]}) == "medium"


def test_objects_are_those_of_the_file(own_data) -> None:
    pytest.importorskip("mmdet")
    from mmdet.datasets import CocoDataset

    root = own_data["detection"]
    file = root / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    emptied = content["images"][0]["id"]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != emptied]
    content["annotations"][0]["iscrowd"] = 1
    file.write_text(json.dumps(content))
    dataset = CocoDataset(
        data_root=str(root),
        ann_file="annotations/instances_train.json",
        data_prefix={"img": "images/train/"},
        metainfo={"classes": CLASSES},
        filter_cfg={"filter_empty_gt": True},
        pipeline=[],
    )
    found = count_objects([dataset], CLASSES)
    names = {category["id"]: category["name"] for category in content["categories"]}
    told = [a for a in content["annotations"] if not a["iscrowd"]]
    by_name = {name: sum(names[a["category_id"]] == name for a in told) for name in CLASSES}
    assert {row[0]: row[1] for row in class_rows(found)[1]} == by_name
    assert (found.pictures, found.used, found.ignored) == (4, len(dataset), 1)
    assert found.number_of_objects == len(told)
    holding = {a["image_id"] for a in told}
    assert found.empty == 4 - len(holding) >= 1
    lines = "\n".join(summary(found))
    assert f"4 pictures, {found.empty} of them without objects; the data set's" in lines
    assert "picture sizes: 64x64 (4)" in lines
    heads, rows = class_rows(found)
    assert all(len(row) == len(heads) and sum(row[4:]) == row[1] for row in rows)
    assert rows == sorted(rows, key=lambda row: -row[1])


def test_pixels_are_those_of_the_masks(shapes) -> None:
    pytest.importorskip("mmseg")
    from mmseg.datasets import BaseSegDataset

    root = shapes["segmentation"]
    masks = sorted((root / "annotations" / "training").glob("*.png"))
    pixels = np.stack([np.asarray(Image.open(mask)) for mask in masks])
    classes = ("background", *CLASSES)

    def dataset(**more):
        return BaseSegDataset(
            data_root=str(root),
            data_prefix={"img_path": "images/training", "seg_map_path": "annotations/training"},
            metainfo={"classes": classes[: 3 if more else 4]},
            **more,
        )

    steps = [{"type": "mmseg.LoadAnnotations"}]
    for pipeline in ([], steps):
        found = count_pixels([dataset(pipeline=pipeline, img_suffix=".png")], classes, most=99)
        assert found.pixels == {v: (pixels == v).sum() for v in range(4) if (pixels == v).any()}
        assert (found.looked_at, found.pictures) == (4, 4)
        assert found.unlabelled == (pixels >= 4).sum()
    reduced = count_pixels(
        [dataset(pipeline=steps, img_suffix=".png", reduce_zero_label=True)], CLASSES, most=2
    )
    assert reduced.looked_at == 2
    first_and_last = pixels[[0, -1]]
    labelled = (first_and_last > 0) & (first_and_last < 4)
    assert reduced.pixels.total() == labelled.sum()
    assert reduced.unlabelled == (~labelled).sum()
    lines = "\n".join(summary(reduced))
    assert "counted in 2 masks, evenly spread" in lines
    assert f"{reduced.unlabelled / first_and_last.size:.1%} of the pixels have no class" in lines
    heads, rows = class_rows(reduced)
    assert heads == ("class", "pixels", "pictures")
    assert sum(row[1] for row in rows) == pytest.approx(1)
