"""Decodes pictures in several processes and tells which do not decode.

With Pillow, since it refuses a picture whose data end early; OpenCV 4 fills the rest with grey.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import connection

import numpy as np
from PIL import Image

_CHUNK = 32
_ORIENTATION = 0x0112  # the EXIF tag
_BYTE_MODES = ("L", "P")
_INTEGER_MODES = ("1", "I", "I;16", "I;16B", "I;16L")


@dataclasses.dataclass(frozen=True)
class Decoded:
    """What decoding one picture gave.

    Args:
        error: why it does not decode; empty if it does.
        size: width and height.
        turned: whether its EXIF data ask for a quarter turn, which OpenCV makes while loading.
        values: of a mask, the pixel values in it; None if it is not one channel of integers.
    """

    error: str = ""
    size: tuple[int, int] = (0, 0)
    turned: bool = False
    values: frozenset[int] | None = None

    def fits(self, size: tuple[int, int]) -> bool:
        """Whether ``size`` (width, height) is its size, as stored or as turned."""
        return size == self.size or (self.turned and size == self.size[::-1])


def decode_files(
    paths: Sequence[str],
    *,
    workers: int,
    masks: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[Decoded]:
    """Decode every file completely, in ``workers`` processes.

    Args:
        paths: the files.
        workers: number of processes, at least 1.
        masks: also collect the pixel values.
        progress: called with the numbers of files done and of all.

    Returns:
        What came of each path, in the same order.
    """
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    if not chunks:
        return []
    # Forked, a worker need not import PyTorch again, which comes with the package.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    pool = ProcessPoolExecutor(min(workers, len(chunks)), context, initializer=start_worker)
    results: dict[int, list[Decoded]] = {}
    done = 0
    try:
        numbers = {pool.submit(_decode_chunk, chunk, masks): n for n, chunk in enumerate(chunks)}
        for future in as_completed(numbers):
            number = numbers[future]
            results[number] = future.result()
            done += len(chunks[number])
            if progress is not None:
                progress(done, len(paths))
    finally:
        pool.shutdown(cancel_futures=True)
    return [decoded for number in range(len(chunks)) for decoded in results[number]]


def start_worker() -> None:
    """Make a process that was started to read pictures one that its parent alone ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    warnings.simplefilter("ignore")  # of Pillow, about EXIF data that nobody reads
    Image.MAX_IMAGE_PIXELS = None  # large pictures are no attack when they are one's own
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed cannot end its workers, which would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _decode_chunk(paths: Sequence[str], masks: bool) -> list[Decoded]:
    return [_decode(path, masks) for path in paths]


def _decode(path: str, mask: bool) -> Decoded:
    try:
        with Image.open(path) as picture:
            picture.load()
            turned = picture.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
            values = _values(picture) if mask else None
            return Decoded(size=picture.size, turned=turned, values=values)
    except Exception as error:  # damaged files raise whatever the decoder stumbles over
        return Decoded(error=" ".join(str(error).split()) or type(error).__name__)


def _values(picture: Image.Image) -> frozenset[int] | None:
    if picture.mode in _BYTE_MODES:
        return frozenset(value for value, count in enumerate(picture.histogram()) if count)
    if picture.mode in _INTEGER_MODES:
        return frozenset(map(int, np.unique(np.asarray(picture))))
    return None
