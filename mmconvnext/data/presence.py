"""Whether the files and folders of a data set are there, and where the public ones can be had."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from mmconvnext.data.checks import DataError, base_name, some

SOURCES = {
    "coco": "https://cocodataset.org/#download",
    "ade20k": "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
}


def where_to_get(source: str | None, key: str | None = None) -> str:
    """The end of an error line: where the public data set ``source`` (a key of SOURCES) can be had,
    or, of one's own data, which ``key`` of the data set's config says where they lie."""
    point = "--data-root points to data that lie elsewhere"
    if source is None:
        return f"; set the dataset's {key}, or {point}" if key else f"; {point}"
    return f"; `mmconvnext prepare-data {source} DIR` gets it ({SOURCES[source]}), or {point}"


def check_folder(folder: str, what: str, source: str | None = None, key: str | None = None) -> None:
    """Check that ``folder`` exists.

    Raises:
        DataError: it does not; the message ends as :func:`where_to_get` says.
    """
    if not Path(folder).is_dir():
        raise DataError(f"{what} {folder} does not exist{where_to_get(source, key)}")


def check_file(path: str, what: str, source: str | None = None, key: str | None = None) -> None:
    """Check that the file ``path`` exists; errors as in :func:`check_folder`."""
    if not Path(path).is_file():
        raise DataError(f"{what} {path} does not exist{where_to_get(source, key)}")


def check_pictures(names: Iterable[str], folder: str, listed_in: str) -> None:
    """Check that the files ``names`` (relative to ``folder``) exist.

    Raises:
        DataError: how many are absent, and the first three.
    """
    names = list(names)
    absent = absent_files(names, folder)
    if absent:
        raise DataError(
            f"{len(absent)} of {len(names)} images named in {listed_in} are not in {folder}: "
            f"{some(sorted(absent))}"
        )


def absent_files(names: Iterable[str], folder: str) -> list[str]:
    """Paths of the files ``names`` (relative to ``folder``) that do not exist; reads each folder
    once, not each file."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name in names:
        path = os.path.join(folder, name)  # noqa: PTH118  (100,000 Path objects take seconds)
        by_folder[os.path.dirname(path)].append(path)  # noqa: PTH120
    absent: list[str] = []
    for parent, paths in by_folder.items():
        present = _file_names(parent)
        absent += [path for path in paths if base_name(path) not in present]
    return absent


def _file_names(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except (OSError, ValueError):  # ValueError: no folder's name, one with a zero byte, say
        return set()
