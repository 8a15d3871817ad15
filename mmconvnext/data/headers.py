"""What can be told about a picture without decoding it: size, turn, whether its end is there.

Reads the first and the last kilobytes of a file. Only where these raise doubts is it decoded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image

_THREADS = 16  # they wait for the disk; on a network's that is most of the time
_AT_ONCE = 2048
_TAIL = 4096  # some cameras and programs write something behind the end
_ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}
# What Pillow calls pictures that OpenCV turns into 8-bit BGR as well.
_KNOWN_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I;16B", "I;16L")
_LONGEST, _MOST_PIXELS = 1 << 20, 1 << 30  # OpenCV's limits
_ORIENTATION = 0x0112  # the EXIF tag


@dataclasses.dataclass(frozen=True)
class Header:
    """What the beginning and the end of a picture's file say.

    Args:
        error: why it cannot be loaded; empty if nothing speaks against it.
        size: width and height as stored.
        turned: whether its EXIF data ask for a quarter turn, which OpenCV makes while loading.
    """

    error: str = ""
    size: tuple[int, int] = (0, 0)
    turned: bool = False

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height when it is loaded as its EXIF data ask for."""
        return self.size[::-1] if self.turned else self.size


def read_headers(
    paths: Sequence[str], progress: Callable[[int, int], None] | None = None
) -> list[Header]:
    """Read the header of each of ``paths``, in threads.

    Args:
        paths: the files.
        progress: called with the numbers of files done and of all.

    Returns:
        What came of each path, in the same order.
    """
    found: list[Header] = []
    with _without_limit(), ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(paths), _AT_ONCE):
            found += pool.map(read_header, paths[start : start + _AT_ONCE])
            if progress is not None:
                progress(len(found), len(paths))
    return found


def read_header(path: str) -> Header:
    """What the file ``path`` says about its picture."""
    try:
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            return _read(file, size) if size else Header("is empty (0 bytes)")
    except OSError as error:
        return Header(f"cannot be read: {error.strerror or error}")


@contextlib.contextmanager
def _without_limit() -> Iterator[None]:
    """Pillow refuses large pictures as attacks, which they are not when they are one's own."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about EXIF data that nobody reads
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _read(file: BinaryIO, size: int) -> Header:
    try:
        picture = Image.open(file)
        turned = "exif" in picture.info and picture.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
        kind, mode, shape = picture.format or "", picture.mode, picture.size
    except Exception:  # damaged files raise whatever the reader stumbles over
        return _decoded(file)
    if max(shape) > _LONGEST or shape[0] * shape[1] > _MOST_PIXELS:
        return Header(f"is {shape[0]}x{shape[1]} pixels large, more than OpenCV loads")
    if kind in _ENDS:
        file.seek(max(0, size - _TAIL))
        whole = _ENDS[kind] in file.read()
    else:
        whole = True
    if mode not in _KNOWN_MODES or not whole:
        return dataclasses.replace(_decoded(file), turned=turned)
    return Header("", shape, turned)


def _decoded(file: BinaryIO) -> Header:
    """What decoding says, for files that leave doubts: nobody's camera is refused for its style."""
    file.seek(0)
    content = file.read()
    truncated = _pillow_finds_it_cut_off(content)
    try:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:
        picture = None
    if truncated:
        return Header("is cut off: its end is not there")
    if picture is None:
        return Header("is not a picture that OpenCV can read")
    return Header("", picture.shape[1::-1])


def _pillow_finds_it_cut_off(content: bytes) -> bool:
    """OpenCV 4 fills up what is not there with grey and says nothing."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
    except OSError as error:
        return "truncated" in str(error)
    except Exception:  # whatever Pillow makes of it, it is OpenCV that reads the picture
        return False
    return False
