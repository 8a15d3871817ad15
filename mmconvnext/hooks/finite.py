"""Losses and gradients that are not finite: found before they reach the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import wraps
from typing import Any

import torch
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mmconvnext.hooks.finite_numbers import (
    anywhere,
    broken_weight,
    is_bad,
    names_of_bad,
    suspicious,
)
from mmconvnext.hooks.finite_report import NonFiniteError, Report, trace_again
from mmconvnext.hooks.step_state import StepState, lowered_rates
from mmconvnext.registry import HOOKS, register_everywhere

ACTIONS = ("stop", "skip", "lower")
KEY = "nonfinite"  # of the message hub
_SCALER_MAY_REFUSE = 20  # steps in a row: from the usual first scale, 65536, down to 1/16


class _NotFiniteError(Exception):
    """Leads out of a training step before the optimizer's; it holds no tensors.

    Args:
        what: is not finite.
        in_loss: the loss of at least one process is, not gradients alone.
        final: it cannot be helped by leaving the batch out.
    """

    def __init__(self, what: str, *, in_loss: bool = False, final: bool = False) -> None:
        super().__init__(what)
        self.what, self.in_loss, self.final = what, in_loss, final


@register_everywhere(HOOKS)
class FiniteGuardHook(Hook):
    """Keeps losses and gradients that are not finite from the weights.

    Before each step of the optimizer it looks at the loss and the gradients of the batch: one value
    is fetched from the device an iteration. If one is not finite, in any process, then in all of
    them the gradients, those accumulated before included, are thrown away, buffers (BatchNorm's
    statistics) are put back, and the optimizer makes no step. The batch is run a second time with
    the same random numbers to find where it began: a weight, the batch itself, or the first module.
    The log gets a line with that and the pictures, the work directory a file for
    ``mmconvnext replay``.

    A model whose weights are not finite is not trained, and not saved.

    With mixed precision the gradients are the gradient scaler's business, which leaves such steps
    out by itself; 20 of them in a row stop the training. Several optimizers
    (``OptimWrapperDict``) are not guarded.

    Args:
        action: then ``"stop"`` the training; ``"skip"`` the batch; or ``"lower"`` the rate, after
            skipping the batch.
        max_skipped: more batches than that within ``window`` iterations stop the training all the
            same.
        window: iterations.
        factor: for ``"lower"``: what the rates of all groups are multiplied by, each time. The
            schedule, and the rate in the log, stay as they are: the log has the product of the
            factors as ``lr_factor``.
        max_files: for ``mmconvnext replay``; of a work directory that has so many no more are
            written.

    Raises:
        ValueError: an argument that is out of range.
        NonFiniteError: while training, to stop it.
    """

    priority = "VERY_LOW"

    def __init__(
        self,
        action: str = "stop",
        max_skipped: int = 10,
        window: int = 1000,
        factor: float = 0.5,
        max_files: int = 3,
    ) -> None:
        if action not in ACTIONS:
            raise ValueError(f"action: expected {', '.join(ACTIONS)}, found {action!r}")
        if max_skipped < 1 or window < 1 or not 0 < factor < 1:
            raise ValueError(
                f"expected max_skipped and window of at least 1 and a factor between 0 and 1, "
                f"found {max_skipped}, {window}, {factor}"
            )
        self.action, self.max_skipped, self.window = action, max_skipped, window
        self.factor, self.max_files = factor, max_files
        self._guarding = False
        self._refused = 0  # steps in a row by the gradient scaler

    def before_train(self, runner: Any) -> None:
        """Begin to guard.

        Raises:
            NonFiniteError: a weight is not finite already.
        """
        self._runner, self._wrapper = runner, runner.optim_wrapper
        if not isinstance(self._wrapper, OptimWrapper) or isinstance(
            self._wrapper, OptimWrapperDict
        ):
            runner.logger.warning(
                f"losses that are not finite go unnoticed: {type(self._wrapper).__name__} is not "
                "guarded, only an OptimWrapper is"
            )
            return
        model = runner.model
        self._model = model.module if is_model_wrapper(model) else model
        # Some buffers are made to be infinite; weights are not.
        self._made_so = set(names_of_bad(self._model.named_buffers()))
        if broken := broken_weight(self._model, self._made_so):
            raise NonFiniteError(f"{broken} is not finite before training; use another checkpoint")
        self._state = StepState(self._model)
        known = runner.message_hub.runtime_info.get(KEY) or {}
        self._lr_factor = float(known.get("lr_factor", 1.0))
        self._skipped = [int(number) for number in known.get("skipped", ())]
        self._guard(model)

    def after_train(self, runner: Any) -> None:
        """Give the parts of the runner back as they were, and say how many batches were skipped."""
        if not self._guarding:
            return
        self._undo.close()
        self._guarding = False
        if self._skipped:
            runner.logger.warning(
                f"a loss or gradient was not finite, batches skipped: {len(self._skipped)} "
                f"(in iterations {', '.join(str(number + 1) for number in self._skipped)})"
            )

    def gather_for_checkpoint(self, runner: Any) -> None:
        """In every process, before ``WholeCheckpointHook`` saves: as
        :meth:`before_save_checkpoint`, for which the other processes would wait."""
        self._refuse_to_save(runner, anywhere)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Save no weights that are not finite.

        Raises:
            NonFiniteError: one is.
        """
        self._refuse_to_save(runner, torch.Tensor.tolist)

    def _refuse_to_save(self, runner: Any, agree: Callable[[Tensor], list[int]]) -> None:
        if not self._guarding:
            return
        broken = broken_weight(self._model, self._made_so)
        if any(agree(torch.tensor([bool(broken)]))):
            raise NonFiniteError(
                f"iteration {runner.iter + 1}: {broken or 'a weight in another process'} is not "
                "finite after a step that looked sound: the rate may be too high; nothing was "
                "saved, the checkpoint before is as it was"
            )

    def _guard(self, model: nn.Module) -> None:
        """Put this hook between the loop, the model and the optimizer wrapper."""
        self._train_step: Callable[..., Any] = model.train_step  # type: ignore[assignment]
        self._backward, self._step = self._wrapper.backward, self._wrapper.step
        self._stepped = False
        self._undo = ExitStack()

        self._replace(model, "train_step", self._guarded_train_step)
        self._replace(self._wrapper, "backward", self._guarded_backward)
        self._replace(self._wrapper, "step", self._guarded_step)
        note = self._wrapper.optimizer.register_step_post_hook(
            lambda *_: setattr(self, "_stepped", True)
        )
        self._undo.callback(note.remove)
        self._guarding = True

    def _replace(self, owner: Any, name: str, method: Callable[..., Any]) -> None:
        original = getattr(owner, name)

        # A function, not a method: whoever copies the model shall not copy the runner too. And it
        # looks like the original: schedules ask ``step`` whether it still counts for them.
        @wraps(original)
        def function(*args: Any, **settings: Any) -> Any:
            return method(*args, **settings)

        if name in vars(owner):
            self._undo.callback(setattr, owner, name, original)
        else:
            self._undo.callback(delattr, owner, name)
        setattr(owner, name, function)

    def _guarded_train_step(self, data: Any, optim_wrapper: OptimWrapper) -> Mapping[str, Tensor]:
        """The model's step; of a batch that is skipped, no losses for the log."""
        self._state.keep()
        if self._lr_factor != 1:
            self._runner.message_hub.update_scalar("train/lr_factor", self._lr_factor)
        # What is caught is handled outside, where no frame keeps the step's tensors any more.
        failed: Exception | None = None
        try:
            losses: Mapping[str, Tensor] = self._train_step(data, optim_wrapper=optim_wrapper)
            return losses
        except _NotFiniteError as found:
            trouble = found.with_traceback(None)
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:
            if get_world_size() > 1:  # the others would wait for this process
                raise
            failed = error
            trouble = _NotFiniteError(f"{type(error).__name__} in the step")
        self._handle(data, trouble, failed)
        return {}

    def _guarded_backward(self, loss: Tensor, **settings: Any) -> None:
        # A loss that is not finite goes through it as well: the other processes wait for its
        # gradients.
        self._backward(loss, **settings)
        value = loss.detach()
        bad = [~torch.isfinite(value).all()]
        if not isinstance(self._wrapper, AmpOptimWrapper):
            bad.append(suspicious(self._gradients(), value.device))
        in_loss, *maybe = anywhere(torch.stack(bad))
        if in_loss:
            raise _NotFiniteError(f"loss = {float(value)}", in_loss=True)
        if any(maybe) and any(anywhere(value.new_tensor([any(map(is_bad, self._gradients()))]))):
            raise _NotFiniteError("gradients that are not finite")

    def _guarded_step(self, **settings: Any) -> None:
        self._stepped = False
        scaler = getattr(self._wrapper, "loss_scaler", None)
        scale = None if scaler is None else scaler.get_scale()
        with lowered_rates(self._wrapper.optimizer, self._lr_factor):
            self._step(**settings)
        if scaler is None:
            return
        # A fused optimizer is called even so, and leaves the step out by itself.
        made = self._stepped and scaler.get_scale() >= scale
        self._refused = 0 if made else self._refused + 1
        if self._refused >= _SCALER_MAY_REFUSE:
            what = f"gradients of {self._refused} steps in a row, down to a loss scale of {scale:g}"
            raise _NotFiniteError(what, final=True)

    def _handle(self, data: Any, trouble: _NotFiniteError, failed: Exception | None) -> None:
        """Throw the batch away, find out why, and decide."""
        self._wrapper.zero_grad()
        self._state.put_back()
        broken = broken_weight(self._model, self._made_so)
        # Through DistributedDataParallel the second run would wait for gradients of the others.
        apart = isinstance(self._runner.model, DistributedDataParallel)
        step: Any = self._model.train_step if apart else self._train_step
        trace = trace_again(
            self._runner, self._model, step, data, self._state, backward=not trouble.in_loss
        )
        self._wrapper.zero_grad()
        self._state.put_back()
        if failed is not None and trace.first is None and not broken:
            raise failed
        report = Report(trouble.what, broken, trace, data)
        line, hopeless = report.write(self._runner, self._model, self._state, self.max_files)
        self._decide(line, final=hopeless or trouble.final)

    def _decide(self, line: str, *, final: bool) -> None:
        now = self._runner.iter
        recent = [number for number in self._skipped if number > now - self.window]
        if not final and self.action != "stop" and len(recent) >= self.max_skipped:
            final = True
            line += f"; {len(recent)} batches were skipped within {self.window} iterations: no more"
        if final or self.action == "stop":
            if is_main_process():
                self._runner.logger.error(line)
            error = NonFiniteError(line)
            error.raised_in_all = True
            raise error
        self._skipped.append(now)
        line += "; the batch is skipped"
        if self.action == "lower":
            self._lr_factor *= self.factor
            line += f", the rates are multiplied by {self._lr_factor:g} from now on"
        self._runner.logger.warning(line)
        known = {"lr_factor": self._lr_factor, "skipped": list(self._skipped)}
        self._runner.message_hub.update_info(KEY, known)

    def _gradients(self) -> list[Tensor]:
        return [
            parameter.grad
            for group in self._wrapper.optimizer.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
