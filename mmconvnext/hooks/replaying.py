"""A training step from a replay file, run once more."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import DefaultScope

from mmconvnext.checkpoints.reading import CheckpointError
from mmconvnext.hooks.replay_file import Replay
from mmconvnext.hooks.tracing import Trace, trace_step
from mmconvnext.inference.building import build_model
from mmconvnext.loops import generators


def replay_step(cfg: Config, replay: Replay, device: str) -> Trace:
    """Run the step with its weights, its batch and its random numbers; mixed precision on a GPU
    only, and without the scaler's factor.

    Raises:
        CheckpointError: the weights are not those of ``cfg``'s model, or the batch is of data
            elements that are not known here.
    """
    scope = cfg.get("default_scope") or "mmengine"
    with DefaultScope.overwrite_default_scope(scope):
        model: Any = build_model(cfg).to(device)
        try:
            model.load_state_dict(replay.weights)
            data = replay.data()
        except (RuntimeError, TypeError, ImportError) as error:
            raise CheckpointError(
                f"the replay file does not fit {cfg.filename}: {error}"
            ) from error
        model.train()
        hub = MessageHub.get_current_instance()  # some heads ask how far the training is
        hub.update_info("iter", replay.iteration - 1)
        hub.update_info("epoch", replay.epoch)
        with generators.untouched():
            generators.restore(replay.generators)
            return trace_step(model, model.train_step, data, lambda _: _precision(cfg, device))


def _precision(cfg: Config, device: str) -> AbstractContextManager:
    wrapper = cfg.get("optim_wrapper") or {}
    if wrapper.get("type") != "AmpOptimWrapper" or device == "cpu":
        return nullcontext()
    from mmengine.runner.amp import autocast

    dtype = wrapper.get("dtype")
    context: AbstractContextManager = autocast(
        dtype=getattr(torch, dtype) if isinstance(dtype, str) else dtype
    )
    return context
