from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
from sample_archives import CATEGORIES, edit_coco, write_coco, write_picture

from mmconvnext.data import coco_layout
from mmconvnext.data.coco_file import COCO_CLASSES
from mmconvnext.data.inspect_coco import inspect_coco

TRAIN, VAL = "annotations/instances_train2017.json", "annotations/instances_val2017.json"


@pytest.fixture
def coco(tmp_path):
    return write_coco(tmp_path / "coco")


def findings(report, part: str) -> list[str]:
    """``state: line`` of every finding about a part."""
    (found,) = [p.findings for p in report.parts if p.name == part]
    return [f"{finding.state}: {finding.line}" for finding in found]


def lists(file) -> dict[str, list]:
    return json.loads(file.read_text())


def test_the_classes_are_those_of_the_host():
    from mmdet.datasets import CocoDataset

    assert CocoDataset.METAINFO["classes"] == COCO_CLASSES


def test_a_subset_under_the_official_names_is_sound_and_fetches_nothing(coco):
    report = inspect_coco(coco, workers=2)
    assert report.sound and report.official and report.archives == ()
    assert report.title == "COCO 2017" and report.classes == COCO_CLASSES
    assert findings(report, "train2017/") == ["note: 3 of the official 118,287 images"]
    assert findings(report, TRAIN) == []
    assert [part.found for part in report.parts] == [
        *["3 images, 3 objects, 80 classes"] * 2,
        *["3 images"] * 2,
    ]


def test_made_up_data_are_sound_with_classes_of_their_own(shapes):
    report = inspect_coco(shapes["detection"], workers=2)
    assert report.sound and not report.official and report.archives == ()
    assert report.classes == ("circle", "square", "triangle")
    assert [part.name for part in report.parts] == [
        "annotations/instances_train.json",
        "annotations/instances_val.json",
        "images/train/",
        "images/val/",
    ]
    said = findings(report, "annotations/instances_train.json")
    assert said == ["note: the classes are not COCO's 80 but 3 of its own"]
    assert findings(report, "images/train/") == []


def test_nothing_needs_every_archive(tmp_path):
    for root in (tmp_path / "new", tmp_path):
        report = inspect_coco(root)
        assert not report.sound and {part.state for part in report.parts} == {"missing"}
        assert set(report.archives) == {
            "annotations_trainval2017.zip",
            "train2017.zip",
            "val2017.zip",
        }
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("gone", "archives"),
    [
        ("val2017", ("val2017.zip",)),
        (TRAIN, ("annotations_trainval2017.zip",)),
        ("annotations", ("annotations_trainval2017.zip",)),
    ],
)
def test_only_the_absent_part_is_fetched(gone, archives, coco):
    path = coco / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    report = inspect_coco(coco)
    assert report.archives == archives and not report.sound


def test_a_folder_without_its_images_is_fetched(coco):
    for path in (coco / "val2017").iterdir():
        path.unlink()
    report = inspect_coco(coco)
    assert report.archives == ("val2017.zip",)


def test_images_absent_from_a_subset_are_told_not_fetched(coco):
    (coco / "val2017" / "000000000002.jpg").unlink()
    report = inspect_coco(coco)
    (said,) = findings(report, "val2017/")
    assert said.startswith("incomplete: one image that the annotation file lists is absent")
    assert said.endswith(": 000000000002.jpg") and "cocodataset.org/val2017/" in said
    assert report.archives == () and not report.sound


@pytest.mark.parametrize(("kept", "archives"), [(1, ("val2017.zip",)), (199, ())])
def test_images_absent_in_number_from_the_full_set_are_fetched(kept, archives, coco, monkeypatch):
    official = [dataclasses.replace(split, official=200) for split in coco_layout.OFFICIAL]
    monkeypatch.setattr(coco_layout, "OFFICIAL", tuple(official))
    images = [{"id": n, "file_name": f"{n}.jpg"} for n in range(200)]
    for split in ("train2017", "val2017"):
        edit_coco(coco / "annotations" / f"instances_{split}.json", images=images, annotations=[])
        for number in range(200 if split == "train2017" else kept):
            (coco / split / f"{number}.jpg").write_bytes(b"x")
    report = inspect_coco(coco)
    assert report.archives == archives
    assert [part.state for part in report.parts if part.name == "val2017/"] == ["incomplete"]


def test_an_unreadable_annotation_file_fetches_no_images(coco):
    text = (coco / TRAIN).read_text()
    (coco / TRAIN).write_text(text[: len(text) // 2])
    report = inspect_coco(coco, workers=2)
    (said,) = findings(report, TRAIN)
    assert said.startswith("damaged: ") and "cut off" in said and str(coco / TRAIN) in said
    assert "delete it and run again" in said
    assert report.archives == () and not report.sound


def test_images_in_another_place_are_told_not_fetched(coco):
    (coco / "images").mkdir()
    (coco / "train2017").rename(coco / "images" / "train2017")
    report = inspect_coco(coco)
    (said,) = findings(report, "train2017/")
    assert "images/train2017/" in said and "move or link" in said
    assert report.archives == () and not report.sound


def test_damaged_and_empty_images_are_named(coco):
    whole = (coco / "val2017" / "000000000001.jpg").read_bytes()
    (coco / "val2017" / "000000000001.jpg").write_bytes(whole[:-300])
    (coco / "val2017" / "000000000002.jpg").write_bytes(b"")
    write_picture(coco / "val2017" / "000000000003.jpg", size=(20, 30))
    said = findings(inspect_coco(coco, workers=2), "val2017/")
    assert "damaged: one file is empty: 000000000002.jpg" in said
    assert "damaged: one image does not decode: 000000000001.jpg" in said
    other = "one image has another size than the annotation file says"
    assert f"damaged: {other}: 000000000003.jpg" in said
    undecoded = findings(inspect_coco(coco), "val2017/")
    assert undecoded[0] == "damaged: one file is empty: 000000000002.jpg"
    assert not any("decode" in line for line in undecoded)


def test_three_names_are_shown_and_the_rest_counted(tmp_path):
    coco = write_coco(tmp_path, images=5)
    for path in (coco / "val2017").iterdir():
        path.write_bytes(b"no picture")
    said = findings(inspect_coco(coco, workers=2), "val2017/")
    assert said[-1] == (
        "damaged: 5 images do not decode: "
        "000000000001.jpg, 000000000002.jpg, 000000000003.jpg and 2 more"
    )


def test_images_beside_the_annotation_file_are_a_note(coco):
    write_picture(coco / "val2017" / "extra.jpg")
    report = inspect_coco(coco)
    assert "note: one image is not in the annotation file: extra.jpg" in findings(
        report, "val2017/"
    )
    assert report.sound


def test_what_refers_to_nothing_and_what_is_there_twice_is_found(coco):
    content = lists(coco / VAL)
    edit_coco(
        coco / VAL,
        images=[*content["images"], {"id": 3, "file_name": "000000000003.jpg"}],
        annotations=[
            {"id": 1, "image_id": 1, "category_id": 1},
            {"id": 1, "image_id": 1, "category_id": 1},
            {"id": 5, "image_id": 99, "category_id": 1},
            {"id": 6, "image_id": 2, "category_id": 999},
        ],
    )
    assert findings(inspect_coco(coco), VAL) == [
        "damaged: one of the ids of images is there twice: 3",
        "damaged: one of the file names is there twice: 000000000003.jpg",
        "damaged: one of the ids of annotations is there twice: 1",
        "damaged: one annotation belongs to no image of the file, by its id: 5",
        "damaged: one annotation has a category that the file does not list, by its id: 6",
        "note: one image has no annotations: 000000000003.jpg",
    ]


@pytest.mark.parametrize(
    ("categories", "said"),
    [
        (CATEGORIES[::-1], "another order"),
        (CATEGORIES[:-1], "one of COCO's classes is absent: toothbrush"),
        ([*CATEGORIES, {"id": 900, "name": "ghost"}], "one class is not COCO's: ghost"),
    ],
)
def test_other_classes_under_the_official_names_are_wrong(categories, said, coco):
    for file in (TRAIN, VAL):
        edit_coco(coco / file, categories=categories)
    report = inspect_coco(coco)
    assert not report.sound and any(said in line for line in findings(report, VAL))


def test_files_that_number_the_classes_differently_are_wrong(own_data):
    root = own_data["detection"]
    file = root / "annotations" / "instances_val.json"
    edit_coco(file, categories=lists(file)["categories"][::-1])
    report = inspect_coco(root)
    said = "not those of annotations/instances_train.json"
    assert any(said in line for line in findings(report, "annotations/instances_val.json"))
    assert not report.sound


def test_a_broken_data_set_of_ones_own_fetches_nothing(own_data):
    root = own_data["detection"]
    shutil.rmtree(root / "images" / "val")
    (root / "annotations" / "instances_train.json").unlink()
    report = inspect_coco(root)
    assert [part.name for part in report.parts] == ["annotations/instances_val.json", "images/val/"]
    assert report.archives == () and not report.sound
    shutil.rmtree(root / "annotations")
    report = inspect_coco(root)
    assert [part.state for part in report.parts] == ["missing"] and report.archives == ()


@pytest.mark.parametrize(
    ("file", "folder", "prefix"),
    [
        ("annotations/train.json", "images", ""),
        ("annotations/instances_all.json", "photos", ""),
        ("train/_annotations.coco.json", "train", ""),
        ("labels.json", "images/train", ""),
        ("labels.json", "images/train", "images/train/"),
        ("labels.json", ".", ""),
    ],
)
def test_the_images_are_found_wherever_they_usually_lie(file, folder, prefix, tmp_path):
    names = [f"{prefix}{number}.jpg" for number in range(3)]
    for number in range(3):
        write_picture(tmp_path / folder / f"{number}.jpg")
    (tmp_path / file).parent.mkdir(exist_ok=True, parents=True)
    content = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
        "annotations": [{"id": n, "image_id": n, "category_id": 1} for n in range(3)],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / file).write_text(json.dumps(content))
    report = inspect_coco(tmp_path, workers=1)
    assert report.sound, report
    assert report.parts[1].found == "3 images"
