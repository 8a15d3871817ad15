from __future__ import annotations

from pathlib import Path

import pytest

from mmconvnext.data import presence
from mmconvnext.data.checks import DataError


def test_present_pictures_pass_whatever_their_folder(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a.jpg", "sub/b.jpg"):
        (tmp_path / name).touch()
    presence.check_pictures(
        ["a.jpg", "sub/b.jpg", str(tmp_path / "a.jpg")], str(tmp_path), "x.json"
    )


def test_absent_pictures_are_counted_and_three_named(tmp_path):
    (tmp_path / "2.jpg").touch()
    with pytest.raises(DataError) as error:
        presence.check_pictures([f"{n}.jpg" for n in range(6)], str(tmp_path), "x.json")
    names = ", ".join(str(tmp_path / f"{n}.jpg") for n in (0, 1, 3))
    assert str(error.value) == f"5 of 6 images named in x.json are not in {tmp_path}: {names}, …"


def test_each_folder_is_read_once(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(
        presence,
        "_file_names",
        lambda folder: read.append(folder) or {f"{n}.jpg" for n in range(5000)},
    )
    presence.check_pictures([f"{n}.jpg" for n in range(5000)], str(tmp_path), "x.json")
    assert read == [str(tmp_path)]


def test_missing_things_say_where_they_can_be_had(tmp_path):
    with pytest.raises(DataError) as error:
        presence.check_folder(str(tmp_path / "no"), "data folder", "coco")
    assert str(error.value) == (
        f"data folder {tmp_path / 'no'} does not exist; `mmconvnext prepare-data coco DIR` "
        f"gets it ({presence.SOURCES['coco']}), "
        "or --data-root points to data that lie elsewhere"
    )
    Path(tmp_path / "a").touch()
    presence.check_file(str(tmp_path / "a"), "file")
    with pytest.raises(DataError, match=r"file .* does not exist; --data-root points"):
        presence.check_file(str(tmp_path), "file")
    with pytest.raises(DataError, match=r"exist; set the dataset's ann_file, or --data-root "):
        presence.check_file(str(tmp_path), "file", key="ann_file")
