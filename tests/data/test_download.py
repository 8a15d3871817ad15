from __future__ import annotations

import dataclasses
import hashlib
import socket

import pytest
from sample_archives import archive_of, serving

from mmconvnext.data import download as module
from mmconvnext.data.download import DownloadError, check_digest, check_size, download

DATA = bytes(range(256)) * 40_000  # ten blocks, so that progress and drops fall in the middle
SIZE = len(DATA)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "FIRST_WAIT", 0.0)
    with serving() as running:
        running.files["a.zip"] = DATA
        yield running


@pytest.fixture
def archive(server):
    return archive_of("a.zip", DATA, server.url, "a", "a")


def refused(archive, folder) -> str:
    """Runs a download that must fail on one line and leave no final name; returns the line."""
    with pytest.raises(DownloadError) as error:
        download(archive, folder)
    assert "\n" not in str(error.value)
    assert not (folder / archive.name).exists()
    return str(error.value)


def files(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_whole_file_arrives_and_nothing_beside_it(archive, server, tmp_path):
    told = []
    path = download(archive, tmp_path / "new", lambda *now: told.append(now))
    assert path.read_bytes() == DATA
    assert files(tmp_path / "new") == ["a.zip"]
    assert server.log == [("a.zip", None, SIZE)]
    assert ("downloading", SIZE, SIZE) in told and told[-1] == ("checking", SIZE, SIZE)


def test_what_has_arrived_is_not_sent_again(archive, server, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(DATA[:1000])
    assert download(archive, tmp_path).read_bytes() == DATA
    assert server.log == [("a.zip", "bytes=1000-", SIZE - 1000)]


def test_a_dropped_connection_goes_on_where_it_broke_off(archive, server, tmp_path):
    server.drops = [3_000_000, 2_000_000]
    assert download(archive, tmp_path).read_bytes() == DATA
    asked = [wanted for _, wanted, _ in server.log]
    assert asked == [None, "bytes=3000000-", "bytes=5000000-"]
    assert sum(sent for _, _, sent in server.log) == SIZE


def test_a_server_that_never_gets_on_is_given_up(archive, server, tmp_path):
    server.drops = [1000] + [0] * 20
    said = refused(archive, tmp_path)
    assert len(server.log) == module.TRIES
    assert "after 1000 of" in said and "the 1000 bytes that are kept" in said
    assert files(tmp_path) == ["a.zip.part"]


def test_a_server_that_ignores_ranges_starts_anew(archive, server, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(b"x" * 1000)
    server.ranges = False
    assert download(archive, tmp_path).read_bytes() == DATA
    assert server.log == [("a.zip", "bytes=1000-", SIZE)]


def test_a_server_that_sends_another_range_is_asked_for_everything(archive, server, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(DATA[:1000])
    server.shift = 7
    assert download(archive, tmp_path).read_bytes() == DATA
    assert [wanted for _, wanted, _ in server.log] == ["bytes=1000-", None]


@pytest.mark.parametrize("known", [True, False])
def test_a_part_longer_than_the_file_is_thrown_away(known, archive, tmp_path):
    archive = dataclasses.replace(archive, size=SIZE if known else None)
    (tmp_path / "a.zip.part").write_bytes(DATA + b"more")
    assert download(archive, tmp_path).read_bytes() == DATA


@pytest.mark.parametrize("known", [True, False])
def test_a_part_that_is_whole_is_only_checked(known, archive, server, tmp_path):
    archive = dataclasses.replace(archive, size=SIZE if known else None)
    (tmp_path / "a.zip.part").write_bytes(DATA)
    assert download(archive, tmp_path).read_bytes() == DATA
    assert sum(sent for _, _, sent in server.log) == 0


def test_another_size_on_the_server_is_told_before_anything_is_written(archive, tmp_path):
    archive = dataclasses.replace(archive, size=SIZE + 1)
    said = refused(archive, tmp_path)
    assert f"expected {SIZE + 1} bytes" in said and f"has {SIZE}" in said and archive.url in said
    assert files(tmp_path) == []


def test_a_wrong_digest_leaves_nothing(archive, tmp_path):
    wrong = hashlib.sha1(b"other").hexdigest()
    said = refused(dataclasses.replace(archive, digest=f"sha1:{wrong}"), tmp_path)
    assert f"expected sha1 {wrong}, found {hashlib.sha1(DATA).hexdigest()}" in said
    assert files(tmp_path) == []


def test_a_file_that_is_not_there_is_asked_for_once(archive, server, tmp_path):
    server.files.clear()
    said = refused(archive, tmp_path)
    assert "HTTP 404" in said and archive.url in said
    assert f"put a.zip into {tmp_path} by hand and run again" in said
    assert len(server.log) == 1 and files(tmp_path) == []


def test_a_busy_server_is_asked_a_few_times(archive, server, tmp_path):
    server.status = 503
    assert "HTTP 503" in refused(archive, tmp_path)
    assert len(server.log) == module.TRIES


def test_without_a_server_there_is_one_line_at_once_and_no_folder(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda seconds: pytest.fail("waited"))
    with socket.socket() as taken:  # bound, not listening
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a.zip"
        said = refused(dataclasses.replace(archive, url=url), tmp_path / "new")
    assert "refused" in said and url in said
    assert not (tmp_path / "new").exists()


def test_an_interrupt_leaves_a_part_that_a_later_call_goes_on_from(archive, server, tmp_path):
    def interrupt(stage: str, done: int, total: int | None) -> None:
        if done > 2_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(archive, tmp_path, interrupt)
    assert files(tmp_path) == ["a.zip.part"]
    arrived = (tmp_path / "a.zip.part").stat().st_size
    assert 2_000_000 < arrived < SIZE
    assert download(archive, tmp_path).read_bytes() == DATA
    assert server.log[-1] == ("a.zip", f"bytes={arrived}-", SIZE - arrived)


def test_a_folder_that_cannot_be_written_is_named(archive, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match=f"cannot write {tmp_path}/file/a.zip.part: "):
        download(archive, tmp_path / "file")


def test_an_archive_put_there_by_hand_is_checked_and_kept(archive, tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(DATA)
    check_size(archive, path)
    check_digest(archive, path)
    path.write_bytes(DATA[:-1])
    with pytest.raises(DownloadError, match=rf"{path}: expected {SIZE} bytes, found {SIZE - 1}"):
        check_size(archive, path)
    path.write_bytes(DATA[:-1] + b"x")
    with pytest.raises(DownloadError, match="expected sha256"):
        check_digest(archive, path)
    assert path.exists()
