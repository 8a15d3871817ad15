"""Shards done by actors of Ray Data, on one machine or a cluster; Ray starts dead ones again."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from mmconvnext.inference.many.local import Show, WorkersDiedError
from mmconvnext.inference.many.output import abandoned, finished, sweep
from mmconvnext.inference.many.worker import Job, ShardWorker

_ATTEMPTS = 3  # without a finished shard between them
_TO_ANSWER = 10  # seconds
_BLOCKS = 10_000  # that Ray Data plans well with


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Inside, there is the cluster at ``address``, or one of this machine's cores if it is None;
    where Ray is connected already, it stays so.

    Raises:
        ConnectionError: there is no cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A warning about a default of Ray's, which is what is wanted: GPUs stay visible.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    if address is not None:
        _check_reachable(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        quiet["include_dashboard"] = False
    try:
        ray.init(address=address or "local", **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConnectionError(f"{address or 'local'}: {' '.join(str(error).split())}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Ray itself would try for ten minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), _TO_ANSWER).close()
    except OSError as error:
        raise ConnectionError(f"{address}: no Ray cluster answers there: {error}") from error


def resources() -> tuple[int, int]:
    """Cores and GPUs of the cluster."""
    import ray

    found = ray.cluster_resources()
    return int(found.get("CPU", 0)), int(found.get("GPU", 0))


def run_on_ray(
    job: Job,
    todo: Sequence[int],
    workers: int,
    device: str,
    show: Show,
    pictures_of: Callable[[int], int],
) -> int:
    """Do the shards ``todo`` in actors of the cluster that :func:`connected` has connected to.

    Args:
        job: what they must know; its folder, the source and the checkpoint are seen by all.
        todo: numbers of shards.
        workers: how many actors; each takes the job's threads as cores.
        device: "cpu", or "cuda": each actor takes a GPU.
        show: called with how many pictures are done in this run.
        pictures_of: how many pictures a shard has.

    Returns:
        How often what Ray had given up was begun anew.

    Raises:
        WorkersDiedError: Ray gave up three times with no shard finished between.
    """
    _quieten()
    rounds = fruitless = 0
    before: set[int] = finished(job.folder)
    while True:
        sweep(job.folder)
        left = [number for number in todo if number not in before]
        if not left:
            return max(0, rounds - 1)
        done = sum(map(pictures_of, set(todo) & before))
        failure = _round(job, left, workers, device, show, done)
        rounds += 1
        now = finished(job.folder)
        fruitless = 0 if now - before else fruitless + 1
        before = now
        if fruitless == _ATTEMPTS:
            shards = ", ".join(map(str, left[: 2 * workers]))
            raise WorkersDiedError(
                f"Ray gave up {_ATTEMPTS} times without finishing a shard, of {shards}: {failure}"
            )


def _round(job: Job, todo: Sequence[int], workers: int, device: str, show: Show, done: int) -> str:
    """Have Ray Data do the shards; returns why it gave up, empty if it did not."""
    import ray.data
    from ray.exceptions import RayError

    numbers = ray.data.from_items(
        [{"shard": number} for number in todo], override_num_blocks=min(len(todo), _BLOCKS)
    )
    reports = numbers.map_batches(
        ShardActor,
        fn_constructor_args=(job, device),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(todo))),
        num_cpus=job.threads,
        num_gpus=1 if device == "cuda" else 0,
    )
    try:
        for row in reports.iter_rows():
            done += int(row["pictures"])
            show(done)
    except RayError as error:
        cause = getattr(error, "cause", None) or error
        lines = [line for line in str(cause).splitlines() if line.strip()] or [type(cause).__name__]
        return lines[-1].strip()
    return ""


class ShardActor:
    """What Ray Data calls with numbers of shards.

    Args:
        job: whose shards.
        device: "cpu" or "cuda".
    """

    def __init__(self, job: Job, device: str) -> None:
        self._worker = ShardWorker(job, device)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """How many pictures were done in each of the batch's shards.

        Raises:
            WorkersDiedError: several have died at this shard already; Ray would go on for ever.
        """
        for number in map(int, batch["shard"]):
            if abandoned(self._worker.job.folder, number) >= _ATTEMPTS:
                raise WorkersDiedError(f"workers died {_ATTEMPTS} times at shard {number}")
        reports = [self._worker(int(number)) for number in batch["shard"]]
        done = [0 if report is None else report.pictures for report in reports]
        return {"shard": batch["shard"], "pictures": np.array(done)}


def _quieten() -> None:
    """Our own progress line is the only one."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
