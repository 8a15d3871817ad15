"""Shards done by processes of this machine, each with a network of its own; a process that dies is
replaced, and its shard done again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

from mmconvnext.data.decoding import start_worker
from mmconvnext.inference.many.output import Report, finished, sweep
from mmconvnext.inference.many.worker import Job, ShardWorker
from mmconvnext.inference.stream import Predicts

_ATTEMPTS = 3  # without a finished shard between them
_BETWEEN_LOOKS = 0.5  # seconds
Show = Callable[[int], None]


class WorkersDiedError(RuntimeError):
    """Workers die again and again at the same place; the message is one line."""


class _StoppedError(Exception):
    """A worker leaves its shard since its parent asked for it."""


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_here(
    job: Job, todo: Sequence[int], device: str, predictor: Predicts | None, show: Show
) -> None:
    """Do the shards ``todo`` in this process; ``predictor``: the network, if it is built already.

    Raises:
        DataError, OSError: as :class:`ShardWorker`; what is finished is kept.
    """
    sweep(job.folder)
    worker, before = ShardWorker(job, device, predictor), 0

    def note(done: int) -> None:
        show(before + done)

    for number in todo:
        report = worker(number, note)
        before += report.pictures if report is not None else 0


def run_local(
    job: Job,
    todo: Sequence[int],
    devices: Sequence[str],
    show: Show,
    pictures_of: Callable[[int], int],
) -> int:
    """Do the shards ``todo`` in processes of this machine.

    Args:
        job: what they must know.
        todo: numbers of shards.
        devices: one for each process.
        show: called now and then with how many pictures are done in this run.
        pictures_of: how many pictures a shard has.

    Returns:
        How often processes died and were replaced.

    Raises:
        WorkersDiedError: they died three times with no shard finished between.
        DataError, OSError, CheckpointError: a worker's; the others end, what is finished is kept.
    """
    restarts = fruitless = 0
    before = finished(job.folder)
    while True:
        sweep(job.folder)
        left = [number for number in todo if number not in before]
        if not left:
            return restarts
        pool = _Pool(job, devices, sum(map(pictures_of, set(todo) & before)), show)
        failure: BrokenProcessPool | None = None
        try:
            pool.run(left)
        except BrokenProcessPool as error:
            restarts, failure = restarts + 1, error
        now = finished(job.folder)
        fruitless = 0 if now - before else fruitless + 1
        before = now
        if fruitless == _ATTEMPTS:
            raise WorkersDiedError(
                f"workers died {_ATTEMPTS} times without finishing a shard, at work on "
                f"{pool.at_work()}; a smaller --batch-size or fewer --workers need less memory"
            ) from failure


class _Pool:
    """Processes until the first of them dies; ``pictures`` were done before."""

    def __init__(self, job: Job, devices: Sequence[str], pictures: int, show: Show) -> None:
        self._pictures, self._show, self._size = pictures, show, len(devices)
        context = get_context("spawn")  # CUDA and threads do not survive a fork
        # Of each process, the shard that it is at, from 1, and how many pictures of it are done.
        self._state = context.Array("q", 2 * self._size, lock=False)
        self._stop = context.Event()
        self._processes = ProcessPoolExecutor(
            self._size,
            context,
            initializer=_start,
            initargs=(job, list(devices), context.Value("i", 0), self._state, self._stop),
        )

    def run(self, todo: Sequence[int]) -> None:
        """Do the shards; only as many are handed out as are soon begun."""
        waiting: set[Future[Report | None]] = set()
        numbers = iter(todo)
        try:
            while True:
                for number in numbers:
                    with _interrupts_held_back():
                        waiting.add(self._processes.submit(_do, number))
                    if len(waiting) == 2 * self._size:
                        break
                if not waiting:
                    return
                done, waiting = wait(waiting, _BETWEEN_LOOKS, FIRST_COMPLETED)
                self._note(done)
        finally:
            self._stop.set()
            self._processes.shutdown(cancel_futures=True)

    def _note(self, done: set[Future[Report | None]]) -> None:
        for future in done:
            report = future.result()
            self._pictures += report.pictures if report is not None else 0
        self._show(self._pictures + sum(self._state[1::2]))

    def at_work(self) -> str:
        """Names the shards that were not finished."""
        numbers = sorted(number - 1 for number in self._state[::2] if number)
        shards = ", ".join(map(str, numbers))
        return f"shard {shards}" if len(numbers) == 1 else f"shards {shards}" if numbers else "none"


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Processes that are started inside never see Ctrl-C, which their parent handles; it gets its
    own afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# Of a process of the pool, which gets it once, and calls without it.
_mine: dict[str, Any] = {}


def _start(job: Job, devices: list[str], started: Any, state: Any, stop: Any) -> None:
    start_worker()
    with started.get_lock():
        index = started.value
        started.value += 1
    _mine.update(job=job, device=devices[index % len(devices)], index=index, state=state, stop=stop)


def _do(number: int) -> Report | None:
    state, place = _mine["state"], 2 * _mine["index"]
    if "worker" not in _mine:  # here, where an error finds its way to the parent
        _mine["worker"] = ShardWorker(_mine["job"], _mine["device"])

    def note(done: int) -> None:
        state[place + 1] = done
        if _mine["stop"].is_set():
            raise _StoppedError

    state[place : place + 2] = number + 1, 0
    report: Report | None = _mine["worker"](number, note)
    state[place : place + 2] = 0, 0
    return report
