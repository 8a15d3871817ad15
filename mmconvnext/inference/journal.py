"""What is finished, a line of JSON each, so that an interrupted run can go on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from mmconvnext.checkpoints.writing import write_whole


class JournalError(ValueError):
    """A journal of other work; the message is one line."""


class Journal:
    """An append-only file: a first line of settings, then entries.

    An entry with a "video" is one of its frames; only the entry ``{"finished": VIDEO}`` makes them
    count, since a video is begun anew if it was interrupted.

    Args:
        path: the file.
        settings: what the results depend on.
        resume: go on with the file that is there; otherwise it is begun anew.

    Attributes:
        names: of the pictures and videos that were finished before.
        files: of theirs.
        last_id: their highest image id; 0 if there are none.

    Raises:
        JournalError: to be resumed, and there is none, or one with other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], *, resume: bool = False) -> None:
        self.path = path
        self.names: set[str] = set()
        self.files: set[str] = set()
        self.last_id = 0
        head = {"settings": dict(settings)}
        if resume:
            _check_settings(path, head)
            self._clean(head)
        else:
            write_whole(path, lambda file: _write_lines(file, [head]))
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, entry: Mapping[str, Any]) -> None:
        """Append an entry: a picture's, with its "name" and "image_id"."""
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()

    def entries(self) -> Iterator[dict[str, Any]]:
        """The entries of pictures and frames, one in memory at a time."""
        return (entry for entry in _lines(self.path) if "name" in entry)

    def _clean(self, head: Mapping[str, Any]) -> None:
        """Take out what does not count: frames of unfinished videos, a line that was cut off."""
        videos = {line["finished"] for line in _lines(self.path) if "finished" in line}

        def kept() -> Iterator[Mapping[str, Any]]:
            yield head
            for line in _lines(self.path):
                if line.get("video") not in (None, *videos) or "settings" in line:
                    continue
                self._remember(line)
                yield line

        write_whole(self.path, lambda file: _write_lines(file, kept()))

    def _remember(self, line: Mapping[str, Any]) -> None:
        self.last_id = max(self.last_id, line.get("image_id", 0))
        self.files.update(line[key] for key in ("picture", "map") if key in line)
        name = line.get("finished", None if "video" in line else line.get("name"))
        if name is not None:
            self.names.add(name)


def earlier_run(path: Path) -> bool:
    """Whether ``path`` is a journal."""
    return path.is_file() and "settings" in next(_lines(path), {})


def _check_settings(path: Path, head: Mapping[str, Any]) -> None:
    if not earlier_run(path):
        raise JournalError(f"{path.parent}: expected an earlier run to go on with, found none")
    check_same(path.parent, next(_lines(path))["settings"], head["settings"])


def check_same(folder: Path, before: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Whether the run in ``folder``, which had other settings ``before``, may go on with these.

    Raises:
        JournalError: some differ.
    """
    now = json.loads(json.dumps(settings))
    for key in {**now, **before}:  # in their order: what tells most comes first
        if before.get(key) != now.get(key):
            raise JournalError(
                f"{folder}: the earlier run had {key} {before.get(key)}, this one has "
                f"{now.get(key)}; their results would mix"
            )


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                content = json.loads(line)
            except ValueError:  # cut off by a kill, or a foreign file
                continue
            if isinstance(content, dict):
                yield content


def _write_lines(path: Path, lines: Any) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
