from __future__ import annotations

from pathlib import Path

import pytest

from mmconvnext.inference.journal import Journal, JournalError, earlier_run

SETTINGS = {"config": "a.py", "threshold": 0.3, "ids": (1, 2)}


def entry(name: str, number: int, **more) -> dict:
    return {"name": name, "image_id": number, "results": [], **more}


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "results.jsonl"


def test_what_was_added_is_there_again(path):
    entries = [entry("a", 3, picture="pictures/a.jpg"), entry("b", 9, map="maps/b.png")]
    with Journal(path, SETTINGS) as journal:
        for item in entries:
            journal.add(item)
        assert list(journal.entries()) == entries  # while it is still open
    with Journal(path, SETTINGS, resume=True) as journal:
        assert list(journal.entries()) == entries
        assert journal.names == {"a", "b"} and journal.last_id == 9
        assert journal.files == {"pictures/a.jpg", "maps/b.png"}


def test_frames_count_once_their_video_is_finished(path):
    with Journal(path, SETTINGS) as journal:
        journal.add(entry("v/0", 1, video="v", frame=0))
        journal.add({"finished": "v"})
        journal.add(entry("w/0", 2, video="w", frame=0))
    with Journal(path, SETTINGS, resume=True) as journal:
        assert [item["name"] for item in journal.entries()] == ["v/0"]
        assert journal.names == {"v"} and journal.last_id == 1


@pytest.mark.parametrize("cut", ['{"name": "b", "ima', "\x00\x00\x00", "[1]\n"])
def test_a_line_that_was_cut_off_is_passed_over(path, cut):
    with Journal(path, SETTINGS) as journal:
        journal.add(entry("a", 1))
    with path.open("a") as file:
        file.write(cut)
    with Journal(path, SETTINGS, resume=True) as journal:
        journal.add(entry("c", 2))
    with Journal(path, SETTINGS, resume=True) as journal:
        assert [item["name"] for item in journal.entries()] == ["a", "c"]


def test_other_settings_are_told(path):
    Journal(path, SETTINGS).__exit__(None, None, None)
    with pytest.raises(JournalError, match=r"had threshold 0\.3, this one has 0\.5"):
        Journal(path, {**SETTINGS, "threshold": 0.5}, resume=True)


def test_without_an_earlier_run_there_is_nothing_to_go_on_with(path):
    with pytest.raises(JournalError, match="expected an earlier run"):
        Journal(path, SETTINGS, resume=True)
    for content in ("", "hello\n", '{"name": "a"}\n', "[]\n"):
        path.write_text(content)
        assert not earlier_run(path)
        with pytest.raises(JournalError, match="expected an earlier run"):
            Journal(path, SETTINGS, resume=True)
        assert path.read_text() == content
    Journal(path, SETTINGS).__exit__(None, None, None)
    assert earlier_run(path)
