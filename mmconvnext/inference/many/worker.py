"""One process's work: shard after shard, each written whole or not at all."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from mmconvnext.checkpoints.writing import whole_file, write_whole
from mmconvnext.inference.many.output import ERRORS, PREDICTIONS, STAGES, Report, part
from mmconvnext.inference.many.plan import CONFIG, Facts, Plan, Shard, read_plan
from mmconvnext.inference.many.reading import Item, read_shard
from mmconvnext.inference.many.tables import ERRORS as ERROR_TABLE
from mmconvnext.inference.many.tables import TableFile, row_of, schema_of
from mmconvnext.inference.pictures import PictureError
from mmconvnext.inference.predictions import Detections, Segmentation
from mmconvnext.inference.predictor import Predictor, Prepared
from mmconvnext.inference.stream import Outcome, Predicts, map_ahead, predict_stream

Progress = Callable[[int], None]
_SIDE = 256  # pixels: no network is too deep for them
_MOST_READERS = 8  # of threads: more than that wait for each other


@dataclasses.dataclass(frozen=True)
class Job:
    """What a process must know to do shards; it travels to other machines.

    Args:
        folder: of the results, with the plan and the config; absolute.
        checkpoint: as Predictor takes it.
        options: of Predictor, but for the device.
        batch_size: pictures that go through the network together.
        threads: of each process.
    """

    folder: Path
    checkpoint: str
    options: Mapping[str, Any]
    batch_size: int
    threads: int

    def predictor(self, device: str) -> Predictor:
        """Build the network from the folder's config; errors as Predictor's."""
        config = self.folder / CONFIG
        return Predictor(config, self.checkpoint, device=device, **self.options)


def facts_of(predictor: Predictor) -> Facts:
    """What tables say of the model; a detector is asked with an empty picture for masks."""
    legend, masks = predictor.legend, False
    if predictor.task == "detection":
        found = predictor(np.zeros((_SIDE, _SIDE, 3), np.uint8))
        masks = isinstance(found, Detections) and found.rles is not None
    return Facts(predictor.task, masks, tuple(legend.classes), bool(legend.zero_is_ignored))


class ShardWorker:
    """Does shards of a job, one after the other, with one network.

    Args:
        job: whose shards.
        device: where the network is to be.
        predictor: the network, if it is built already.

    Raises:
        CheckpointError, DataError, OSError: as Predictor and the plan.
    """

    def __init__(self, job: Job, device: str, predictor: Predicts | None = None) -> None:
        torch.set_num_threads(job.threads)
        cv2.setNumThreads(job.threads)
        Image.MAX_IMAGE_PIXELS = None  # large pictures are no attack when they are one's own
        self.job = job
        self.plan = read_plan(job.folder)
        self.predictor = predictor or job.predictor(device)

    def __call__(self, number: int, progress: Progress = lambda done: None) -> Report | None:
        """Do a shard; returns what came of it, None if it was finished before.

        Args:
            number: of the shard.
            progress: called after each picture with how many of the shard are done.

        Raises:
            DataError: the source is gone, or has changed.
            OSError: the results cannot be written.
        """
        if part(self.job.folder, PREDICTIONS, number).exists():
            return None
        return predict_shard(
            self.predictor,
            self.plan,
            self.plan.shard(number),
            self.job.folder,
            batch_size=self.job.batch_size,
            threads=self.job.threads,
            progress=progress,
        )


def predict_shard(
    predictor: Predicts,
    plan: Plan,
    shard: Shard,
    folder: Path,
    *,
    batch_size: int = 1,
    threads: int = 2,
    progress: Progress = lambda done: None,
) -> Report:
    """Predict the pictures of ``shard`` and write its tables, first that of errors, then that of
    predictions: where the second is, the shard is finished.

    A few pictures are in memory at a time, and a row group of results.

    Args:
        predictor: finds what is in them.
        plan: whose shard it is.
        shard: the shard.
        folder: of plan and results.
        batch_size: pictures that go through the network together, if they are of one size.
        threads: that read pictures while the network works, at least two do.
        progress: called after each picture with how many are done; what it raises ends the shard.

    Raises:
        DataError: the source is gone, or has changed.
        OSError: the results cannot be written.
    """
    started, timed = time.perf_counter(), _Timed(predictor)
    errors: list[dict[str, Any]] = []
    count = min(max(2, threads), _MOST_READERS)
    path = part(folder, PREDICTIONS, shard.number)
    with (
        whole_file(path) as unfinished,
        ThreadPoolExecutor(count) as readers,
        ThreadPoolExecutor(count) as writers,
        TableFile(unfinished, schema_of(plan.facts, plan.settings)) as table,
    ):
        pictures = timed.each("read", read_shard(plan, shard, folder))
        outcomes = predict_stream(
            timed, pictures, readers, batch_size=batch_size, ahead=2 * max(count, batch_size)
        )
        rows = map_ahead(writers, lambda outcome: timed.row(outcome, plan), outcomes, count)
        for done, row in enumerate(rows, 1):
            with timed.during("write"):
                add = errors.append if "error" in row else table.add
                add(row)
            progress(done)
        _write_errors(folder, shard.number, errors)
        seconds = {**timed.seconds, "wall": time.perf_counter() - started}
        report = Report(shard.number, shard.count, len(errors), seconds)
        table.describe(dataclasses.asdict(report))
    return report


def _write_errors(folder: Path, number: int, errors: Sequence[dict[str, Any]]) -> None:
    path = part(folder, ERRORS, number)
    if not errors:
        path.unlink(missing_ok=True)  # of an attempt that was killed after it had written them
        return

    def write(unfinished: Path) -> None:
        with TableFile(unfinished, ERROR_TABLE) as table:
            for row in errors:
                table.add(row)

    write_whole(path, write)


class _Timed:
    """A predictor, and the seconds that pass in each stage; several threads use it."""

    def __init__(self, predictor: Predicts) -> None:
        self._predictor = predictor
        self._lock = threading.Lock()
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def during(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        with self._lock:
            self.seconds[stage] += time.perf_counter() - started

    def each(self, stage: str, items: Iterator[Any]) -> Iterator[Any]:
        """``items``, and the time it takes to come by them."""
        nothing = object()
        while True:
            with self.during(stage):
                item = next(items, nothing)
            if item is nothing:
                return
            yield item

    def prepare(self, picture: Any) -> Prepared:
        if isinstance(picture, PictureError):
            raise picture
        with self.during("prepare"):
            return self._predictor.prepare(picture)

    def predict(self, prepared: Sequence[Prepared]) -> list[Detections | Segmentation]:
        with self.during("network"):
            return self._predictor.predict(prepared)

    def row(self, outcome: Outcome[Item], plan: Plan) -> dict[str, Any]:
        """The row of a picture, in the table of predictions or that of errors."""
        if outcome.prepared is None or outcome.prediction is None:
            return {**outcome.key._asdict(), "error": str(outcome.error)}
        with self.during("encode"):
            return row_of(outcome.key, outcome.prepared.size, outcome.prediction, plan.facts)
