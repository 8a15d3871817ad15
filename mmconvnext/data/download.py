"""Downloads one file so that an interrupted download goes on, and nothing half is taken for whole.

The bytes collect in ``NAME.part``; the file gets its name when its size and its digest are right.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from mmconvnext.data.archives import Archive

# Called with what is being done, and the numbers of bytes done and of all, which may be unknown.
ByteProgress = Callable[[str, int, int | None], None]

PART_SUFFIX = ".part"
TRIES = 5  # in a row without a byte
FIRST_WAIT = 1.0  # seconds before the second try; twice as long before each further one
TIMEOUT = 30.0  # seconds without a byte
_BLOCK = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
_NO_SUCH_RANGE = 416
_TOO_BUSY = 429


class DownloadError(Exception):
    """Something could not be got or unpacked; the message is one line."""


class _DroppedError(Exception):
    """The connection ended before the file did."""


class _UnreachableError(_DroppedError):
    """There was no connection."""


def download(archive: Archive, folder: Path, progress: ByteProgress | None = None) -> Path:
    """Download ``archive`` into ``folder``, going on where an earlier call stopped.

    Returns:
        The path of the whole file.

    Raises:
        DownloadError: the server cannot be reached, has something else, or the disk is full. What
            has arrived stays in ``NAME.part``, unless its digest shows that it is no good.
    """
    target = folder / archive.name
    part = part_of(target)
    reached, tries, wait = False, 0, FIRST_WAIT
    while not _is_whole(part, archive):
        before = _bytes_in(part)
        try:
            _fetch(archive, part, progress)
            break
        except _DroppedError as dropped:
            got_on = _bytes_in(part) > before
            reached |= got_on
            tries, wait = (1, FIRST_WAIT) if got_on else (tries + 1, wait * 2)
            # Who has not been reached at all is not worth waiting for.
            if tries >= TRIES or (isinstance(dropped, _UnreachableError) and not reached):
                raise DownloadError(_failure(archive, folder, str(dropped))) from dropped
            time.sleep(wait)
    check_digest(archive, part, progress)
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(target)
    return target


def part_of(target: Path) -> Path:
    """Where the bytes of ``target`` collect."""
    return target.with_name(target.name + PART_SUFFIX)


def check_size(archive: Archive, path: Path) -> None:
    """Check that the file at ``path`` has as many bytes as ``archive``, where that is known.

    Raises:
        DownloadError: it has not.
    """
    found = _bytes_in(path)
    if archive.size is not None and found != archive.size:
        raise DownloadError(
            f"{path}: expected {archive.size} bytes, found {found}; delete it to have it "
            f"downloaded from {archive.url}, or put a whole one there"
        )


def check_digest(archive: Archive, path: Path, progress: ByteProgress | None = None) -> None:
    """Check that the file at ``path`` has the digest of ``archive``; a ``.part`` that has not is
    deleted, since nothing can be made of it.

    Raises:
        DownloadError: it has not.
    """
    if not archive.digest:
        return
    algorithm, _, expected = archive.digest.partition(":")
    digest, done, size = hashlib.new(algorithm), 0, _bytes_in(path)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            done += len(block)
            if progress is not None:
                progress("checking", done, size)
    if digest.hexdigest() == expected:
        return
    is_part = path.name.endswith(PART_SUFFIX)
    if is_part:
        path.unlink()
    what = "it was deleted, run again" if is_part else "delete it to have it downloaded"
    raise DownloadError(
        f"{path}, from {archive.url}: expected {algorithm} {expected}, "
        f"found {digest.hexdigest()}; {what}"
    )


def _fetch(archive: Archive, part: Path, progress: ByteProgress | None) -> None:
    """Append to ``part`` what is lacking, with one request.

    Raises:
        _DroppedError: the connection broke off; another try may help.
        DownloadError: another try would not help.
    """
    start = _bytes_in(part)
    # A proxy or server that compresses would answer with other bytes than the file's.
    headers = {"User-Agent": "mmconvnext", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(archive.url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            start, total = _offered(archive, part, start, response)
            _copy(archive, response, part, start, total, progress)
    except urllib.error.HTTPError as error:
        _judge_refusal(archive, part, start, error)
    except (http.client.HTTPException, OSError) as error:
        cause = getattr(error, "reason", error)
        reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        if isinstance(error, urllib.error.URLError):
            raise _UnreachableError(reason) from error
        raise _DroppedError(f"the connection dropped: {reason}") from error


def _offered(
    archive: Archive, part: Path, start: int, response: http.client.HTTPResponse
) -> tuple[int, int | None]:
    """Where the response's bytes begin, and how many the whole file has."""
    length = response.headers.get("Content-Length")
    total = int(length) if length and length.isdecimal() else None
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if match is None or match[1] is None or int(match[1]) != start:
            part.unlink()  # so that the next try asks for everything
            raise _DroppedError("the server sent another part of the file than it was asked for")
        total = None if match[2] == "*" else int(match[2])
    else:
        start = 0  # the server ignores ranges and begins anew
    _check_total(archive, total)
    return start, total if total is not None else archive.size


def _check_total(archive: Archive, total: int | None) -> None:
    if archive.size is not None and total is not None and total != archive.size:
        raise DownloadError(
            f"{archive.name}: expected {archive.size} bytes, {archive.url} has {total}; "
            "the server, or a proxy or login page before it, sends something else"
        )


def _copy(
    archive: Archive,
    response: http.client.HTTPResponse,
    part: Path,
    start: int,
    total: int | None,
    progress: ByteProgress | None,
) -> None:
    done = start
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        file = part.open("ab" if start else "wb")
    except OSError as error:
        raise _disk_error(part, error) from error
    with file:
        while block := response.read(_BLOCK):
            try:
                file.write(block)
                file.flush()
            except OSError as error:
                raise _disk_error(part, error) from error
            done += len(block)
            if progress is not None:
                progress("downloading", done, total)
    if total is not None and done < total:
        raise _DroppedError(f"the connection dropped after {done} of {total} bytes")
    if total is not None and done > total:
        part.unlink()
        raise _DroppedError(f"the server sent {done} bytes and had promised {total}")


def _judge_refusal(archive: Archive, part: Path, start: int, error: urllib.error.HTTPError) -> None:
    """What an HTTP error means: nothing is lacking (returns), try again, or give up."""
    if error.code == _NO_SUCH_RANGE and start:
        match = _CONTENT_RANGE.match(error.headers.get("Content-Range", ""))
        total = int(match[2]) if match and match[2] != "*" else None
        if total == start and archive.size in (None, start):
            return
        part.unlink()
        raise _DroppedError("what had arrived was longer than the file") from error
    reason = f"HTTP {error.code} {error.reason}"
    if error.code == _TOO_BUSY or error.code >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
        raise _DroppedError(reason) from error
    raise DownloadError(_failure(archive, part.parent, reason)) from error


def _failure(archive: Archive, folder: Path, reason: str) -> str:
    kept = _bytes_in(part_of(folder / archive.name))
    by_hand = f"put {archive.name} into {folder} by hand and run again"
    if kept:
        by_hand = f"run again to go on after the {kept} bytes that are kept, or {by_hand}"
    return f"cannot download {archive.name} from {archive.url}: {reason}; {by_hand}"


def _disk_error(path: Path, error: OSError) -> DownloadError:
    return DownloadError(f"cannot write {path}: {error.strerror or error}")


def _bytes_in(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _is_whole(part: Path, archive: Archive) -> bool:
    return archive.size is not None and _bytes_in(part) == archive.size
