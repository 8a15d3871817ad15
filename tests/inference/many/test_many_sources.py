"""Where pictures may be, divided into shards and read back: every picture once, in order."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from sample_many import jpeg, write_parquet, write_pictures, write_tar

from mmconvnext.data.checks import DataError
from mmconvnext.inference.many.plan import Facts, begin, divide, read_plan
from mmconvnext.inference.many.reading import read_shard
from mmconvnext.inference.many.sources import find_source
from mmconvnext.inference.pictures import PictureError

FACTS = Facts("segmentation", False, ("one", "two"), False)


def read(name: Path | str, folder: Path, size: int = 3, column: str | None = None):
    """Items and pictures (files as their bytes) of the source ``name``, shard by shard."""
    plan = begin(folder, divide(find_source(str(name)), size, column), FACTS, {"a": 1}, "b = 2")
    assert read_plan(folder) == plan
    shards = [list(read_shard(plan, plan.shard(n), folder)) for n in range(len(plan))]
    assert [len(shard) for shard in shards] == [plan.shard(n).count for n in range(len(plan))]
    assert sum(map(len, shards)) == plan.total and max(map(len, shards)) <= size
    found = [pair for shard in shards for pair in shard]
    return [(item, p.read_bytes() if isinstance(p, Path) else p) for item, p in found]


@pytest.fixture
def pictures(tmp_path) -> dict[str, bytes]:
    return write_pictures(tmp_path / "pictures", 10)


def test_a_folder(tmp_path, pictures):
    root = tmp_path / "pictures"
    (root / "notes.md").write_text("no picture")
    (root / ".hidden.jpg").write_bytes(jpeg(0))
    found = read(root, tmp_path)
    assert {item.key: content for item, content in found} == pictures
    assert [item.key for item, _ in found] == sorted(pictures)
    assert [(item.file, item.row) for item, _ in found] == [("", n) for n in range(10)]
    inside = find_source(str(root), without=root / "a")
    assert list(inside.pictures()) == [name for name in pictures if name[0] == "b"]
    before = find_source(str(root)).fingerprint()
    assert before.startswith("10 pictures in ")
    (root / "b" / "more.jpg").write_bytes(jpeg(0))
    assert find_source(str(root)).fingerprint() != before


def test_a_list_of_paths(tmp_path, pictures):
    names = ["pictures/b/0007.jpg", str(tmp_path / "pictures" / "a" / "0001.jpg")]
    (tmp_path / "list.txt").write_text("\n\n".join(names) + "\n")
    found = read(tmp_path / "list.txt", tmp_path / "out")
    assert [item.key for item, _ in found] == names
    assert [content for _, content in found] == [pictures["b/0007.jpg"], pictures["a/0001.jpg"]]


@pytest.mark.parametrize("rows_in_group", [1, 4, 100])
@pytest.mark.parametrize("kind", ["bytes", "struct", "paths"])
def test_parquet_files(tmp_path, pictures, kind, rows_in_group):
    names, contents = list(pictures), list(pictures.values())
    folder = tmp_path / "pictures"
    for number, part in enumerate((slice(0, 7), slice(7, 10))):
        columns = {
            "bytes": {"caption": names[part], "image": contents[part]},
            "struct": {
                "image": [
                    {"bytes": content, "path": name}
                    for name, content in list(pictures.items())[part]
                ]
            },
            "paths": {"id": [1] * len(names[part]), "file_name": names[part]},
        }[kind]
        write_parquet(folder / f"{number}.parquet", columns, rows_in_group)
    found = read(f"{folder}/*.parquet", tmp_path / "out")
    assert [content for _, content in found] == contents
    places = [("0.parquet", n) for n in range(7)] + [("1.parquet", n) for n in range(3)]
    assert [(item.file, item.row) for item, _ in found] == places
    keys = [f"{file}:{row}" for file, row in places] if kind == "bytes" else names
    assert [item.key for item, _ in found] == keys


def test_a_parquet_row_without_a_picture_is_an_error_of_its_own(tmp_path):
    columns = {"key": ["x", "y", "z"], "jpg": [jpeg(0), None, jpeg(1)]}
    write_parquet(tmp_path / "a.parquet", columns)
    (x, y, z) = read(tmp_path / "a.parquet", tmp_path / "out")
    assert (x[0].key, y[0].key, z[0].key) == ("x", "y", "z")
    assert x[1] == jpeg(0) and z[1] == jpeg(1)
    assert isinstance(y[1], PictureError) and str(y[1]) == "the row has no picture"


@pytest.mark.parametrize(
    ("columns", "wanted", "said"),
    [
        ({"a": [b"1"], "b": [b"2"]}, None, "a (binary), b (binary); name it with --column"),
        ({"a": [1]}, None, "found a (int64)"),
        ({"a": [b"1"]}, "b", "--column b: expected a column of bytes or paths, found none"),
        ({"a": [b"1"], "b": [1]}, "b", "found a column of int64"),
    ],
)
def test_a_column_that_is_not_clear_is_asked_for(tmp_path, columns, wanted, said):
    source = find_source(str(write_parquet(tmp_path / "a.parquet", columns)))
    with pytest.raises(DataError) as error:
        divide(source, 3, wanted)
    assert said in str(error.value) and "a.parquet" in str(error.value)


def test_the_column_may_be_named(tmp_path):
    write_parquet(tmp_path / "a.parquet", {"a": [jpeg(0)], "b": [jpeg(1)]})
    assert [c for _, c in read(tmp_path / "a.parquet", tmp_path, column="b")] == [jpeg(1)]


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz"])
def test_tars(tmp_path, pictures, suffix):
    names, parts = list(pictures), []
    for number, part in enumerate((names[:7], names[7:])):
        members = {}
        for name in part:
            members |= {name: pictures[name], f"{name[:-4]}.json": b"{}", f"{name[:-4]}.pkl": b"."}
        members["x" * 150 + ".jpg"] = jpeg(100 + number)  # a name too long for one header
        members["._a.jpg"] = b"macOS leaves these"
        parts.append(members)
        mode = f"w:{suffix[1:]}" if suffix else "w"
        write_tar(tmp_path / f"set-{number:03}.tar{suffix}", members, mode)
    found = read(f"{tmp_path}/set-{{000..001}}.tar{suffix}", tmp_path / "out")
    assert len(found) == 12 and [item.file[-len(suffix) - 7 :][:3] for item, _ in found] == (
        ["000"] * 8 + ["001"] * 4
    )
    for item, content in found:
        assert content == parts[int(item.file[4:7])][item.key]
    assert [item.key for item, _ in found[:7]] == names[:7]
    assert [item.row for item, _ in found] == [*range(8), *range(4)]


def test_links_and_other_members_are_no_pictures(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"a.jpg": jpeg(0)})
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("b.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    assert [item.key for item, _ in read(path, tmp_path / "out")] == ["a.jpg"]


def test_a_folder_of_tars_and_a_pattern_with_words(tmp_path):
    for name in ("train", "val"):
        (tmp_path / "sets" / name).mkdir(parents=True)
        write_tar(tmp_path / "sets" / name / "0.tar", {f"{name}.jpg": jpeg(0)})
    both = ["train/0.tar", "val/0.tar"]
    assert list(find_source(str(tmp_path / "sets")).files) == both
    assert list(find_source(f"{tmp_path}/sets/{{train,val}}/*.tar").files) == both
    assert find_source(str(tmp_path / "sets" / "val")).files == ("0.tar",)


def damaged_tar(folder: Path, change) -> Path:
    path = write_tar(folder / "a.tar", {f"{n}.jpg": jpeg(n) for n in range(5)})
    path.write_bytes(change(path.read_bytes()))
    return path


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"no tar at all" * 100,
        lambda content: content[:9000],
        lambda content: content.replace(b"3.jpg", b"?????"),  # its header's sum is wrong
        lambda content: b"",
    ],
)
def test_a_damaged_tar_is_refused_as_a_whole(tmp_path, change):
    path = damaged_tar(tmp_path, change)
    with pytest.raises(DataError) as error:
        divide(find_source(str(path)), 3)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_what_is_damaged_later_is_an_error_for_each_picture(tmp_path):
    tar = write_tar(tmp_path / "a.tar", {f"{n}.jpg": jpeg(n) for n in range(5)})
    plan = begin(tmp_path / "out", divide(find_source(str(tar)), 5), FACTS, {}, "")
    tar.write_bytes(tar.read_bytes()[:9000])
    found = list(read_shard(plan, plan.shard(0), tmp_path / "out"))
    errors = [(item.key, p) for item, p in found if isinstance(p, PictureError)]
    assert [key for key, _ in errors] == ["a.tar:2", "a.tar:3", "a.tar:4"] or len(errors) in (3, 4)
    assert len(found) == 5 and "cannot be read to its end" in str(errors[0][1])
    tar.unlink()
    with pytest.raises(DataError, match="any more"):
        list(read_shard(plan, plan.shard(0), tmp_path / "out"))


def test_damaged_pages_of_parquet_are_an_error_for_each_row(tmp_path):
    path = tmp_path / "a.parquet"
    write_parquet(path, {"jpg": [jpeg(n) for n in range(12)]}, 4)
    plan = begin(tmp_path / "out", divide(find_source(str(path)), 12), FACTS, {}, "")
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2000] = b"\xff" * 2000
    path.write_bytes(content)
    found = list(read_shard(plan, plan.shard(0), tmp_path / "out"))
    assert [item.row for item, _ in found] == list(range(12))
    assert all(content == jpeg(item.row) for item, content in found[:4])


def test_a_source_that_has_changed_meanwhile_ends_the_shard(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", {"jpg": [jpeg(n) for n in range(6)]})
    plan = begin(tmp_path / "out", divide(find_source(str(path)), 6), FACTS, {}, "")
    write_parquet(path, {"jpg": [jpeg(n) for n in range(4)]})
    with pytest.raises(DataError, match=r"expected 6 pictures .* found 4; it has changed"):
        list(read_shard(plan, plan.shard(0), tmp_path / "out"))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: None, "found none of these below it"),
        (lambda root: (root / "a.zip").touch(), "found none of these below it"),
        (
            lambda root: [(root / "a.jpg").touch(), (root / "a.tar").touch()],
            "expected one kind of files, found tars and pictures; name",
        ),
    ],
)
def test_a_folder_with_nothing_or_too_much_is_refused(tmp_path, make, said):
    make(tmp_path)
    with pytest.raises(DataError) as error:
        find_source(str(tmp_path))
    assert said in str(error.value)


def test_other_names_are_refused(tmp_path):
    (tmp_path / "a.zip").touch()
    (tmp_path / "a.txt").write_text("\n")
    for name, said in {
        "none": "nothing there",
        "*.tar": "nothing there",
        "a.zip": "a.zip",
        "a.txt": "a list without a line",
        "{1..99999999}.tar": "nothing there",
    }.items():
        with pytest.raises(DataError) as error:
            find_source(f"{tmp_path}/{name}")
        assert str(error.value).startswith(f"source {tmp_path}/{name}: expected a folder")
        assert said in str(error.value).partition("found ")[2]


@pytest.mark.parametrize("content", ["", "[]", '{"format": 0}', json.dumps({"format": 1})])
def test_a_plan_that_is_none_is_told(tmp_path, content):
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(DataError, match=r"plan\.json: "):
        read_plan(tmp_path)
