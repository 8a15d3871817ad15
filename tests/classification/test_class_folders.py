"""A data set of class folders, and what is wrong with one."""

from __future__ import annotations

import numpy as np
import pytest
from mmengine.registry import DATASETS
from PIL import Image

import mmconvnext  # noqa: F401
from mmconvnext.classification import ClassFolders
from mmconvnext.classification.class_folders import find_pictures
from mmconvnext.data.checks import DataError


@pytest.fixture
def folder(tmp_path):
    for name in ("train/bär/1.JPEG", "train/ant/b.png", "train/ant/deep/a.jpg", "train/cow/x.webp"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(path)
    (tmp_path / "train/ant/notes.txt").write_text("no picture")
    (tmp_path / "train/README").write_text("no class")
    return tmp_path


def test_classes_are_numbered_by_name_and_pictures_found_at_any_depth(folder):
    dataset = DATASETS.build(
        {
            "type": "mmconvnext.ClassFolders",
            "data_root": str(folder),
            "data_prefix": {"img_path": "train"},
        }
    )
    assert dataset.metainfo["classes"] == ("ant", "bär", "cow")
    found = [(dataset.get_data_info(i)["img_path"], dataset[i]["gt_label"]) for i in range(4)]
    assert sorted(found) == [
        (f"{folder}/train/ant/b.png", 0),
        (f"{folder}/train/ant/deep/a.jpg", 0),
        (f"{folder}/train/bär/1.JPEG", 1),
        (f"{folder}/train/cow/x.webp", 2),
    ]


def test_a_list_picks_pictures_and_keeps_the_classes_numbers(folder):
    (folder / "few.txt").write_text("cow/x.webp\nant/deep/a.jpg\n\n", encoding="utf-8")
    dataset = ClassFolders(
        ann_file="few.txt", data_root=str(folder), data_prefix={"img_path": "train"}
    )
    assert len(dataset) == 2 and dataset[0]["gt_label"] == 2
    assert dataset[1] == {
        "img_path": f"{folder}/train/ant/deep/a.jpg",
        "gt_label": 0,
        "sample_idx": 1,
    }


@pytest.mark.parametrize(
    ("text", "said"), [("dog/x.png\n", "dog/x.png"), ("\n", "lists no pictures")]
)
def test_a_list_of_something_else_is_named(text, said, folder):
    (folder / "few.txt").write_text(text)
    with pytest.raises(DataError) as error:
        find_pictures(str(folder / "train"), str(folder / "few.txt"))
    line = str(error.value)
    assert said in line and str(folder / "few.txt") in line and "\n" not in line


def test_a_missing_folder_an_empty_one_and_an_empty_class_are_named(folder):
    with pytest.raises(DataError, match="nowhere does not exist"):
        find_pictures(str(folder / "nowhere"))
    (folder / "val").mkdir()
    with pytest.raises(DataError, match="val has no folders, so there are no classes"):
        find_pictures(str(folder / "val"))
    (folder / "train/dog").mkdir()
    (folder / "train/dog/film.mp4").write_bytes(b"")
    with pytest.raises(DataError) as error:
        find_pictures(str(folder / "train"))
    assert "1 of 4 class folders have no pictures" in str(error.value)
    assert "dog; remove or fill them" in str(error.value)
