"""Where very many pictures are: a folder, a list, Parquet files or tars."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

from mmconvnext.data.checks import DataError
from mmconvnext.data.listing import PICTURE_SUFFIXES, files_below

PICTURES, PARQUET, TAR = "pictures", "Parquet files", "tars"
_SUFFIXES = {
    PARQUET: (".parquet", ".parq"),
    TAR: (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"),
}
_LIST = ".txt"
_MOST_BRACES = 10_000_000  # names that a pattern with braces may stand for


@dataclasses.dataclass(frozen=True)
class Source:
    """Pictures that a user names, without the names of single ones.

    Args:
        kind: PICTURES, PARQUET or TAR.
        root: the folder that names are relative to, absolute.
        files: the Parquet files, tars, or the list of pictures; none: all pictures below ``root``.
        without: a folder below ``root`` that is passed over.
    """

    kind: str
    root: str
    files: tuple[str, ...] = ()
    without: str = ""

    def pictures(self) -> Iterator[str]:
        """The names of PICTURES, relative or absolute, in the order of the list, or folder by
        folder in the order of names; one folder's are in memory at a time."""
        if not self.files:
            return _walk(self.root, "", self.without)
        return _lines(Path(self.root, self.files[0]))

    def fingerprint(self) -> str:
        """What tells this source from another: of pictures their names, of files also their sizes
        and times."""
        digest, count = hashlib.sha256(), 0
        for count, text in enumerate(self._told(), 1):  # noqa: B007
            digest.update(text.encode() + b"\n")
        return f"{count:,} {self.kind} in {self.root} ({digest.hexdigest()[:16]})"

    def _told(self) -> Iterator[str]:
        if self.kind == PICTURES:
            yield from map(json.dumps, self.pictures())
            return
        for name in self.files:
            state = Path(self.root, name).stat()
            yield json.dumps([name, state.st_size, state.st_mtime_ns])


def find_source(name: str, *, without: Path | None = None) -> Source:
    """What ``name`` stands for: a folder of pictures, of Parquet files or of tars (with all below
    it), one such file, a pattern (``a/*.tar``, ``a/{000..063}.tar``), or a list of pictures
    (``.txt``, a path a line, relative to the list's folder).

    Args:
        name: as the user gave it.
        without: a folder that is passed over.

    Raises:
        DataError: nothing of the kind is there, or several kinds are.
    """
    path = Path(os.path.abspath(Path(name).expanduser()))  # noqa: PTH100  (links stay)
    if path.is_dir():
        return _of_folder(name, path, without)
    if path.is_file():
        files = [path]
    else:
        found = (sorted(glob.glob(each)) for each in _unfolded(str(path)))  # noqa: PTH207
        files = [Path(file) for several in found for file in several]
    files = [file for file in files if without is None or without not in file.parents]
    kinds = {_kind_of(file.name) for file in files}
    if not files or len(kinds) > 1 or "" in kinds:
        other = next((f"{file}" for file in files if not _kind_of(file.name)), "nothing there")
        if len(kinds - {""}) > 1:
            other = " and ".join(sorted(kinds))
        raise DataError(f"source {name}: expected {_EXPECTED}, found {other}")
    kind = kinds.pop()
    if kind == PICTURES:
        source = Source(PICTURES, str(path.parent), (path.name,))
        return _checked(name, source, "a list without a line")
    root = Path(os.path.commonpath([file.parent for file in files]))
    return Source(kind, str(root), tuple(file.relative_to(root).as_posix() for file in files))


_EXPECTED = (
    "a folder of pictures, Parquet files or tars, a Parquet file, a tar, a pattern of these, or a "
    "list of pictures (.txt)"
)


def _kind_of(name: str) -> str:
    if name.lower().endswith(_LIST):
        return PICTURES
    return next((kind for kind, ends in _SUFFIXES.items() if name.lower().endswith(ends)), "")


def _of_folder(name: str, folder: Path, without: Path | None) -> Source:
    passed_over = str(without) if without is not None and folder in without.parents else ""
    found = []
    for kind, ends in _SUFFIXES.items():
        below = files_below(str(folder), ends)
        files = tuple(f for f in below if without is None or without not in (folder / f).parents)
        if files:
            found.append(Source(kind, str(folder), files))
    pictures = Source(PICTURES, str(folder), without=passed_over)
    if next(pictures.pictures(), None) is not None:
        found.append(pictures)
    if not found:
        raise DataError(f"source {name}: expected {_EXPECTED}, found none of these below it")
    if len(found) > 1:
        kinds = " and ".join(source.kind for source in found)
        raise DataError(
            f"source {name}: expected one kind of files, found {kinds}; name the Parquet files or "
            f"tars by a pattern such as '{name}/*.tar', the pictures by a list (.txt)"
        )
    return found[0]


def _checked(name: str, source: Source, otherwise: str) -> Source:
    if next(source.pictures(), None) is None:
        raise DataError(f"source {name}: expected {_EXPECTED}, found {otherwise}")
    return source


def _walk(root: str, within: str, without: str) -> Iterator[str]:
    try:
        entries = sorted(os.scandir(f"{root}/{within}"), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if f"{root}/{within}{entry.name}" != without:
                yield from _walk(root, f"{within}{entry.name}/", without)
        elif entry.name.lower().endswith(PICTURE_SUFFIXES):
            yield f"{within}{entry.name}"


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        yield from (line for line in map(str.strip, file) if line)


def _unfolded(pattern: str) -> Iterable[str]:
    """The patterns that one with braces stands for: ``{a,b}``, and ``{08..11}``, whose numbers keep
    their width; those without braces have ``*`` and ``?`` still."""
    pieces: list[list[str]] = []
    count = 1
    for piece in re.split(r"(\{[^{}]*\})", pattern):
        span = re.fullmatch(r"\{(\d+)\.\.(\d+)\}", piece)
        if span:
            first, last = int(span[1]), int(span[2])
            count *= max(1, last - first + 1)
            if count > _MOST_BRACES:
                return [pattern]
            pieces.append([f"{n:0{len(span[1])}}" for n in range(first, last + 1)])
        elif piece.startswith("{") and "," in piece:
            pieces.append(piece[1:-1].split(","))
        else:
            pieces.append([piece])
    return map("".join, product(*pieces))
