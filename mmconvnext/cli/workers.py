"""Calls in processes of their own, which may crash or hang without harm to the caller."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from multiprocessing import get_context
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

_CALLS = 50  # of one process: some leave memory behind
_TO_START, _TO_LEAVE = 120, 2  # seconds
Task = Callable[[Any], Any]  # of a module, for the worker imports it


class WorkerError(RuntimeError):
    """A worker crashed, or was ended as it took too long."""


def call_in_workers(
    function: Task, arguments: Iterable[Any], *, jobs: int, seconds: float
) -> Iterator[tuple[Any, Any]]:
    """Call ``function`` with each of ``arguments`` in ``jobs`` processes.

    Yields:
        (argument, answer) as they come; the answer is a :class:`WorkerError` where the worker
        crashed, or took more than ``seconds`` and was ended. What ``function`` raises counts as a
        crash.
    """
    idle: SimpleQueue[_Worker] = SimpleQueue()
    workers = [_Worker(function) for _ in range(jobs)]
    for worker in workers:
        idle.put(worker)

    def call(argument: Any) -> Any:
        worker = idle.get()
        try:
            return worker.call(argument, seconds)
        except WorkerError as error:
            return error
        finally:
            idle.put(worker)

    threads = ThreadPoolExecutor(jobs)
    try:
        calls = {threads.submit(call, argument): argument for argument in arguments}
        for done in as_completed(calls):
            yield calls[done], done.result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.end()


class _Worker:
    """One process, started when it is needed: again after each end."""

    def __init__(self, function: Task) -> None:
        self._function = function
        self._process: Any = None
        self._pipe: Connection | None = None
        self._calls = 0

    def call(self, argument: Any, seconds: float) -> Any:
        if self._calls == _CALLS:
            self.end()
        pipe = self._pipe or self._start()
        self._calls += 1
        pipe.send(argument)
        return self._hear(seconds)

    def _start(self) -> Connection:
        """Start the process; what comes before the first call does not count as its time."""
        self._calls = 0
        context = get_context("spawn")  # forking a process with threads may lock it up
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(self._function, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._hear(_TO_START)
        return self._pipe

    def _hear(self, seconds: float) -> Any:
        """What the process sends; WorkerError where it sends nothing."""
        assert self._pipe is not None
        try:
            if self._pipe.poll(seconds):
                return self._pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            code = self._process.exitcode
            self.end()
            raise WorkerError(f"the process died (exit status {code})") from None
        self.end(kill=True)
        raise WorkerError(f"took more than {seconds:g} s")

    def end(self, kill: bool = False) -> None:
        if self._pipe is not None:
            self._pipe.close()  # which an idle process takes as its end
        if self._process is not None:
            if not kill:
                self._process.join(_TO_LEAVE)
            self._process.kill()
            self._process.join()
        self._process = self._pipe = None


def _serve(function: Task, pipe: Connection) -> None:
    """Answer calls until the other end closes; what they print goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    pipe.send("ready")
    while True:
        try:
            argument = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        pipe.send(function(argument))
