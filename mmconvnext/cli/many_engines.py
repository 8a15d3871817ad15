"""Who does the shards of predict-many: this machine's processes, Ray's, or torchrun's."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mmconvnext.cli.errors import DONE, OneLineParser, UsageError
from mmconvnext.cli.options import positive
from mmconvnext.cli.processes import world_size
from mmconvnext.cli.signals import interrupted_by_sigterm

if TYPE_CHECKING:
    from mmconvnext.inference.many.plan import Plan
    from mmconvnext.inference.many.worker import Job
    from mmconvnext.inference.predictor import Predictor

ENGINES = ("local", "ray", "torchrun")
Show = Callable[[int], None]


def add_engine_options(options: OneLineParser) -> None:
    """Add who does the work, where, and how many do."""
    options.add_argument(
        "--engine",
        choices=ENGINES,
        help="who starts the workers: this command, Ray (on one machine or a cluster), or torchrun "
        "(default: local, or torchrun where it has started this)",
    )
    options.add_argument(
        "--address",
        metavar="auto|HOST:PORT",
        help="of a Ray cluster, whose machines must all see DIR, SOURCE and CHECKPOINT (default: "
        "one of this machine alone)",
    )
    options.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="processes that predict (default: one a GPU, or what the CPU's cores do best with)",
    )


class Engine:
    """Workers on this machine; what other engines do otherwise, they override.

    Args:
        args: the command line's.

    Attributes:
        device: "cpu" or "cuda[:N]", where networks are to be.
        workers: how many.
        threads: of each.
        leads: whether this process writes plan and summary.
        leader_works: whether it has a network of its own to predict with.
    """

    leads = True

    def __init__(self, args: argparse.Namespace) -> None:
        self.device = self._pick_device(args.device)
        self.workers, self.threads = self._share(args.workers)
        self.leader_works = self.workers == 1
        self._run: dict[str, Any] = {"pictures": 0, "seconds": 0.0, "restarts": 0}

    def _pick_device(self, wanted: str) -> str:
        from mmconvnext.cli.device import pick_device

        return pick_device(wanted, "none")

    def _share(self, wanted: int | None) -> tuple[int, int]:
        """How many workers, and how many threads each."""
        import torch

        from mmconvnext.inference.many.local import cores

        gpus = torch.cuda.device_count() if self.device == "cuda" else 1
        best = cores_to_workers(cores()) if self.device == "cpu" else gpus
        workers = wanted or best
        return workers, max(1, cores() // workers)

    @property
    def leaders_device(self) -> str:
        """Where this process's network is to be; if it only tries it out, the GPU is not taken."""
        return self.device if self.leader_works else "cpu"

    def run(self, job: Job, predictor: Predictor | None) -> None:
        """Do the shards that are not finished, and show how far it is."""
        from mmconvnext.cli.meter import Meter
        from mmconvnext.cli.running import tell
        from mmconvnext.inference.many.output import finished
        from mmconvnext.inference.many.plan import read_plan

        plan, done = read_plan(job.folder), finished(job.folder)
        before = sum(plan.shard(number).count for number in done)
        todo = [number for number in range(len(plan)) if number not in done]
        if before:
            tell(f"{before:,} of {plan.total:,} pictures were finished before")
        started = time.monotonic()
        with interrupted_by_sigterm(), Meter(plan.facts.task, "pictures", before=before) as meter:
            if todo:
                restarts = self._do(
                    job, plan, todo, predictor, lambda n: meter.show(before + n, plan.total)
                )
                self._run["restarts"] = restarts
        left = len(plan) - len(finished(job.folder))
        if left:
            raise RuntimeError(f"{job.folder}: {left:,} shards are not finished; call this again")
        self._run["seconds"] = time.monotonic() - started
        self._run["pictures"] = sum(plan.shard(number).count for number in todo)

    def _do(
        self, job: Job, plan: Plan, todo: list[int], predictor: Predictor | None, show: Show
    ) -> int:
        from mmconvnext.inference.many.local import run_here, run_local

        if self.workers == 1:
            run_here(job, todo, self.device, predictor, show)
            return 0
        return run_local(job, todo, self._devices(), show, lambda number: plan.shard(number).count)

    def _devices(self) -> list[str]:
        import torch

        if self.device != "cuda":
            return [self.device] * self.workers
        return [f"cuda:{n % torch.cuda.device_count()}" for n in range(self.workers)]

    def this_run(self) -> dict[str, Any]:
        """What the summary says of this run."""
        seconds = max(self._run["seconds"], 1e-9)
        return {
            **self._run,
            "pictures_per_second": round(self._run["pictures"] / seconds, 4),
            "workers": self.workers,
            "threads": self.threads,
            "device": self.device,
        }

    def status(self, status: int) -> int:
        """The exit status where pictures could not be read."""
        return status


class RayEngine(Engine):
    """Actors of Ray Data."""

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__(args)
        self.leader_works = False

    def _pick_device(self, wanted: str) -> str:
        """The cluster's machines may have GPUs where this one has none."""
        from mmconvnext.inference.many.on_ray import resources

        _, gpus = resources()
        if wanted == "auto":
            return "cuda" if gpus else "cpu"
        if wanted not in ("cpu", "cuda"):
            raise UsageError(f"--device {wanted}: with --engine ray it takes auto, cpu or cuda")
        if wanted == "cuda" and not gpus:
            raise UsageError("--device cuda: the Ray cluster has no GPU; use --device cpu")
        return wanted

    def _share(self, wanted: int | None) -> tuple[int, int]:
        from mmconvnext.inference.many.on_ray import resources

        cores, gpus = resources()
        workers = wanted or (gpus if self.device == "cuda" else cores_to_workers(cores))
        if workers > cores:
            raise UsageError(f"--workers {workers}: the Ray cluster has {cores} cores")
        return workers, max(1, cores // workers)

    def _do(
        self, job: Job, plan: Plan, todo: list[int], predictor: Predictor | None, show: Show
    ) -> int:
        from mmconvnext.inference.many.on_ray import run_on_ray

        return run_on_ray(
            job, todo, self.workers, self.device, show, lambda number: plan.shard(number).count
        )


class TorchrunEngine(Engine):
    """The processes of torchrun, of which this is one."""

    def __init__(self, args: argparse.Namespace) -> None:
        from mmconvnext.inference.many.under_torchrun import Processes, own_device

        self._processes = Processes()
        super().__init__(args)
        self.leads, self.leader_works = self._processes.rank == 0, True
        self.device = own_device(self.device, int(os.environ.get("LOCAL_RANK", "0")))

    def _share(self, wanted: int | None) -> tuple[int, int]:
        from mmconvnext.inference.many.local import cores

        if wanted is not None:
            raise UsageError("--workers: torchrun says how many there are, by --nproc-per-node")
        here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        return self._processes.count, max(1, cores() // here)

    def run(self, job: Job, predictor: Predictor | None) -> None:
        """Do shards until none is left; the first process begins and shows how far it is."""
        from mmconvnext.inference.many.output import sweep
        from mmconvnext.inference.many.worker import ShardWorker

        if self.leads:
            sweep(job.folder)
            self._processes.announce()
            super().run(job, predictor)
            return
        self._processes.await_plan()
        with interrupted_by_sigterm():
            self._processes.run(ShardWorker(job, self.device), lambda done: None)

    def _do(
        self, job: Job, plan: Plan, todo: list[int], predictor: Predictor | None, show: Show
    ) -> int:
        from mmconvnext.inference.many.worker import ShardWorker

        self._processes.run(ShardWorker(job, self.device, predictor), show)
        return 0

    def this_run(self) -> dict[str, Any]:
        """What the summary says; torchrun itself counts how often it has started anew."""
        restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
        return {**super().this_run(), "restarts": restarts}

    def status(self, status: int) -> int:
        """Success: for a failure torchrun would start all processes again, or say that they
        crashed."""
        return DONE


@contextmanager
def pick_engine(args: argparse.Namespace) -> Iterator[Engine]:
    """The engine that the command line or the surroundings ask for.

    Raises:
        UsageError: it cannot be had here.
    """
    _check_installed("pyarrow", "many", "results are Parquet files")
    launched = world_size() > 1 or "TORCHELASTIC_RUN_ID" in os.environ
    name = args.engine or ("torchrun" if launched else "local")
    if args.address is not None and name != "ray":
        raise UsageError("--address is of a Ray cluster, and goes with --engine ray only")
    if name == "ray":
        _check_installed("ray", "ray", "--engine ray")
        with _ray(args.address):
            yield RayEngine(args)
    elif name == "torchrun":
        if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
            raise UsageError(
                "--engine torchrun: torchrun has not started this (RANK and WORLD_SIZE are not "
                "set); `torchrun --nproc-per-node N tools/predict_many.py …` does"
            )
        yield TorchrunEngine(args)
    else:
        yield Engine(args)


@contextmanager
def _ray(address: str | None) -> Iterator[None]:
    from mmconvnext.inference.many.on_ray import connected

    with ExitStack() as stack:
        try:
            stack.enter_context(connected(address))
        except ConnectionError as error:
            raise UsageError(f"--address {error}") from error
        yield


def cores_to_workers(cores: int) -> int:
    """How many processes share a CPU best."""
    return max(1, cores)


def _check_installed(module: str, extra: str, what: str) -> None:
    if find_spec(module) is None:
        raise UsageError(
            f"{what}: {module} is not installed; it comes with the extra "
            f"(pip install 'mmconvnext[{extra}]')"
        )
