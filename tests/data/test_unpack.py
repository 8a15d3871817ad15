from __future__ import annotations

import io
import zipfile
from types import SimpleNamespace

import pytest
from sample_archives import archive_of

from mmconvnext.data import unpack as module
from mmconvnext.data.download import DownloadError
from mmconvnext.data.unpack import check_space, unpack


@pytest.fixture
def zip_file(tmp_path):
    """Writes a zip file of the given entries (name → content); returns archive and path."""

    def write(entries: dict, into: str = "val") -> tuple:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as content:
            for name, data in entries.items():
                content.writestr(name, data)
        path = tmp_path / "val.zip"
        path.write_bytes(buffer.getvalue())
        return archive_of("val.zip", buffer.getvalue(), "http://nowhere", "val", into), path

    return write


def tree(folder) -> dict[str, bytes]:
    """Everything below ``folder``, hidden files and empty folders included."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"(folder)"
        for path in folder.rglob("*")
    }


def refused(archive, path, root) -> str:
    """Unpacks what must fail on one line and leave ``root`` as it was; returns the line."""
    root.mkdir(exist_ok=True)
    before = tree(root)
    with pytest.raises(DownloadError) as error:
        unpack(archive, path, root)
    assert tree(root) == before
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    return str(error.value)


def test_only_the_folder_that_is_wanted_comes_into_place(zip_file, tmp_path):
    entries = {"val/a.jpg": b"A", "val/sub/b.jpg": b"B", "__MACOSX/val/a.jpg": b"x", "read.me": b""}
    told = []
    unpack(*zip_file(entries), tmp_path / "root", progress=lambda *now: told.append(now))
    found = tree(tmp_path / "root")
    assert {name for name, data in found.items() if data != b"(folder)"} == {
        "val/a.jpg",
        "val/sub/b.jpg",
    }
    assert found["val/sub/b.jpg"] == b"B"
    assert told[-1] == ("unpacking", 2, 2)


def test_the_top_folder_is_left_out_where_it_is_the_data_sets_own(zip_file, tmp_path):
    unpack(*zip_file({"val/images/a.jpg": b"A"}, into=""), tmp_path / "root")
    assert tree(tmp_path / "root")["images/a.jpg"] == b"A"


def test_files_that_are_there_stay_and_others_join_them(zip_file, tmp_path):
    (tmp_path / "root" / "val").mkdir(parents=True)
    (tmp_path / "root" / "val" / "a.jpg").write_bytes(b"mine")
    unpack(*zip_file({"val/a.jpg": b"A", "val/b.jpg": b"B"}), tmp_path / "root")
    assert tree(tmp_path / "root") == {"val": b"(folder)", "val/a.jpg": b"mine", "val/b.jpg": b"B"}


def test_a_folder_that_is_to_stay_as_it_is_gets_nothing(zip_file, tmp_path):
    kept = tmp_path / "root" / "some"
    kept.mkdir(parents=True)
    archive, path = zip_file({"val/some/a.jpg": b"A", "val/other/a.jpg": b"A"}, into="")
    unpack(archive, path, tmp_path / "root", untouched=[kept])
    assert set(tree(tmp_path / "root")) == {"some", "other", "other/a.jpg"}


@pytest.mark.parametrize(
    "name", ["../evil", "val/../../evil", "/evil", "val/..\\..\\evil", "C:/evil", "val\\..\\evil"]
)
def test_names_that_lead_out_of_the_folder_are_refused(name, zip_file, tmp_path):
    said = refused(*zip_file({"val/a.jpg": b"A", name: b"x"}), tmp_path / "root")
    assert "leads out of the folder" in said
    assert not (tmp_path / "evil").exists()


def test_links_are_refused(zip_file, tmp_path):
    link = zipfile.ZipInfo("val/link")
    link.external_attr = 0o120777 << 16
    assert "a link, 'val/link'" in refused(*zip_file({link: b"/etc"}), tmp_path / "root")


def test_a_zip_file_of_something_else_is_refused(zip_file, tmp_path):
    assert "no folder val/" in refused(*zip_file({"other/a": b"A"}), tmp_path / "root")


@pytest.mark.parametrize("damage", ["cut off", "other bytes"])
def test_a_damaged_zip_file_leaves_nothing(damage, zip_file, tmp_path):
    archive, path = zip_file({"val/a.jpg": b"A" * 1000, "val/b.jpg": b"B" * 1000})
    data = path.read_bytes()
    path.write_bytes(data[:500] if damage == "cut off" else data.replace(b"B" * 1000, b"C" * 1000))
    assert "is not a sound zip file" in refused(archive, path, tmp_path / "root")


def test_an_interrupt_leaves_nothing_under_its_final_name(zip_file, tmp_path):
    def interrupt(*now: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(
            *zip_file({"val/a.jpg": b"A", "val/b.jpg": b"B"}), tmp_path / "root", progress=interrupt
        )
    assert tree(tmp_path / "root") == {}


def test_what_a_killed_run_left_does_not_come_into_place(zip_file, tmp_path):
    left = tmp_path / "root" / ".val.zip.unpacking" / "half.jpg"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    unpack(*zip_file({"val/a.jpg": b"A"}), tmp_path / "root")
    assert set(tree(tmp_path / "root")) == {"val", "val/a.jpg"}


def test_a_full_disk_is_told_before_anything_is_written(zip_file, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: SimpleNamespace(free=999))
    archive, path = zip_file({"val/a.jpg": b"A" * 1000})
    (tmp_path / "root").mkdir()
    with pytest.raises(DownloadError, match=r"val.zip needs .* free; make room"):
        unpack(archive, path, tmp_path / "root")
    assert tree(tmp_path / "root") == {}
    check_space(tmp_path / "not" / "yet", 999, "this")
