"""Unpacks an archive so that nothing half-written ever bears its final name."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from mmconvnext.data.archives import Archive
from mmconvnext.data.download import ByteProgress, DownloadError

_BLOCK = 1 << 20


def unpack(
    archive: Archive,
    path: Path,
    root: Path,
    *,
    untouched: Collection[Path] = (),
    progress: ByteProgress | None = None,
) -> None:
    """Unpack what ``archive`` is for from the zip file ``path`` into ``root``.

    Everything is written into a hidden folder first and moved into place when it is complete. A
    file that is already there stays as it is.

    Args:
        archive: says which folder of the zip file goes where.
        path: the zip file.
        root: the data set's folder.
        untouched: folders that are there and stay as they are, such as a subset on purpose.
        progress: called with "unpacking" and the numbers of bytes written and of all.

    Raises:
        DownloadError: not a zip file, damaged, without that folder, with names that lead out of
            it, or larger than the disk has room for. ``root`` is then as it was.
    """
    scratch = root / f".{archive.name}.unpacking"
    try:
        with zipfile.ZipFile(path) as content:
            members = _wanted(archive, path, content)
            check_space(root, sum(member.file_size for member, _ in members), path.name)
            root.mkdir(parents=True, exist_ok=True)
            _remove(scratch)  # a killed run's
            _write(content, members, scratch, progress)
        _move(scratch, root / archive.into, untouched)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        hint = "delete it to have it downloaded again"
        raise DownloadError(f"{path} is not a sound zip file: {error}; {hint}") from error
    except OSError as error:
        raise DownloadError(f"cannot unpack {path} into {root}: {error}") from error
    finally:
        _remove(scratch)


def check_space(folder: Path, needed: int, what: str) -> None:
    """Check that the disk of ``folder``, which need not exist yet, has ``needed`` bytes left.

    Raises:
        DownloadError: it has not.
    """
    existing = next(
        path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir()
    )
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise DownloadError(
            f"{what} needs {needed / 1e9:.1f} GB of disk space in {folder}, "
            f"{free / 1e9:.1f} GB are free; make room or choose another disk"
        )


def _wanted(
    archive: Archive, path: Path, content: zipfile.ZipFile
) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """The files in the archive's folder, each with its path below that folder."""
    members = []
    for member in content.infolist():
        name = PurePosixPath(member.filename)
        if _leads_out(member.filename):
            raise DownloadError(
                f"{path} has a file named {member.filename!r}, which leads out of the folder; "
                "it is not the official archive, nothing was unpacked"
            )
        if stat.S_ISLNK(member.external_attr >> 16):
            raise DownloadError(
                f"{path} has a link, {member.filename!r}; it is not the official archive, "
                "nothing was unpacked"
            )
        if not member.is_dir() and name.parts[0] == archive.folder and len(name.parts) > 1:
            members.append((member, name.relative_to(archive.folder)))
    if not members:
        raise DownloadError(
            f"{path} has no folder {archive.folder}/; it is not the official archive"
        )
    return members


def _leads_out(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return not parts or parts[0] == "/" or ".." in parts or "\\" in name or ":" in parts[0]


def _write(
    content: zipfile.ZipFile,
    members: list[tuple[zipfile.ZipInfo, PurePosixPath]],
    scratch: Path,
    progress: ByteProgress | None,
) -> None:
    total = sum(member.file_size for member, _ in members)
    done = 0
    for member, name in members:
        target = scratch / name
        target.parent.mkdir(parents=True, exist_ok=True)
        # Reading to the end checks the CRC of the file.
        with content.open(member) as source, target.open("wb") as file:
            while block := source.read(_BLOCK):
                file.write(block)
                done += len(block)
                if progress is not None:
                    progress("unpacking", done, total)


def _move(source: Path, target: Path, untouched: Collection[Path]) -> None:
    """Move ``source`` to ``target``; where both are folders, what ``target`` lacks."""
    if not target.exists():
        source.rename(target)
    elif source.is_dir() and target.is_dir() and target not in untouched:
        for path in sorted(source.iterdir()):
            _move(path, target / path.name, untouched)


def _remove(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder, ignore_errors=True)
