from __future__ import annotations

import dataclasses
import json

import pytest

from mmconvnext.data import checks
from mmconvnext.data.checks import DataError


@pytest.fixture
def annotations(tmp_path):
    """Writes a COCO file of two images and one annotation, changed by the given entries; None drops
    one."""

    def write(**changed) -> str:
        content = {
            "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "sub/b.jpg"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 7}],
            "categories": [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}],
            **changed,
        }
        path = tmp_path / "instances.json"
        path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
        return str(path)

    return write


def test_reads_names_in_the_files_order(annotations):
    contents = checks.read_coco(annotations())
    assert contents.file_names == ["a.jpg", "sub/b.jpg"]
    assert contents.categories == ["cat", "dog"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"images": None}, "no list 'images' in it, only 'annotations', 'categories'"),
        ({"annotations": None}, "no list 'annotations' in it"),
        ({"categories": {"7": "cat"}}, "no list 'categories' in it"),
        ({"images": [{"id": 1}]}, "images[0] has no 'file_name'"),
        ({"annotations": [{"id": 1, "image_id": 1}]}, "annotations[0] has no 'category_id'"),
        ({"categories": ["cat"]}, "categories[0] has no 'id'"),
        ({"images": []}, "lists no images"),
        (
            {"images": [{"id": 1, "file_name": 7}]},
            "images[0]: expected text as its 'file_name', found 7",
        ),
        (
            {"categories": [{"id": 7, "name": None}]},
            "categories[0]: expected text as its 'name', found None",
        ),
        (
            {"categories": [{"id": 7, "name": "cat"}, {"id": 7.0, "name": "dog"}]},
            "several categories have the id 7",
        ),
    ],
)
def test_what_is_not_coco_is_named(annotations, changed, said):
    with pytest.raises(DataError) as error:
        checks.read_coco(annotations(**changed))
    assert said in str(error.value) and "instances.json" in str(error.value)


def test_annotations_of_no_image_count_for_nothing_and_ids_may_be_floats(annotations):
    contents = checks.read_coco(
        annotations(
            annotations=[
                {"id": 1, "image_id": 1.0, "category_id": 7.0},
                {"id": 2, "image_id": "1", "category_id": 7},
                {"id": 3, "image_id": [1], "category_id": {}},
            ]
        )
    )
    assert contents.counts == {"cat": 1}


def test_a_test_set_needs_no_annotations(annotations):
    assert checks.read_coco(annotations(annotations=None), labelled=False).categories == [
        "cat",
        "dog",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"images": [', "is not JSON: "),
        (b"\x89PNG\xff", "is not JSON: "),
        (b"[1]", "is not COCO JSON: expected an object, found a list"),
    ],
)
def test_what_is_not_json_is_named(tmp_path, content, said):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        checks.read_coco(str(path))


def test_more_categories_than_classes_are_fine_but_not_fewer():
    checks.check_categories("x.json", ["cat", "dog", "cow"], ("cat", "cow"))
    with pytest.raises(DataError, match=r"x.json has cat, it lacks dog of the config's 2"):
        checks.check_categories("x.json", ["cat"], ("cat", "dog"))


def test_classes_in_another_order_than_the_files_are_refused():
    said = r"metainfo.classes number 1 is 'cow', in annotation file x.json 'dog'; write them in"
    with pytest.raises(DataError, match=said):
        checks.check_categories("x.json", ["cat", "dog", "cow"], ("cat", "cow", "dog"))


def test_annotations_of_other_classes_alone_are_nothing_to_train_on(annotations):
    path = annotations()
    contents = checks.read_coco(path)
    assert contents.counts == {"cat": 1} and contents.image_ids == [1, 2]
    checks.check_annotations(path, contents, ("dog", "cat"))
    with pytest.raises(DataError, match=r"instances.json has no annotation of dog: nothing to "):
        checks.check_annotations(path, contents, ("dog",))


def test_annotations_without_outlines_are_counted(annotations):
    outlined = {"id": 2, "image_id": 1, "category_id": 7, "segmentation": [[0, 0, 1, 0, 1, 1]]}
    path = annotations(annotations=[outlined])
    checks.check_outlines(path, checks.read_coco(path))
    path = annotations(annotations=[outlined, {**outlined, "segmentation": []}, {**outlined}])
    with pytest.raises(DataError, match=r"1 of 3 annotations in .*json have no 'segmentation'"):
        checks.check_outlines(path, checks.read_coco(path))


def test_ground_truth_of_other_pictures_is_refused(annotations):
    path = annotations()
    listed = checks.read_coco(path)
    names = {2: "b.jpg", 1: "x/a.jpg", 3: "c.jpg"}
    moved = [{"id": number, "file_name": name} for number, name in names.items()]
    checks.check_ground_truth("x", checks.read_coco(annotations(images=moved)), path, listed)
    # The same ids, as in most files.
    other = dataclasses.replace(listed, file_names=["a.jpg", "c.jpg"])
    with pytest.raises(DataError) as error:
        checks.check_ground_truth("truth t.json", other, path, listed)
    assert str(error.value) == (
        f"truth t.json is of other data: 1 of 2 images of {path} are not in it: sub/b.jpg; "
        f"set its ann_file to {path}"
    )


def test_class_counts_name_the_first_head_that_disagrees():
    checks.check_class_count({"a.num_classes": 3}, 3, "data")
    with pytest.raises(DataError) as error:
        checks.check_class_count({"a": 3, "b": 80, "c": 80}, 3, "data")
    assert "b=80 (and 1 more heads), but data has 3 classes; set num_classes=3" in str(error.value)
