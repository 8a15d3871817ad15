"""Shards done by the processes that torchrun has started, on one machine or several: each takes the
next one of a counter in torchrun's own store."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import timedelta

import torch
from torch import distributed

from mmconvnext.inference.many.local import Show
from mmconvnext.inference.many.output import finished
from mmconvnext.inference.many.worker import ShardWorker

_FOREVER = timedelta(days=30)  # a machine may have far more to do than another
_BETWEEN_LOOKS = 1.0  # seconds
_READY, _NEXT, _PICTURES, _ENDED = "ready", "next", "pictures", "ended"


class Processes:
    """The processes of this run, of which this is one; after an elastic restart they are others.

    Attributes:
        rank: of this process.
        count: of all.
    """

    def __init__(self) -> None:
        store, self.rank, self.count = next(distributed.rendezvous("env://"))
        # The store outlives an elastic restart: a counter that went on would pass over the shards
        # at which processes were killed.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        self._store = distributed.PrefixStore(f"mmconvnext/predict_many/{attempt}", store)

    def announce(self) -> None:
        """Tell the others that the plan is there."""
        self._store.set(_READY, "1")

    def await_plan(self) -> None:
        """Wait for the plan."""
        self._store.wait([_READY], _FOREVER)

    def run(self, worker: ShardWorker, show: Show) -> None:
        """Do shards until none is left; the first process waits for the others.

        Args:
            worker: does them.
            show: called in the first process now and then with how many pictures are done in this
                run.

        Raises:
            DataError, OSError: as the worker; torchrun then ends the others.
        """
        note = _Note(lambda more: self._store.add(_PICTURES, more), self.rank == 0, show)
        before = finished(worker.job.folder)
        while (number := self._store.add(_NEXT, 1) - 1) < len(worker.plan):
            if number not in before:
                note.begin()
                worker(number, note)
        note.flush()
        self._store.add(_ENDED, 1)
        while self.rank == 0 and self._store.add(_ENDED, 0) < self.count:
            time.sleep(_BETWEEN_LOOKS)
            note.flush()


class _Note:
    """Adds up what all processes have done, once a second."""

    def __init__(self, add: Callable[[int], int], shows: bool, show: Show) -> None:
        self._add, self._shows, self._show = add, shows, show
        self._before = self._done = self._told = 0
        self._last = time.monotonic()

    def begin(self) -> None:
        """Another shard, whose pictures are counted from 0."""
        self._before = self._done

    def __call__(self, done: int) -> None:
        self._done = self._before + done
        if time.monotonic() - self._last >= _BETWEEN_LOOKS:
            self.flush()

    def flush(self) -> None:
        all_done = self._add(self._done - self._told)
        self._told, self._last = self._done, time.monotonic()
        if self._shows:
            self._show(all_done)


def own_device(wanted: str, local_rank: int) -> str:
    """The device of a process, where ``wanted`` is "cpu" or "cuda"."""
    if not wanted.startswith("cuda"):
        return wanted
    device = f"cuda:{local_rank % torch.cuda.device_count()}"
    torch.cuda.set_device(device)
    return device
