"""Ids and names of COCO's entries are what entries can be told apart by; found by fuzzing."""

from __future__ import annotations

import json
import re

import pytest

from mmconvnext.data.bad_annotations import find_bad_entries
from mmconvnext.data.checks import DataError, read_coco
from mmconvnext.data.coco_file import read_coco_file
from mmconvnext.data.inspect_coco import inspect_coco
from mmconvnext.data.presence import check_pictures

SOUND = {
    "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 8}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1}],
    "categories": [{"id": 1, "name": "circle"}],
}


def written(folder, key, field, value):
    path = folder / "annotations.json"
    path.write_text(json.dumps({**SOUND, key: [{**SOUND[key][0], field: value}]}))
    return path


@pytest.mark.parametrize(
    ("key", "field", "value", "said"),
    [
        ("images", "id", [1], "images[0]: expected a whole number or text as its 'id', found [1]"),
        ("images", "file_name", 5, "images[0]: expected text as its 'file_name', found 5"),
        ("categories", "id", {}, "categories[0]: expected a whole number or text as its 'id'"),
        ("categories", "name", None, "categories[0]: expected text as its 'name', found None"),
        ("annotations", "image_id", 0.5, "annotations[0]: expected a whole number or text"),
        ("annotations", "category_id", float("nan"), "'category_id', found nan"),
        ("annotations", "category_id", ["x" * 500], "'category_id', found ['xxxxxxxx"),
    ],
)
def test_what_is_no_id_or_name_is_named(tmp_path, key, field, value, said):
    path = written(tmp_path, key, field, value)
    with pytest.raises(DataError) as error:
        read_coco_file(path)
    assert f"annotation file {path} is not COCO JSON: " in str(error.value)
    assert said in str(error.value) and len(str(error.value)) < 300 + len(str(path))
    if key == "categories" or field == "file_name":
        with pytest.raises(DataError, match=re.escape(said)):
            read_coco(str(path))
    else:  # before a run, of these each is looked at by itself, and may be left out
        counts = read_coco(str(path)).counts
        assert counts["circle"] == 0


def test_whole_numbers_with_a_point_are_ids(tmp_path):
    path = written(tmp_path, "annotations", "category_id", 1.0)
    assert read_coco(str(path)).counts == {"circle": 1}


@pytest.mark.parametrize("text", ["[" * 100_000, '{"images": ' + "1" * 5000 + "}"])
def test_what_the_parser_gives_up_on_is_no_json(tmp_path, text):
    path = tmp_path / "annotations.json"
    path.write_text(text)
    for read in (lambda: read_coco(str(path)), lambda: read_coco_file(path)):
        with pytest.raises(DataError, match=str(path)):
            read()
    assert inspect_coco(tmp_path).parts[0].state != "ok"


def test_annotations_of_a_test_set_have_their_form(tmp_path):
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps({**SOUND, "annotations": "none"}))
    with pytest.raises(DataError, match="no list 'annotations'"):
        read_coco(str(path), labelled=False)


@pytest.mark.parametrize("name", ["\0", "y" * 5000, "\ud800"])
def test_names_that_no_file_can_have_are_absent(tmp_path, name):
    with pytest.raises(DataError, match="1 of 1 images named in"):
        check_pictures([f"{name}/a.png"], str(tmp_path), "the list")
    (tmp_path / "images" / "annotations").mkdir(parents=True)
    (tmp_path / "images" / "annotations" / "b.png").touch()
    written(tmp_path, "images", "file_name", name)
    images = inspect_coco(tmp_path).parts[1]
    assert "is absent" in images.findings[0].text


@pytest.mark.parametrize("crowd", [None, "1", 2, float("nan"), [0]])
def test_what_is_no_mark_of_a_crowd_is_named(crowd):
    """The evaluation takes it for a number."""
    entry = {**SOUND["annotations"][0], "bbox": [0, 0, 2, 2], "area": 4, "iscrowd": crowd}
    bad = find_bad_entries({**SOUND, "annotations": [entry]}, masks=False)
    assert bad.annotations == {0: f"expected iscrowd=0 or 1, found {crowd!r}"}


def test_an_image_with_an_odd_id_is_left_out():
    images = [{**SOUND["images"][0], "id": [1]}, {**SOUND["images"][0], "id": 2}]
    content = {**SOUND, "images": images}
    kept = find_bad_entries(content, masks=False).left_out_of(content)
    assert [image["id"] for image in kept["images"]] == [2]


@pytest.mark.parametrize("key", ["image_id", "category_id"])
@pytest.mark.parametrize("image", [1, 99])
def test_what_no_id_refers_to_is_named_even_without_an_image(key, image):
    """mmdet looks both up in dicts before it knows which image is meant."""
    entry = {**SOUND["annotations"][0], "bbox": [0, 0, 2, 2], "area": 4, "image_id": image}
    bad = find_bad_entries({**SOUND, "annotations": [{**entry, key: [1]}]}, masks=False)
    assert bad.annotations == {0: f"{key} is [1], neither a number nor a word"}
