"""Reading and writing videos, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

_FRAMES_PER_SECOND = 25.0  # where a file does not say


class VideoReader:
    """A video's frames.

    Args:
        path: the file.

    Attributes:
        count: how many frames the file says it has; 0 if it does not say.
        fps: frames per second.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        capture = cv2.VideoCapture(str(path))
        self.count = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.fps = float(capture.get(cv2.CAP_PROP_FPS)) or _FRAMES_PER_SECOND
        capture.release()

    def __iter__(self) -> Iterator[np.ndarray]:
        """Frames, (H, W, 3) uint8 BGR each; none if the file is no video."""
        capture = cv2.VideoCapture(str(self.path))
        try:
            while True:
                there, frame = capture.read()
                if not there:
                    return
                yield frame
        finally:
            capture.release()

    def frame(self, number: int) -> np.ndarray | None:
        """Frame ``number``, from 0; None if it cannot be read."""
        capture = cv2.VideoCapture(str(self.path))
        try:
            capture.set(cv2.CAP_PROP_POS_FRAMES, number)
            there, frame = capture.read()
            return frame if there else None
        finally:
            capture.release()


class VideoFile:
    """A video that gets its name when it is whole.

    Args:
        path: ends in ``.mp4``; its folder is made if absent.
        fps: frames per second.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps = path, fps
        self._unfinished = path.with_name(f".{path.stem}.unfinished{path.suffix}")
        self._writer: cv2.VideoWriter | None = None

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.release()
            if error is None:
                self._unfinished.replace(self.path)
        self._unfinished.unlink(missing_ok=True)

    def add(self, frame: np.ndarray) -> None:
        """Append ``frame``, (H, W, 3) uint8 RGB; all are of one size.

        Raises:
            OSError: this OpenCV cannot write the file.
        """
        if self._writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            size = frame.shape[1], frame.shape[0]
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._unfinished), code, self.fps, size)
            if not self._writer.isOpened():
                raise OSError(
                    f"cannot write {self.path}: OpenCV {cv2.__version__} cannot write MPEG-4 there"
                )
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
