"""Which module made the first number that is not finite: a training step looked at from inside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mmconvnext.hooks.finite_numbers import here

OUTPUT = "output"
OUTPUT_GRADIENT = "gradient of the output"
INPUT_GRADIENT = "gradient of the input"
PARAMETER_GRADIENT = "gradient"


@dataclass(frozen=True)
class Seen:
    """Numbers that came by.

    Attributes:
        place: the module's name in the model, the parameter's if it is a parameter's gradient;
            empty for the model itself.
        kind: the module's class.
        what: one of this module's constants.
        low, high: the least and the greatest of the finite values; NaN where there is none.
        finite: their share; 1 where there are no values.
        tensor: equal for what was seen of the same tensor.
    """

    place: str
    kind: str
    what: str
    low: float
    high: float
    finite: float
    tensor: int = 0

    def __str__(self) -> str:
        name = f"{self.place or 'the model'} ({self.kind})"
        share = f"{100 * (1 - self.finite):.3g} % of its values"
        if self.what == OUTPUT:
            return f"first non-finite output: {name}, {share}"
        of = {OUTPUT_GRADIENT: "of the output of ", INPUT_GRADIENT: "of the input of "}
        return f"first non-finite gradient: {of.get(self.what, '')}{name}, {share}"


@dataclass
class Trace:
    """What was seen of one training step, in order.

    Attributes:
        forward: outputs of modules, the inner ones before the outer.
        backward: gradients, from the loss downwards.
        losses: the values that the model logs.
        error: that ended it, or None.
    """

    forward: list[Seen] = field(default_factory=list)
    backward: list[Seen] = field(default_factory=list)
    losses: dict[str, float] = field(default_factory=dict)
    error: Exception | None = None

    @property
    def first(self) -> Seen | None:
        """Where a number that is not finite came up first, if one did."""
        return next((seen for seen in self.forward if seen.finite < 1), None) or self._backward()

    @property
    def bad_losses(self) -> dict[str, float]:
        """The losses that are not finite; their sum only if none of its terms is among them."""
        bad = {n: v for n, v in self.losses.items() if not torch.isfinite(torch.tensor(v))}
        return {n: v for n, v in bad.items() if n != "loss"} or bad

    def _backward(self) -> Seen | None:
        number = next((n for n, seen in enumerate(self.backward) if seen.finite < 1), None)
        if number is None:
            return None
        first = self.backward[number]
        sound = {seen.place for seen in self.backward[:number] if seen.what == OUTPUT_GRADIENT}
        # The tensor is the output of one module and the input of others. One of those that got a
        # finite gradient for its own output made this of it; the innermost saw it last.
        for seen in self.backward[number:]:
            if seen.tensor != first.tensor:
                break
            if seen.what == INPUT_GRADIENT and seen.place in sound:
                first = seen
        return first


def trace_step(
    model: nn.Module,
    train_step: Callable[..., Mapping[str, Tensor]],
    batch: Any,
    context: Callable[[nn.Module], AbstractContextManager],
    scale: Callable[[Tensor], Tensor] = lambda loss: loss,
    *,
    backward: bool = True,
) -> Trace:
    """Run a training step without its end: weights stay, gradients are added to.

    Buffers change and random numbers are drawn as in training.

    Args:
        model: whose modules are watched.
        train_step: the model's own, or that of a wrapper around it.
        batch: as the loader gives it.
        context: of the optimizer wrapper: ``optim_context``.
        scale: of the gradient scaler, for mixed precision.
        backward: compute the gradients, if the loss is finite. Several processes have to agree:
            synchronised norms wait for all of them.
    """
    watch = _Watch()
    handles = list(watch.attach(model))
    try:
        logged = train_step(batch, optim_wrapper=_NoStep(context, scale, backward))
        watch.trace.losses = {name: float(value.detach()) for name, value in logged.items()}
    except Exception as error:  # what a network makes of NaN may be an error of any kind
        watch.trace.error = error
    finally:
        for handle in handles:
            handle.remove()
    return watch.trace


class _NoStep:
    """Stands for an optimizer wrapper in ``train_step``: computes gradients, and no more."""

    def __init__(
        self,
        context: Callable[[nn.Module], AbstractContextManager],
        scale: Callable[[Tensor], Tensor],
        wanted: bool,
    ) -> None:
        self.optim_context, self._scale, self._wanted = context, scale, wanted

    def update_params(self, loss: Tensor, *_: Any, **__: Any) -> None:
        self.backward(loss)

    def backward(self, loss: Tensor, **settings: Any) -> None:
        if self._wanted and torch.isfinite(loss).all():
            self._scale(loss).backward(**settings)

    def step(self, **_: Any) -> None:
        """Leave the weights as they are."""

    def zero_grad(self, **_: Any) -> None:
        """Leave the gradients to whoever asked for the trace."""


class _Watch:
    """Hooks that write down what passes.

    Gradients are seen by hooks of tensors: those of modules do not go with what changes a module's
    output in place (``ReLU(inplace=True)``).
    """

    def __init__(self) -> None:
        self.trace = Trace()

    def attach(self, model: nn.Module) -> Iterator[Any]:
        kinds = {}
        for name, module in model.named_modules():
            kinds[name] = type(module).__name__
            yield module.register_forward_pre_hook(partial(self._enter, name), with_kwargs=True)
            yield module.register_forward_hook(partial(self._leave, name))
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                owner = kinds[name.rpartition(".")[0]]
                yield parameter.register_hook(
                    partial(self._back, name, owner, PARAMETER_GRADIENT, id(parameter))
                )

    def _enter(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        self._await(name, module, INPUT_GRADIENT, (args, kwargs))

    def _leave(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        found = list(_floating(output))
        low, high, finite = _figures(found)
        self.trace.forward.append(Seen(name, type(module).__name__, OUTPUT, low, high, finite))
        self._await(name, module, OUTPUT_GRADIENT, found)

    def _await(self, name: str, module: nn.Module, what: str, values: Any) -> None:
        for tensor in _floating(values):
            if tensor.requires_grad:
                seen = partial(self._back, name, type(module).__name__, what, id(tensor))
                tensor.register_hook(seen)

    def _back(self, name: str, kind: str, what: str, tensor: int, gradient: Tensor) -> None:
        low, high, finite = _figures([gradient])
        self.trace.backward.append(Seen(name, kind, what, low, high, finite, tensor))


def _floating(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _floating(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _floating(item)


def _figures(tensors: Iterable[Tensor]) -> tuple[float, float, float]:
    """Least and greatest finite value, and the finite ones' share."""
    lows, highs, finite, total = [], [], 0, 0
    for tensor in tensors:
        values = here(tensor).float()
        kept = values[torch.isfinite(values)]
        finite, total = finite + kept.numel(), total + values.numel()
        if kept.numel():
            lows.append(float(kept.min()))
            highs.append(float(kept.max()))
    nan = float("nan")
    return min(lows, default=nan), max(highs, default=nan), finite / total if total else 1.0
