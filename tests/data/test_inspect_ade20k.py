from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image
from sample_archives import write_ade, write_mask, write_picture

from mmconvnext.data import inspect_ade20k as module
from mmconvnext.data.inspect_ade20k import inspect_ade20k

ARCHIVE = ("ADEChallengeData2016.zip",)
IMAGE, MASK = "images/training/ADE_train_00000001", "annotations/training/ADE_train_00000001"


@pytest.fixture
def ade(tmp_path):
    return write_ade(tmp_path / "ade")


def findings(report, part: str) -> list[str]:
    (found,) = [p.findings for p in report.parts if p.name == part]
    return [f"{finding.state}: {finding.line}" for finding in found]


def test_a_subset_under_the_official_names_is_sound(ade):
    report = inspect_ade20k(ade, workers=2)
    assert report.sound and report.official and report.archives == ()
    assert findings(report, "images/training/") == ["note: 2 of the official 20,210 images"]
    assert findings(report, "annotations/training/") == []
    assert [part.found for part in report.parts] == [*["2 images"] * 2, *["2 masks"] * 2]


def test_the_folder_above_does_as_well(ade, tmp_path):
    ade.rename(tmp_path / "ADEChallengeData2016")
    report = inspect_ade20k(tmp_path, workers=2)
    assert report.sound and report.root == tmp_path / "ADEChallengeData2016"


def test_made_up_data_are_sound_and_tell_their_values(shapes):
    report = inspect_ade20k(shapes["segmentation"], workers=2)
    assert report.sound and not report.official and report.archives == ()
    assert findings(report, "annotations/training/") == [
        "note: mask values 0 to 4: not ADE20K's 150 classes"
    ]
    assert "*.png" in findings(report, "images/training/")[0]


def test_nothing_needs_the_archive(tmp_path):
    for root in (tmp_path / "new", tmp_path):
        report = inspect_ade20k(root)
        assert report.archives == ARCHIVE and {p.state for p in report.parts} == {"missing"}
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("gone", ["images", "annotations/validation"])
def test_an_absent_part_of_the_official_set_is_fetched(gone, ade):
    shutil.rmtree(ade / gone)
    report = inspect_ade20k(ade)
    assert report.archives == ARCHIVE and not report.sound


@pytest.mark.parametrize("gone", ["images", "annotations/validation"])
def test_an_absent_part_of_ones_own_set_is_not(gone, own_data):
    shutil.rmtree(own_data["segmentation"] / gone)
    report = inspect_ade20k(own_data["segmentation"])
    assert report.archives == () and not report.sound


def test_other_data_are_not_filled_up(tmp_path):
    (tmp_path / "thesis.tex").touch()
    report = inspect_ade20k(tmp_path)
    assert report.archives == () and not report.sound and not report.official


@pytest.mark.parametrize(
    ("gone", "part", "said"),
    [
        (f"{MASK}.png", "annotations/training/", "one image has no mask: ADE_train_00000001.jpg"),
        (f"{IMAGE}.jpg", "images/training/", "one mask has no image: ADE_train_00000001.png"),
    ],
)
def test_images_and_masks_without_each_other_are_named(gone, part, said, ade):
    (ade / gone).unlink()
    report = inspect_ade20k(ade, workers=2)
    assert f"incomplete: {said}" in findings(report, part)
    assert report.archives == () and not report.sound


@pytest.mark.parametrize(("kept", "archives"), [(1, ARCHIVE), (199, ())])
def test_masks_absent_in_number_from_the_full_set_are_fetched(
    kept, archives, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "OFFICIAL", {"training": 200})
    for number in range(200):
        for kind, suffix in (("images", "jpg"), ("annotations", "png")):
            if kind == "images" or number < kept:
                path = tmp_path / kind / "training" / f"ADE_train_{number:08}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"x")
    assert inspect_ade20k(tmp_path).archives == archives


def test_damaged_files_are_named(ade):
    (ade / f"{IMAGE}.jpg").write_bytes((ade / f"{IMAGE}.jpg").read_bytes()[:-300])
    (ade / f"{MASK}.png").write_bytes(b"no picture")
    (ade / f"{MASK[:-1]}2.png").write_bytes(b"")
    report = inspect_ade20k(ade, workers=2)
    assert findings(report, "images/training/")[0] == (
        "damaged: one image does not decode: ADE_train_00000001.jpg"
    )
    assert findings(report, "annotations/training/") == [
        "damaged: one file is empty: ADE_train_00000002.png",
        "damaged: one mask does not decode: ADE_train_00000001.png",
    ]
    assert not report.sound


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.zeros((30, 20), np.uint8), "one mask has another size than its image"),
        (np.full((30, 40), 151, np.uint8), "one mask has values beyond ADE20K's 0 to 150"),
        (np.zeros((30, 40, 3), np.uint8), "one mask is not one channel of class numbers"),
    ],
)
def test_masks_that_cannot_be_learnt_from_are_named(mask, said, ade):
    write_mask(ade / f"{MASK}.png", mask)
    report = inspect_ade20k(ade, workers=2)
    assert findings(report, "annotations/training/") == [f"damaged: {said}: ADE_train_00000001.png"]


def test_values_of_another_set_are_a_note_with_the_ignored_one_apart(own_data):
    masks = own_data["segmentation"] / "annotations" / "training"
    first = sorted(masks.iterdir())[0]
    values = np.asarray(Image.open(first)).copy()
    values[0, 0], values[0, 1] = 255, 200
    write_mask(first, values)
    report = inspect_ade20k(own_data["segmentation"], workers=2)
    assert findings(report, "annotations/training/") == [
        "note: mask values 0 to 200, and 255: not ADE20K's 150 classes"
    ]
    assert report.sound


def test_a_suffix_that_the_recipes_do_not_read_is_told(ade, own_data):
    write_picture(ade / f"{IMAGE}.png")
    (ade / f"{IMAGE}.jpg").unlink()
    assert any(
        "several suffixes" in line for line in findings(inspect_ade20k(ade), "images/training/")
    )
