"""What mmengine reads checkpoints and loads models by, once mmconvnext is imported."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from mmengine.logging import MMLogger
from torch import Tensor, nn

from mmconvnext.checkpoints.formats import recognise
from mmconvnext.checkpoints.loading import find_weights
from mmconvnext.checkpoints.reading import read_content
from mmconvnext.checkpoints.whole_model import convnexts, load_weights

_averaged: ContextVar[bool] = ContextVar("averaged", default=False)


class _LastRead:
    """The name of the file that mmengine has read last: what it hands on is without it."""

    name = ""
    tensor: weakref.ref[Tensor] | None = None

    def remember(self, name: str, weights: Mapping[str, Tensor]) -> None:
        """``name`` is of the file with ``weights``."""
        first = next(iter(weights.values()), None)
        self.name, self.tensor = name, None if first is None else weakref.ref(first)

    def name_of(self, weights: Mapping[str, Tensor]) -> str:
        """The name of the file with ``weights``, empty if they are of another."""
        first = self.tensor and self.tensor()
        return self.name if any(value is first for value in weights.values()) else ""


_last_read = _LastRead()


@contextmanager
def averaged(on: bool = True) -> Iterator[None]:
    """Inside, mmengine reads the averaged weights of a file where it would read the trained."""
    token = _averaged.set(on)
    try:
        yield
    finally:
        _averaged.reset(token)


def read_for_mmengine(path: str, map_location: Any = "cpu") -> Any:
    """As :func:`read_content`, and a ConvNeXt's weights are where mmengine and mmseg look for them;
    the file's name is remembered for what :func:`load_state_dict` tells."""
    content = read_content(path, map_location)
    if not isinstance(content, dict):
        return content
    content = _named(content)
    weights = find_weights(content, ema=_averaged.get(), source=f"checkpoint {path}")
    bare = "state_dict" not in content
    if _averaged.get() or (bare and (path.endswith(".safetensors") or _has_network(weights))):
        others = {key: value for key, value in content.items() if not torch.is_tensor(value)}
        content = {"meta": {}, **others, "state_dict": weights}
    _last_read.remember(path, weights)
    return content


def _named(content: dict[Any, Any]) -> dict[Any, Any]:
    """Without what has no name among the weights: mmengine takes every key for a text."""
    inner = content.get("state_dict", content)
    if not isinstance(inner, Mapping) or all(isinstance(key, str) for key in inner):
        return content
    named = OrderedDict((key, value) for key, value in inner.items() if isinstance(key, str))
    if hasattr(inner, "_metadata"):  # the layers' versions
        vars(named)["_metadata"] = inner._metadata
    return named if inner is content else {**content, "state_dict": named}


def load_state_dict(module: nn.Module, state_dict: Mapping[str, Any], strict: bool = False) -> bool:
    """Load what mmengine has read into a model with a ConvNeXt, and log a report of it.

    Args:
        module: in a wrapper or not.
        state_dict: as mmengine found it in the file; any layout.
        strict: nothing may be missing or left over.

    Returns:
        False if the model has no ConvNeXt: nothing was done.

    Raises:
        CheckpointError: as :func:`load_checkpoint`.
    """
    from mmengine.model import BaseTTAModel, is_model_wrapper  # here, because it takes long

    wrapped: Any = module
    while is_model_wrapper(wrapped) or isinstance(wrapped, BaseTTAModel):
        wrapped = wrapped.module
    module = wrapped
    if not any(convnexts(module)):
        return False
    weights = find_weights(state_dict)
    name = _last_read.name_of(weights)
    source = f"checkpoint {name}".rstrip()
    fitted = load_weights(module, weights, source)
    if strict:
        fitted.keys.check(source, type(module).__name__)
    report = fitted.report(name or "a checkpoint")
    MMLogger.get_current_instance().info(f"{type(module).__name__}: {report}")
    return True


def _has_network(weights: Mapping[str, Tensor]) -> bool:
    try:
        return recognise(weights) is not None
    except ValueError:  # several
        return True
