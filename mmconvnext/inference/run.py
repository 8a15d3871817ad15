"""Predictions of many pictures and videos, written into a folder as they come."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from mmconvnext.checkpoints.writing import write_whole
from mmconvnext.data.sources import Source
from mmconvnext.data.videos import VideoFile, VideoReader
from mmconvnext.inference.journal import Journal
from mmconvnext.inference.painting import paint
from mmconvnext.inference.pictures import PictureLike
from mmconvnext.inference.predictions import Detections, Segmentation
from mmconvnext.inference.predictor import Predictor
from mmconvnext.inference.results import coco_results, write_map
from mmconvnext.inference.stream import Outcome, map_ahead, predict_stream

PICTURES, MAPS = "pictures", "maps"
_THREADS = 4
_AS_THEY_ARE = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")  # Pillow writes these
_QUALITY = {"quality": 92}


@dataclasses.dataclass(frozen=True)
class Key:
    """A picture or a frame on its way.

    Args:
        source: the file it is from.
        image_id: its number.
        frame: its place in the video, from 0; None for a picture.
    """

    source: Source
    image_id: int
    frame: int | None = None

    @property
    def name(self) -> str:
        """What results call it."""
        return self.source.name if self.frame is None else f"{self.source.name}/{self.frame:06}"


@dataclasses.dataclass(frozen=True, eq=False)
class _Written:
    key: Key
    entry: dict[str, Any]
    error: str = ""
    painted: np.ndarray | None = None  # a frame's


@dataclasses.dataclass
class FolderRun:
    """Predicts pictures and videos and keeps what was found in a folder.

    At any time a few pictures are in memory, however many there are.

    Args:
        predictor: whose channel order is 'bgr', as frames of videos are.
        folder: where pictures/ and maps/ go.
        journal: in it; what it has already is passed over.
        category_ids: of detections, by label.
        batch_size: pictures that go through the network together.
        paints: whether painted pictures and videos are written.
        progress: called with the numbers of pictures and frames that are done and that there are.

    Attributes:
        skipped: name → why, of what could not be predicted.
    """

    predictor: Predictor
    folder: Path
    journal: Journal
    category_ids: Sequence[int]
    batch_size: int = 1
    paints: bool = True
    progress: Callable[[int, int], None] = lambda done, total: None
    skipped: dict[str, str] = dataclasses.field(default_factory=dict, init=False)
    _files: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict, init=False)
    _next_id: int = dataclasses.field(default=1, init=False)
    _total: int = dataclasses.field(default=0, init=False)
    _done: int = dataclasses.field(default=0, init=False)

    def run(self, sources: Sequence[Source]) -> None:
        """Predict all of ``sources`` that the journal does not have; why others could not be read
        is in ``skipped`` afterwards.

        Raises:
            OSError: something cannot be written.
        """
        left = [source for source in sources if source.name not in self.journal.names]
        known = [s.image_id for s in sources if s.image_id is not None]
        self._next_id = max([self.journal.last_id, *known], default=0) + 1
        self._files = self._named(left)
        self._total = len(left) + sum(VideoReader(s.path).count - 1 for s in left if s.is_video)
        with ThreadPoolExecutor(_THREADS) as readers, ThreadPoolExecutor(_THREADS) as writers:
            ahead = max(_THREADS, 2 * self.batch_size)
            outcomes = predict_stream(
                self.predictor,
                self._pictures(left),
                readers,
                batch_size=self.batch_size,
                ahead=ahead,
            )
            self._keep(map_ahead(writers, self._write, outcomes, _THREADS))

    def _pictures(self, sources: Sequence[Source]) -> Iterator[tuple[Key, PictureLike]]:
        for source in sources:
            if not source.is_video:
                # A copy: a path keeps its text from when it is first asked for.
                yield Key(source, self._new_id(source)), Path(source.path)
                continue
            frame = -1
            for frame, pixels in enumerate(VideoReader(source.path)):
                yield Key(source, self._new_id(source), frame), pixels
            if frame < 0:
                self._skip(source.name, "expected a video, found no frame that can be read")

    def _new_id(self, source: Source) -> int:
        if source.image_id is not None:
            return source.image_id
        self._next_id += 1
        return self._next_id - 1

    def _named(self, sources: Sequence[Source]) -> dict[str, dict[str, str]]:
        """The files of each source, below the folder; no two get the same."""
        taken = set(self.journal.files)
        files: dict[str, dict[str, str]] = {}
        for source in sources:
            name = source.name
            bare = PurePosixPath(name).with_suffix("").as_posix()
            if source.is_video:
                # Of maps it gets a folder, and no other source has one of that name.
                picture, classes = [f"{bare}.mp4", f"{name}.mp4"], [name]
            else:
                as_it_is = name.lower().endswith(_AS_THEY_ARE)
                picture = [name if as_it_is else f"{name}.jpg"]
                classes = [f"{bare}.png", f"{name}.png"]
            files[name] = {
                "picture": _free([f"{PICTURES}/{file}" for file in picture], taken),
                "map": _free([f"{MAPS}/{file}" for file in classes], taken),
            }
        return files

    def _write(self, outcome: Outcome[Key]) -> _Written:
        """Write what belongs to one picture; several threads do this at once."""
        key, prepared, found = outcome.key, outcome.prepared, outcome.prediction
        if prepared is None or found is None:
            return _Written(key, {}, str(outcome.error))
        height, width = prepared.size
        entry = {"name": key.name, "image_id": key.image_id, "width": width, "height": height}
        files = self._files[key.source.name]
        if key.frame is not None:
            entry |= {"video": key.source.name, "frame": key.frame}
        entry |= self._result(found, files["map"], key.frame)
        if not self.paints:
            return _Written(key, entry)
        painted = paint(prepared.rgb, found)
        entry["picture"] = files["picture"]
        if key.frame is not None:
            return _Written(key, entry, painted=painted)
        path = self.folder / files["picture"]
        kind = Image.registered_extensions()[path.suffix.lower()]
        image = Image.fromarray(painted)
        write_whole(path, lambda file: image.save(file, format=kind, **_QUALITY))
        return _Written(key, entry)

    def _result(
        self, found: Detections | Segmentation, name: str, frame: int | None
    ) -> dict[str, Any]:
        if isinstance(found, Detections):
            return {"results": coco_results(found, self.category_ids)}
        file = name if frame is None else f"{name}/{frame:06}.png"
        write_map(self.folder / file, found, self.predictor.legend.zero_is_ignored)
        return {"map": file}

    def _keep(self, written: Iterator[_Written]) -> None:
        """Put what was written into the journal, and frames into their videos."""
        video: Source | None = None
        output: VideoFile | None = None
        with ExitStack() as files:
            for item in written:
                if video is not None and item.key.source != video:
                    self._finish(video, files)
                    video = None
                if item.error:
                    self._skip(item.key.name, item.error)
                    continue
                if item.key.frame is not None and video is None:
                    video = item.key.source
                    output = self._video(video, files) if item.painted is not None else None
                if item.painted is not None and output is not None:
                    output.add(item.painted)
                self.journal.add(item.entry)
                self._advance()
            if video is not None:
                self._finish(video, files)

    def _video(self, source: Source, files: ExitStack) -> VideoFile:
        path = self.folder / self._files[source.name]["picture"]
        return files.enter_context(VideoFile(path, VideoReader(source.path).fps))

    def _finish(self, video: Source, files: ExitStack) -> None:
        files.close()
        self.journal.add({"finished": video.name})

    def _skip(self, name: str, reason: str) -> None:
        self.skipped[name] = reason
        self._advance()

    def _advance(self) -> None:
        self._done += 1
        self.progress(self._done, max(self._done, self._total))


def _free(candidates: Sequence[str], taken: set[str]) -> str:
    """The first of ``candidates``, or else of numbered ones, that is not taken; then it is."""
    first = PurePosixPath(candidates[0])
    numbered = (str(first.with_stem(f"{first.stem}_{number}")) for number in count(2))
    chosen = next(name for name in chain(candidates, numbered) if name not in taken)
    taken.add(chosen)
    return chosen
