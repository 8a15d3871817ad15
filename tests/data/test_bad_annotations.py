from __future__ import annotations

import copy
import json

import pycocotools.mask as coco_mask
import pytest

from mmconvnext.data.bad_annotations import find_bad_entries
from mmconvnext.data.photos import make_coco_photos


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Polygons, crowds, run lengths of both kinds, an image without objects."""
    root = tmp_path_factory.mktemp("photos")
    make_coco_photos(root, 4, (64, 96))
    return json.loads((root / "annotations" / "instances_train2017.json").read_text())


def test_nothing_is_wrong_with_what_pycocotools_reads(sound):
    kinds = {type(entry["segmentation"]) for entry in sound["annotations"]}
    counts = [e["segmentation"] for e in sound["annotations"] if "counts" in e["segmentation"]]
    assert kinds == {list, dict} and {type(c["counts"]) for c in counts} == {list, str}
    found = find_bad_entries(sound, masks=True)
    assert not found.images and not found.annotations
    assert found.left_out_of(sound) == sound


@pytest.mark.parametrize("spoil", [lambda text: text[:-1], lambda text: text + text])
def test_compressed_run_lengths_are_summed(sound, spoil):
    content = copy.deepcopy(sound)
    number, outline = next(
        (n, e["segmentation"])
        for n, e in enumerate(content["annotations"])
        if isinstance(e["segmentation"], dict) and isinstance(e["segmentation"]["counts"], str)
    )
    assert coco_mask.decode({**outline, "counts": outline["counts"].encode()}).shape == (64, 96)
    outline["counts"] = spoil(outline["counts"])
    found = find_bad_entries(content, masks=True)
    assert list(found.annotations) == [number]
    assert "run lengths" in found.annotations[number]
    assert not find_bad_entries(content, masks=False).annotations


WEIRD = [None, "", "x", 1, -1, 1.5, True, [], [1], [[1]], {}, {"counts": 1}, float("nan"), 10**400]


@pytest.mark.parametrize("value", WEIRD, ids=repr)
def test_whatever_stands_in_a_field_is_answered_not_stumbled_over(sound, value):
    for key in ("bbox", "area", "category_id", "image_id", "segmentation", "id"):
        content = copy.deepcopy(sound)
        content["annotations"][0][key] = value
        find_bad_entries(content, masks=True).described("x.json", content)
    for key in ("id", "width", "height"):
        content = copy.deepcopy(sound)
        content["images"][0][key] = value
        found = find_bad_entries(content, masks=True)
        assert len(found.described("x.json", content)) == len(found.images) + len(found.annotations)
        kept = found.left_out_of(content)
        assert len(kept["images"]) == len(content["images"]) - len(found.images)
    outline = {"size": [64, 96], "counts": value}
    content = copy.deepcopy(sound)
    content["annotations"][0]["segmentation"] = outline
    assert list(find_bad_entries(content, masks=True).annotations) == [0]


def test_entries_are_left_out_with_what_belongs_to_them(sound):
    content = copy.deepcopy(sound)
    content["images"][0]["width"] = 0
    content["annotations"][-1]["bbox"] = []
    found = find_bad_entries(content, masks=False)
    kept = found.left_out_of(content)
    assert [image["id"] for image in kept["images"]] == [1, 2, 3]
    wanted = [e for e in content["annotations"][:-1] if e["image_id"] != 0]
    assert kept["annotations"] == wanted and kept["categories"] == content["categories"]
    assert [str(bad) for bad in found.described("x.json", content)] == [
        "x.json image 0 (000000000000.jpg): expected a width in whole pixels, found 0",
        f"x.json annotation {content['annotations'][-1]['id']} of image 2: expected bbox=[x, y, "
        "width, height], four numbers, found []",
    ]


def test_a_test_sets_file_needs_no_annotations(sound):
    content = {key: value for key, value in sound.items() if key != "annotations"}
    found = find_bad_entries(content, masks=True)
    assert not found.images and not found.annotations
    assert found.left_out_of(content) == content
