from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from sample_archives import archive_of, serving, write_ade, write_coco, zipped

from mmconvnext.cli import prepare_data
from mmconvnext.cli.main import COMMANDS
from mmconvnext.data import archives, download

TOOLS = Path(__file__).parents[2] / "tools"
COCO_FOLDERS = {
    "annotations_trainval2017.zip": "annotations",
    "val2017.zip": "val2017",
    "train2017.zip": "train2017",
}


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "FIRST_WAIT", 0.0)
    with serving() as running:
        yield running


@pytest.fixture
def zips(server, tmp_path_factory, monkeypatch) -> dict[str, bytes]:
    """Tiny archives of both data sets on the server, in the table of the official ones."""
    source = tmp_path_factory.mktemp("source")
    coco, ade = write_coco(source / "coco"), write_ade(source / "ade")
    files = {name: zipped(coco / folder, folder) for name, folder in COCO_FOLDERS.items()}
    table = {
        "coco": tuple(
            archive_of(name, files[name], server.url, folder, folder)
            for name, folder in COCO_FOLDERS.items()
        )
    }
    name = "ADEChallengeData2016.zip"
    files[name] = zipped(ade, "ADEChallengeData2016")
    table["ade20k"] = (archive_of(name, files[name], server.url, "ADEChallengeData2016", ""),)
    server.files.update(files)
    monkeypatch.setattr(archives, "ARCHIVES", table)
    for module in ("coco_layout", "inspect_coco", "inspect_ade20k"):
        monkeypatch.setattr(f"mmconvnext.data.{module}.ARCHIVES", table)
    return files


@pytest.fixture
def no_server():
    """An address where nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def run(*arguments: object) -> int:
    return prepare_data.main([*map(str, arguments), "--workers", "2"])


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(("name", "kind"), [("coco", "detection"), ("ade20k", "segmentation")])
def test_made_up_data_check_out_as_sound(name, kind, shapes, server, zips, capsys):
    before = tree(shapes[kind])
    assert run(name, shapes[kind]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "sound" and said.err == ""
    assert ("circle, square, triangle (3)" in said.out) == (name == "coco")
    assert "annotations/" in said.out and "ok (note)" in said.out
    assert tree(shapes[kind]) == before and server.log == []


@pytest.mark.parametrize(("name", "write"), [("coco", write_coco), ("ade20k", write_ade)])
def test_a_subset_is_sound_and_downloads_nothing(name, write, tmp_path, server, zips, capsys):
    assert run(name, write(tmp_path / "data")) == 0
    assert "of the official" in capsys.readouterr().out
    assert server.log == []


def test_an_empty_folder_is_filled_and_then_sound(tmp_path, server, zips, capsys):
    root = tmp_path / "data" / "coco"
    assert run("coco", root) == 0
    said = capsys.readouterr()
    missing, told, sound = said.out.partition("to download: ")
    assert told and "missing" in missing and "in all" in sound and said.err == ""
    assert sound.splitlines()[-1] == "sound" and "classes: COCO's 80" in sound
    assert tree(root) == tree(write_coco(tmp_path / "expected"))
    assert sorted(path for path, _, _ in server.log) == sorted(COCO_FOLDERS)
    assert run("coco", root) == 0 and len(server.log) == 3


def test_only_what_is_missing_is_downloaded(tmp_path, server, zips):
    root = write_coco(tmp_path / "coco")
    shutil.rmtree(root / "val2017")
    assert run("coco", root, "--keep-archives") == 0
    assert [path for path, _, _ in server.log] == ["val2017.zip"]
    assert (root / "val2017.zip").read_bytes() == zips["val2017.zip"]


@pytest.mark.parametrize("inside", [True, False])
def test_ade20k_comes_where_data_root_looks_for_it(inside, tmp_path, server, zips):
    root = tmp_path / "ade" / "ADEChallengeData2016"
    if inside:
        write_ade(root)
        shutil.rmtree(root / "annotations" / "validation")
    assert run("ade20k", root.parent if inside else root) == 0
    assert tree(root) == tree(write_ade(tmp_path / "expected"))
    assert len(server.log) == 1 and [path.name for path in root.parent.iterdir()] == [root.name]


def test_a_subset_is_not_filled_up_where_another_part_is_absent(tmp_path, zips):
    root = write_ade(tmp_path / "ade", images=1)
    for kind in ("images", "annotations"):
        shutil.rmtree(root / kind / "validation")
    assert run("ade20k", root) == 0
    counts = {
        part: len(list((root / part).iterdir()))
        for part in ("images/training", "images/validation")
    }
    assert counts == {"images/training": 1, "images/validation": 2}


def test_an_archive_that_lies_there_is_used_and_kept(tmp_path, server, zips):
    root = write_coco(tmp_path / "coco")
    shutil.rmtree(root / "val2017")
    (root / "val2017.zip").write_bytes(zips["val2017.zip"])
    assert run("coco", root) == 0
    assert server.log == [] and (root / "val2017.zip").exists()


def test_an_archive_of_another_size_is_not_used(tmp_path, server, zips, capsys):
    (tmp_path / "val2017.zip").write_bytes(b"half")
    assert run("coco", tmp_path) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"{tmp_path / 'val2017.zip'}: expected" in error
    assert server.log == [] and tree(tmp_path) == {"val2017.zip": b"half"}


def test_without_network_there_is_one_line_and_nothing_else(
    tmp_path, no_server, zips, server, capsys, monkeypatch
):
    unreachable = tuple(
        archive_of(name, zips[name], no_server, folder, folder)
        for name, folder in COCO_FOLDERS.items()
    )
    monkeypatch.setitem(archives.ARCHIVES, "coco", unreachable)
    root = tmp_path / "coco"
    assert run("coco", root) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert f"{no_server}/annotations_trainval2017.zip" in said.err
    assert f"put annotations_trainval2017.zip into {root} by hand" in said.err
    assert "missing" in said.out and not root.exists()


def test_a_broken_off_run_goes_on_and_unpacks(tmp_path, server, zips, capsys):
    server.drops = [100] + [0] * 10
    assert run("coco", tmp_path) == 1
    assert "100 bytes that are kept" in capsys.readouterr().err
    assert list(tree(tmp_path)) == ["annotations_trainval2017.zip.part"]
    server.drops, server.log[:] = [], []
    assert run("coco", tmp_path) == 0
    assert server.log[0][:2] == ("annotations_trainval2017.zip", "bytes=100-")


def test_an_interrupt_while_unpacking_is_one_line_and_made_good_later(
    tmp_path, server, zips, capsys, monkeypatch
):
    from mmconvnext.cli.data_report import Bars

    def interrupt(self: Bars, label: str, done: int, total: int | None) -> None:
        if label.startswith("unpacking"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Bars, "bytes", interrupt)
        assert run("coco", tmp_path) == 130
    assert capsys.readouterr().err == "mmconvnext prepare-data: interrupted\n"
    assert [path.name for path in tmp_path.iterdir()] == ["annotations_trainval2017.zip"]
    assert run("coco", tmp_path) == 0
    assert len(server.log) == 3


def test_a_full_disk_is_told_before_the_download(tmp_path, server, zips, capsys, monkeypatch):
    from mmconvnext.data import unpack

    monkeypatch.setattr(unpack.shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    assert run("coco", tmp_path / "coco") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "disk space" in error and server.log == []


def test_check_touches_neither_network_nor_disk(tmp_path, server, zips, capsys):
    (tmp_path / "val2017.zip").write_bytes(zips["val2017.zip"])
    assert run("coco", tmp_path, "--check") == 1
    assert run("coco", tmp_path / "new", "--check") == 1
    verdict = capsys.readouterr().out.splitlines()[-1]
    assert verdict.startswith("not sound; to download: annotations_trainval2017.zip, train2017.zip")
    assert tree(tmp_path) == {"val2017.zip": zips["val2017.zip"]}
    assert not (tmp_path / "new").exists() and server.log == []


@pytest.mark.parametrize("options", [[], ["--check"]])
def test_damaged_images_are_found_unless_they_are_not_decoded(options, tmp_path, zips, capsys):
    root = write_coco(tmp_path / "coco")
    (root / "val2017" / "000000000001.jpg").write_bytes(b"no picture")
    assert run("coco", root, *options) == 1
    said = capsys.readouterr().out
    assert "damaged: val2017/: one image does not decode: 000000000001.jpg" in said
    assert said.splitlines()[-1] == "not sound"
    assert run("coco", root, "--no-decode", *options) == 0


def test_ones_own_broken_data_are_told_and_left_alone(own_data, server, zips, capsys):
    root = own_data["detection"]
    shutil.rmtree(root / "images" / "val")
    before = tree(root)
    assert run("coco", root) == 1
    said = capsys.readouterr().out
    assert "missing: images/val/" in said and "nothing is downloaded" in said
    assert tree(root) == before and server.log == []


def test_json_has_every_name_and_nothing_else_on_standard_output(tmp_path, zips, capsys):
    root = write_coco(tmp_path / "coco", images=5)
    for path in (root / "val2017").iterdir():
        path.write_bytes(b"no picture")
    shutil.rmtree(root / "train2017")
    assert run("coco", root, "--json") == 1
    said = capsys.readouterr()
    content = json.loads(said.out)
    assert (content["task"], content["root"], content["sound"]) == ("coco", str(root), False)
    parts = {part["name"]: part for part in content["parts"]}
    # The archive on the server has three of the five images.
    assert parts["train2017/"]["state"] == "incomplete"
    assert parts["val2017/"]["findings"][-1] == {
        "state": "damaged",
        "text": "5 images do not decode",
        "names": [f"{number:012}.jpg" for number in range(1, 6)],
    }
    assert "to download: train2017.zip" in said.err


def test_json_is_there_even_if_the_download_fails(tmp_path, server, zips, capsys):
    server.status = 404
    assert run("ade20k", tmp_path / "ade", "--json") == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["parts"][0]["state"] == "missing"
    assert said.err.splitlines()[-1].startswith("mmconvnext prepare-data: cannot download")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["voc", "x"], "invalid choice: 'voc'"),
        (["coco"], "required: ROOT"),
        (["coco", "x", "--workers", "0"], "at least 1"),
        (["coco", __file__], "has to be a folder"),
    ],
)
def test_bad_input_is_one_line_and_status_two(arguments, said, capsys):
    assert prepare_data.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and said in error


def test_the_command_is_listed_and_its_tool_answers_help_without_pytorch():
    assert COMMANDS["prepare-data"][0] == "mmconvnext.cli.prepare_data"
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['prepare_data.py', '-h']; sys.path.insert(0, {str(TOOLS.parent)!r})\n"
        "try:\n"
        f"    runpy.run_path({str(TOOLS / 'prepare_data.py')!r}, run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    print(end.code, 'torch' in sys.modules, 'rich' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--keep-archives" in done.stdout
    assert done.stdout.splitlines()[-1] == "0 False False", done.stdout + done.stderr


def test_the_official_archives_have_the_sizes_that_others_list():
    # A slip in the table would make every download fail: the sizes once more, as others list them.
    table = {archive.name: archive for task in archives.ARCHIVES.values() for archive in task}
    assert {name: archive.size for name, archive in table.items()} == {
        "annotations_trainval2017.zip": 252907541,
        "val2017.zip": 815585330,
        "train2017.zip": 19336861798,
        "ADEChallengeData2016.zip": None,
    }
    for archive in table.values():
        algorithm, _, digest = archive.digest.partition(":")
        assert len(digest) == {"sha256": 64, "sha1": 40}[algorithm]
        assert archive.url.endswith(f"/{archive.name}")
