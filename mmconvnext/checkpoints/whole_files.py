"""Checkpoint files on the disk: none has its name before it is whole, and a damaged one is
recognised by the checksum beside it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import zipfile
from pathlib import Path

from mmconvnext.checkpoints.reading import CheckpointError, read_content
from mmconvnext.checkpoints.writing import write_whole

POINTER = "last_checkpoint"  # mmengine's: a file in the work directory that names the newest
_CHECKSUM, _UNFINISHED = ".sha256", ".unfinished"
_LEFT_OVER = re.compile(
    rf"\.(.+{re.escape(_UNFINISHED)}|(.+{re.escape(_CHECKSUM)}|{POINTER})\.[0-9a-f]{{32}})"
)
_CHUNK = 1 << 24  # bytes


def sidecar(path: Path) -> Path:
    """The file beside ``path`` with its checksum, as ``sha256sum -c`` reads it."""
    return path.with_name(path.name + _CHECKSUM)


def unfinished(path: Path) -> Path:
    """The name under which ``path`` is written, until :func:`finish`."""
    return path.with_name(f".{path.name}{_UNFINISHED}")


def finish(path: Path) -> None:
    """Give what was written under ``unfinished(path)`` the name ``path``: when all of it is on the
    disk, in one step, its checksum beside it. A folder (of shards) gets no checksum.

    Whatever had the name keeps it until then; of a folder, almost until then.

    Raises:
        OSError: something cannot be written; what had the name still has it.
    """
    written = unfinished(path)
    if written.is_dir():
        for file in written.rglob("*"):
            _sync(file)
        if path.is_dir():
            shutil.rmtree(path)
        written.replace(path)
    else:
        _sync(written)
        line = f"{_sha256(written)} *{path.name}\n"
        # The old checksum must not stand beside the new file, nor the new one beside the old file:
        # for this moment there is none, and verify() reads the file.
        sidecar(path).unlink(missing_ok=True)
        written.replace(path)
        write_whole(sidecar(path), lambda file: _write_text(file, line))
    _sync(path.parent)


def discard(path: Path) -> None:
    """Remove a checkpoint, file or folder, and its checksum; nothing where there is none.

    Raises:
        OSError: it cannot be removed.
    """
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    sidecar(path).unlink(missing_ok=True)


def point_to(folder: Path, checkpoint: str) -> None:
    """Write ``checkpoint`` into the ``last_checkpoint`` of ``folder``, all or nothing.

    Raises:
        OSError: it cannot be written; the old one is still there.
    """
    write_whole(folder / POINTER, lambda file: _write_text(file, checkpoint))
    _sync(folder)


def clear_left_over(folder: Path) -> None:
    """Remove what a killed run has left in ``folder``: unfinished files, checksums of nothing."""
    if not folder.is_dir():
        return
    for file in folder.iterdir():
        whole = file.with_name(file.name.removesuffix(_CHECKSUM))
        if _LEFT_OVER.fullmatch(file.name) or (file != whole and not whole.exists()):
            with contextlib.suppress(OSError):
                discard(file)


def verify(path: Path) -> None:
    """Check that a checkpoint is whole: by the checksum beside it, or without one by reading it,
    the checksums that PyTorch puts into its files included. Of a folder, that it is there.

    Raises:
        CheckpointError: what is wrong with it.
    """
    if path.is_dir():
        return
    if not path.is_file():
        raise CheckpointError(f"checkpoint not found: {path}")
    if path.stat().st_size == 0:
        raise CheckpointError(f"checkpoint {path}: empty")
    try:
        _verify_by_checksum(path) if sidecar(path).is_file() else _verify_by_reading(path)
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise CheckpointError(f"checkpoint {path}: damaged or cut off ({error})") from error


def _verify_by_checksum(path: Path) -> None:
    beside = sidecar(path)
    expected = beside.read_text(encoding="utf-8", errors="replace").partition(" ")[0]
    found = _sha256(path)
    if found != expected:
        raise CheckpointError(
            f"checkpoint {path}: damaged or cut off: expected SHA-256 {expected[:12]}… (from "
            f"{beside.name}), found {found[:12]}…"
        )


def _verify_by_reading(path: Path) -> None:
    read_content(path)
    if zipfile.is_zipfile(path):  # PyTorch itself does not look at the checksums in it
        with zipfile.ZipFile(path) as archive:
            if (record := archive.testzip()) is not None:
                raise CheckpointError(f"checkpoint {path}: damaged: record {record}")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _write_text(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir():
        # Not every system can do that to a folder; what is in the files has its own.
        with contextlib.suppress(OSError):
            _sync_opened(path)
    else:
        _sync_opened(path)


def _sync_opened(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
