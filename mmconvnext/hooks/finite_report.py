"""What is told of a batch whose loss or gradients were not finite, and the file to run it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from mmconvnext.hooks.finite_numbers import is_bad
from mmconvnext.hooks.plain_data import pictures_in, tensors_in, to_plain
from mmconvnext.hooks.replay_file import Replay, write_replay
from mmconvnext.hooks.step_state import StepState
from mmconvnext.hooks.tracing import Trace, trace_step
from mmconvnext.loops import generators

PATTERN = "nonfinite_iter_*.pth"
_PICTURES_NAMED = 4


class NonFiniteError(RuntimeError):
    """A loss, a gradient or a weight is not finite, and training must not go on; the message is
    one line.

    Attributes:
        raised_in_all: whether every process raises it, with the same message.
    """

    raised_in_all = False


def trace_again(
    runner: Any,
    model: nn.Module,
    train_step: Callable[..., Mapping[str, torch.Tensor]],
    data: Any,
    state: StepState,
    *,
    backward: bool,
) -> Trace:
    """Run a step once more as it was; weights and generators are then as before this call, buffers
    and gradients are not."""
    wrapper = runner.optim_wrapper
    scaler = getattr(wrapper, "loss_scaler", None)
    scale = {} if scaler is None else {"scale": scaler.scale}
    with generators.untouched():
        generators.restore(state.generators)
        return trace_step(
            model, train_step, data, wrapper.optim_context, **scale, backward=backward
        )


@dataclass
class Report:
    """A batch, and what was found of it.

    Attributes:
        what: was not finite in the training itself.
        broken: the weight that is not finite, or nothing.
        trace: of the second run.
        data: the batch as the loader gave it.
    """

    what: str
    broken: str
    trace: Trace
    data: Any

    def write(
        self, runner: Any, model: nn.Module, state: StepState, max_files: int
    ) -> tuple[str, bool]:
        """Write the file for ``mmconvnext replay``, if there are fewer than ``max_files``.

        Returns:
            In all processes, the line on what they all found, and whether one has broken weights.
        """
        here = self.broken or self.trace.first or self.trace.error or self._bad_data
        found = all_gather_object((bool(here), bool(self.broken)))
        told_by = [rank for rank, (there, _) in enumerate(found) if there] or [0]
        line = ""
        if get_rank() in told_by:
            line = self._line()
            line += f"; {self._file(runner, model, state, max_files, line)}"
            line += f"; pictures: {_some(pictures_in(self.data))}"
        lines = all_gather_object(line)
        alone = get_world_size() == 1
        told = [lines[rank] if alone else f"rank {rank}: {lines[rank]}" for rank in told_by]
        return f"iteration {runner.iter + 1}: {'; '.join(told)}", any(bad for _, bad in found)

    def _line(self) -> str:
        bad = self.trace.bad_losses
        parts = [", ".join(f"{name} = {value}" for name, value in bad.items()) or self.what]
        if self.broken:
            parts.append(f"{self.broken} is not finite already")
        if places := self._bad_data:
            parts.append(f"not finite in the batch itself: {_some(places)}")
        if self.trace.first is not None:
            parts.append(str(self.trace.first))
        elif self.trace.error is not None:
            error = self.trace.error
            parts.append(f"a second run of the same batch failed: {type(error).__name__}: {error}")
        elif not self.broken:
            parts.append("a second run of the same batch was finite")
        return "; ".join(parts)

    @cached_property
    def _bad_data(self) -> list[str]:
        """What is not finite in the batch itself."""
        try:
            plain = to_plain(self.data)
        except TypeError:
            return []
        return [path for path, tensor in tensors_in(plain) if is_bad(tensor)]

    def _file(
        self, runner: Any, model: nn.Module, state: StepState, max_files: int, line: str
    ) -> str:
        folder = Path(runner.work_dir)
        if len(list(folder.glob(PATTERN))) >= max_files:
            return f"no file for a replay, {folder} has {max_files}"
        if _is_divided(runner.model):
            return "no file for a replay: the weights are divided among the processes"
        rank = f"_rank_{get_rank()}" if get_world_size() > 1 else ""
        path = folder / f"nonfinite_iter_{runner.iter + 1}{rank}.pth"
        try:
            replay = Replay(
                iteration=runner.iter + 1,
                found=line,
                epoch=runner.epoch,
                weights={name: value.detach().cpu() for name, value in model.state_dict().items()},
                batch=to_plain(self.data),
                generators=state.generators,
            )
            write_replay(path, replay)
        except (OSError, TypeError) as error:
            return f"no file for a replay: {error}"
        return f"to look at it: mmconvnext replay {_config(runner)} {path}"


def _some(names: list[str]) -> str:
    more = len(names) - _PICTURES_NAMED
    return ", ".join(names[:_PICTURES_NAMED]) + (f" and {more} more" if more > 0 else "")


def _is_divided(model: nn.Module) -> bool:
    """Whether no process has all weights; to gather them all would have to take part."""
    if isinstance(model, FullyShardedDataParallel):
        return True
    return any(hasattr(parameter, "to_local") for parameter in model.parameters())


def _config(runner: Any) -> str:
    """The config as the runner has dumped it, with all that the command line changed."""
    name = getattr(runner.cfg, "filename", None)
    dumped = Path(runner.work_dir) / Path(name or "").name
    return str(dumped) if name and dumped.is_file() else "CONFIG"
