"""What else a checkpoint needs for a training to go on as if it had never been broken off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapperDict

from mmconvnext.loops import generators
from mmconvnext.registry import HOOKS, register_everywhere

KEY = "exact_state"  # of a checkpoint


@register_everywhere(HOOKS)
class ExactStateHook(Hook):
    """Saves and restores, beside what mmengine does: the generators of every process, the
    sampler's seed, gradients that wait for more batches, and which validation was finished.

    With this package's loops, and on a CPU, a resumed training then ends with the weights of one
    that was never broken off, bit for bit. It needs the same number of processes; where that has
    changed, the log says so and the training goes on with generators of its own.

    Several processes have to be asked together: ``WholeCheckpointHook`` does, through
    :meth:`gather_for_checkpoint`. mmengine's own checkpoint hook saves the first one's alone.
    """

    priority = "VERY_HIGH"  # restores before others draw; notes validations before they are saved

    def __init__(self) -> None:
        self._loaded: Mapping[str, Any] | None = None
        self._pending: Mapping[str, Any] | None = None  # states to begin the next iteration with
        self._gathered: tuple[list[Any], dict[str, torch.Tensor]] | None = None
        self._before_validation: Mapping[str, Any] | None = None

    @property
    def _states(self) -> Mapping[str, Any]:
        """What training goes on with: what a validation draws is not missing after it."""
        return self._before_validation or generators.states()

    def gather_for_checkpoint(self, runner: Any) -> None:
        """In every process, before the first one saves."""
        if get_world_size() > 1:
            gradients = _waiting_gradients(runner)
            self._gathered = (
                all_gather_object(self._states),
                {name: _over_processes(gradient) for name, gradient in gradients.items()},
            )

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Add the state, unless it is a checkpoint of weights alone."""
        states, gradients = self._gathered or ([self._states], _waiting_gradients(runner))
        self._gathered = None
        if "optimizer" not in checkpoint:
            return
        checkpoint[KEY] = {
            "iter": checkpoint["meta"]["iter"],
            "generators": states,
            "processes": get_world_size(),
            "sampler_seed": getattr(_sampler(runner), "seed", None),
            "validated": getattr(runner.train_loop, "validated", None),
            "within": _within(runner.train_loop, checkpoint["meta"]),
            "epoch_length": len(runner.train_dataloader),
            "gradients": {name: gradient.cpu() for name, gradient in gradients.items()},
        }

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Take the state out."""
        self._loaded = checkpoint.get(KEY)

    def before_train(self, runner: Any) -> None:
        """Put back what the loop needs before its first batch."""
        loaded, self._loaded = self._loaded, None
        if runner.iter == 0:
            runner.train_loop.validated = -1
            return
        # The state of weights that are only trained further is not this run's.
        if loaded is None or loaded["iter"] != runner.iter:
            runner.logger.warning(
                "the checkpoint has no generator states: training goes on, but not exactly as it "
                "would have without the break"
            )
            return
        runner.train_loop.validated = loaded["validated"]
        if loaded["within"]:
            # With batches of another size: as much of the epoch as was done.
            share = loaded["within"] / loaded["epoch_length"]
            runner.train_loop.within = round(share * len(runner.train_dataloader))
        if loaded["sampler_seed"] is not None:
            _sampler(runner).seed = loaded["sampler_seed"]
        _put_back_gradients(runner, loaded["gradients"])
        found, saved = get_world_size(), loaded["processes"]
        if found == saved == len(loaded["generators"]):
            self._pending = loaded["generators"][get_rank()]
        else:
            runner.logger.warning(
                f"the checkpoint has generator states of {len(loaded['generators'])} of {saved} "
                f"processes, now there are {found}: training goes on with others"
            )

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Before the first iteration after a resume: the generators as they were."""
        if self._pending is not None:
            generators.restore(self._pending)
            self._pending = None

    def before_val(self, runner: Any) -> None:
        """A best checkpoint may be saved before the validation has ended."""
        self._before_validation = generators.states()

    def after_val(self, runner: Any) -> None:
        """From here on states are training's again."""
        self._before_validation = None

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Note the validation that has ended."""
        runner.train_loop.validated = runner.iter


def _within(loop: Any, meta: Mapping[str, Any]) -> int:
    """Batches that are done of the epoch in which the checkpoint goes on; 0 of a loop that counts
    none."""
    if not hasattr(loop, "within") or meta["epoch"] > loop.epoch:  # or at the end of an epoch
        return 0
    done: int = loop.within + meta["iter"] - loop.iter
    return done


def _sampler(runner: Any) -> Any:
    batches = runner.train_dataloader.batch_sampler
    return getattr(batches, "sampler", None)


def _named_parameters(runner: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    yield from model.named_parameters()


def _waiting_gradients(runner: Any) -> dict[str, torch.Tensor]:
    """Gradients added up over batches that have not led to a step yet, by parameter."""
    wrapper = runner.optim_wrapper
    wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    if all(one.should_update() for one in wrappers):
        return {}
    return {n: p.grad for n, p in _named_parameters(runner) if p.grad is not None}


def _over_processes(gradient: torch.Tensor) -> torch.Tensor:
    """The mean over the processes, whole."""
    if _is_divided(gradient):  # each process has a part of the mean
        return gradient.full_tensor()  # type: ignore[attr-defined]
    # Each has added up its own. What counts is their mean, so that each may go on from that.
    all_reduce(gradient, op="mean")
    return gradient


def _is_divided(tensor: torch.Tensor) -> bool:
    """Whether each process has a part of it, as with FSDP."""
    return hasattr(tensor, "full_tensor")


def _put_back_gradients(runner: Any, saved: Mapping[str, torch.Tensor]) -> None:
    if not saved:
        return
    for name, parameter in _named_parameters(runner):
        if name not in saved:
            continue
        gradient = saved[name].to(parameter.device, parameter.dtype)
        if _is_divided(parameter):
            from torch.distributed.tensor import distribute_tensor

            gradient = distribute_tensor(gradient, parameter.device_mesh, parameter.placements)  # type: ignore[attr-defined]
        parameter.grad = gradient
    runner.logger.info("gradients of batches before the break are taken from the checkpoint")
