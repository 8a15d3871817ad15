"""Leaving with a checkpoint when a scheduler asks for it."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from mmengine.hooks import EMAHook, Hook
from torch import distributed

from mmconvnext.hooks.checkpoint import WholeCheckpointHook
from mmconvnext.hooks.signals import StopRequest
from mmconvnext.registry import HOOKS, register_everywhere

STATUS = 75  # EX_TEMPFAIL of sysexits.h: failed for now, to be tried again


class StoppedBySignal(SystemExit):
    """A signal has ended the training, and its checkpoint is whole: the exit status is 75."""


@register_everywhere(HOOKS)
class PreemptionHook(Hook):
    """SIGTERM and SIGUSR1 end the training after a checkpoint, with exit status 75.

    Whichever process gets the signal, at the end of the iteration all of them write
    ``iter_N.pth`` together, by the run's :class:`WholeCheckpointHook`, and leave by
    :class:`StoppedBySignal`. So they do during a validation, unless their shares of it differ in
    length and theirs is over; it is then to be done again. A second signal ends the process as it
    would have. Without a :class:`WholeCheckpointHook` signals do what they did.
    """

    priority = "LOWEST"  # after the checkpoint of this iteration, if there is one

    def __init__(self) -> None:
        self._request = StopRequest()
        self._checkpoints: WholeCheckpointHook | None = None
        self._group: Any = None
        self._common = 0  # iterations of the validation that all processes have

    def before_train(self, runner: Any) -> None:
        """Begin to wait for the signals."""
        own = (hook for hook in runner.hooks if isinstance(hook, WholeCheckpointHook))
        self._checkpoints = next(own, None)
        if self._checkpoints is None:
            return
        if distributed.is_available() and distributed.is_initialized():
            # A CPU's group: a GPU's would make every iteration wait for the GPU.
            self._group = distributed.new_group(backend="gloo")
        self._request.start()
        validation = [runner.val_dataloader] if runner.val_loop is not None else []
        for loader in [runner.train_dataloader, *validation]:
            context = loader.multiprocessing_context or multiprocessing
            if context.get_start_method() == "fork":  # others' workers inherit nothing
                loader.worker_init_fn = partial(_start_worker, loader.worker_init_fn, self._request)

    def after_train_iter(self, runner: Any, batch_idx: int, **_: Any) -> None:
        """Leave if a process was asked to."""
        if self._checkpoints is not None and (number := self._agreed(self._request.number)):
            self._leave(runner, number, (runner.epoch, runner.iter + 1))

    def before_val_epoch(self, runner: Any) -> None:
        """Learn how long all processes are in it."""
        if self._checkpoints is not None:
            self._common = -self._agreed(-len(runner.val_dataloader))

    def after_val_iter(self, runner: Any, batch_idx: int, **_: Any) -> None:
        """Leave if a process was asked to: a validation may take an hour."""
        # A strategy's runner cannot be told which iteration its checkpoint is of.
        if self._checkpoints is None or batch_idx >= self._common or hasattr(runner, "strategy"):
            return
        if number := self._agreed(self._request.number):
            for hook in runner.hooks:
                if isinstance(hook, EMAHook):
                    hook.after_val_epoch(runner)  # the trained weights instead of the averaged
            self._leave(runner, number, (runner.epoch, runner.iter))

    def after_train(self, runner: Any) -> None:
        """Let signals do what they did."""
        self.close()

    def close(self) -> None:
        """Let signals do what they did; a second call does nothing."""
        self._request.stop()

    def _agreed(self, number: int) -> int:
        """The highest ``number`` of all processes."""
        if self._group is None:
            return number
        highest = torch.tensor(number)
        distributed.all_reduce(highest, distributed.ReduceOp.MAX, self._group)
        return int(highest)

    def _leave(self, runner: Any, number: int, position: tuple[int, int]) -> None:
        assert self._checkpoints is not None
        stopped = f"stopped by {signal.Signals(number).name} after iteration {position[1]}"
        if self._checkpoints.saved_at == position:
            path = self._checkpoints.last_ckpt
        else:
            path = self._checkpoints.save_now(runner, *position)
        self.close()
        if path is None:
            raise OSError(
                f"{stopped}, but its checkpoint could not be written (the log has the reason); "
                f"the newest is {self._checkpoints.last_ckpt}"
            )
        runner.logger.warning(f"{stopped}: {path} is whole; start again with --resume")
        raise StoppedBySignal(STATUS)


def _start_worker(start: Callable[[int], None] | None, request: StopRequest, number: int) -> None:
    if start is not None:
        start(number)
    request.renew()
