from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmconvnext.data.checks import DataError
from mmconvnext.data.sources import list_sources


@pytest.fixture
def root(tmp_path) -> Path:
    for name in ("x/1.jpg", "x/.hidden.jpg", "x/y/1.JPG", "x/y/film.MP4", "x/note.txt", "z/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def names(*inputs, **options) -> list[str]:
    return [source.name for source in list_sources([str(i) for i in inputs], **options).sources]


def coco(path: Path, images, categories=()) -> Path:
    content = {
        "images": [{"id": i, "file_name": name} for i, name in images],
        "categories": [{"id": i, "name": name} for i, name in categories],
    }
    path.write_text(json.dumps(content))
    return path


def test_a_folder_has_its_pictures_and_videos_at_any_depth(root):
    assert names(root / "x") == ["1.jpg", "y/1.JPG", "y/film.MP4"]
    sources = list_sources([str(root / "x")]).sources
    assert [source.is_video for source in sources] == [False, False, True]
    assert sources[1].path == root / "x" / "y" / "1.JPG"


def test_names_are_below_what_all_inputs_share(root):
    assert names(root / "x" / "1.jpg") == ["1.jpg"]
    assert names(root / "x" / "1.jpg", root / "z") == ["x/1.jpg", "z/1.jpg"]
    assert names(root / "x", root / "x" / "y") == ["1.jpg", "y/1.JPG", "y/film.MP4"]


def test_a_pattern_names_files_below_its_first_fixed_folder(root, monkeypatch):
    assert names(root / "x" / "**" / "*.jpg") == ["1.jpg"]
    assert names(root / "x" / "*") == ["1.jpg"]
    monkeypatch.chdir(root)
    assert names("*/1.jpg") == ["x/1.jpg", "z/1.jpg"]
    (root / "z" / "[1].jpg").write_bytes(b"")
    assert names("z/[1].jpg") == ["[1].jpg"]  # a file of that very name


def test_a_file_that_is_named_is_taken_whatever_it_is(root):
    assert names(root / "x" / "note.txt") == ["note.txt"]


def test_a_folder_may_be_left_out(root):
    assert names(root / "x", without=root / "x" / "y") == ["1.jpg"]
    with pytest.raises(DataError, match="only what lies in"):
        names(root / "x" / "y", without=root / "x")


def test_of_a_coco_file_the_pictures_are_listed_with_their_ids(root):
    file = coco(root / "list.json", [(7, "y/1.JPG"), (9, "1.jpg"), (8, "gone.jpg")], [(3, "cat")])
    listing = list_sources([str(file)], picture_folders=[root / "nowhere", root / "x"])
    assert [(s.name, s.image_id) for s in listing.sources] == [
        ("y/1.JPG", 7), ("1.jpg", 9), ("gone.jpg", 8),
    ]  # fmt: skip
    assert listing.categories == {"cat": 3}


def test_names_that_lead_out_of_the_folder_do_not_lead_out_of_the_results(root):
    file = coco(root / "x" / "list.json", [(1, "1.jpg"), (2, "../z/1.jpg"), (3, "/etc/passwd")])
    found = names(file)
    assert len(set(found)) == 3 and not any(".." in n or n.startswith("/") for n in found)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "no JSON"),
        ('{"images": []}', "lists no images"),
        ('{"annotations": []}', "no list 'images'"),
        ('{"images": [{"id": "one", "file_name": "1.jpg"}]}', "no whole number"),
        ('{"images": [{"id": 1, "file_name": "gone.jpg"}]}', "--image-dir"),
    ],
)
def test_a_file_that_is_not_cocos_is_told(root, content, said):
    file = root / "x" / "list.json"
    file.write_text(content)
    with pytest.raises(DataError, match=said):
        list_sources([str(file)])


def test_coco_files_that_disagree_are_told(root):
    first = coco(root / "x" / "a.json", [(1, "1.jpg")], [(1, "cat")])
    second = coco(root / "x" / "b.json", [(1, "y/1.JPG")])
    with pytest.raises(DataError, match=r"image id 1 of y/1\.JPG is used in another file"):
        list_sources([str(first), str(second)])
    other = coco(root / "x" / "c.json", [(2, "y/1.JPG")], [(5, "cat")])
    with pytest.raises(DataError, match="category 'cat' has another id"):
        list_sources([str(first), str(other)])


@pytest.mark.parametrize("name", ["none.jpg", "none/*.jpg", "empty"])
def test_an_input_with_nothing_in_it_is_told(root, name):
    (root / "empty").mkdir()
    with pytest.raises(DataError, match="expected a picture"):
        list_sources([str(root / name)])
