"""Pictures in tars, WebDataset's among them. Only pictures are taken out, and none is unpickled."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from mmconvnext.data.checks import DataError
from mmconvnext.data.listing import PICTURE_SUFFIXES
from mmconvnext.inference.many.plan import Part
from mmconvnext.inference.pictures import PictureError

_OPENERS: dict[str, Any] = {".gz": gzip.open, ".tgz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
# What the decompressors and tarfile raise of damaged files.
_DAMAGED = (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError, ValueError)


def index_tar(root: str, name: str, shard_size: int) -> Part:
    """Count the pictures in a tar, and note where each shard begins.

    Raises:
        DataError: it cannot be read to its end.
    """
    path, offsets, count = Path(root, name), [], 0
    try:
        with _opened(path) as file, tarfile.TarFile(fileobj=file) as tar:
            for member in _pictures(tar):
                if count % shard_size == 0:
                    offsets.append(member.offset)
                count += 1
            # At a damaged header tarfile stops as at the end, which is a block of zeros or nothing.
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
                raise tarfile.ReadError(f"damaged at byte {tar.offset}")
    except _DAMAGED as error:
        text = " ".join(str(error).split())
        raise DataError(f"source {path}: expected a tar, found one cut off or none: {text}") from (
            error
        )
    return Part(name, count, tuple(offsets))


def read_members(
    root: str, name: str, offset: int, count: int
) -> Iterator[tuple[str, bytes | PictureError]]:
    """Name and bytes of ``count`` pictures from the member at ``offset`` on, one at a time.

    Raises:
        DataError: the file is not there.
    """
    path, done = Path(root, name), 0
    if not path.is_file():
        raise DataError(f"source {path}: expected a tar, found nothing of that name any more")
    try:
        with _opened(path) as file:
            file.seek(offset)
            with tarfile.TarFile(fileobj=file) as tar:
                for member in _pictures(tar):
                    content = tar.extractfile(member)
                    assert content is not None  # of a plain file it is never
                    yield member.name, content.read()
                    done += 1
                    if done == count:
                        return
        raise tarfile.ReadError("it has fewer pictures than before")
    except _DAMAGED as error:
        text = " ".join(str(error).split())
        for _ in range(done, count):
            yield "", PictureError(f"{path} cannot be read to its end: {text}")


def _pictures(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := tar.next()) is not None:
        hidden = PurePosixPath(member.name).name.startswith(".")
        if member.type in _PLAIN and not hidden and member.name.lower().endswith(PICTURE_SUFFIXES):
            yield member
        tar.members = []  # type: ignore[attr-defined]  # else all that were seen stay in memory


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with _OPENERS.get(path.suffix.lower(), open)(path, "rb") as file:
        yield file
