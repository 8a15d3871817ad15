"""Does a config's model train and predict? One step of each, on made-up pictures, on the CPU."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope

from mmconvnext.evaluation.made_up_inputs import picture_size, prediction_data, training_data
from mmconvnext.evaluation.offline import model_for_trial


class TrialError(RuntimeError):
    """A model ran, but did not do what it should; the message is one line."""


def try_model(cfg: Config, size: int = 128) -> None:
    """Build ``cfg``'s model with random weights, compute its loss and gradients for a batch of
    made-up pictures, then predict.

    Nothing is downloaded: pretrained weights are left out, a language model is a made-up tiny one.
    ``cfg`` stays as it is, and so do the random state and mmengine's default scope.

    Args:
        cfg: a config of mmdet or mmseg.
        size: height and width of the pictures, in pixels; more is taken for a model that has more
            queries than such a picture has places.

    Raises:
        TrialError: a loss is not finite, or no gradient reaches a backbone.
        Exception: whatever the model's own code raises.
    """
    scope = cfg.get("default_scope") or "mmengine"
    with (
        DefaultScope.overwrite_default_scope(scope),
        torch.random.fork_rng(devices=[]),
        _in_silence(),
    ):
        torch.manual_seed(0)
        size = picture_size(cfg, size)
        model = _build(cfg, size)
        _train(model, training_data(cfg, model, size))
        _predict(model, prediction_data(cfg, model, size))


@contextmanager
def _in_silence() -> Iterator[None]:
    """Keep back what models tell while they are built and run: a line a parameter, for one."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _build(cfg: Config, size: int) -> BaseModel:
    with model_for_trial(cfg, size) as settings:
        model: BaseModel = MODELS.build(settings)
    # Some parameters have no value before this.
    model.init_weights()
    return model


def _train(model: BaseModel, data: dict[str, Any]) -> None:
    model.train()
    hub = MessageHub.get_current_instance()
    for name in ("epoch", "iter"):  # some heads ask how far the training is
        if hub.get_info(name) is None:
            hub.update_info(name, 0)
    losses = _losses(model, model.data_preprocessor(data, training=True))
    total, logged = model.parse_losses(losses)
    for name, value in logged.items():
        if not torch.isfinite(torch.as_tensor(value)).all():
            raise TrialError(f"{name} is {float(value)}")
    if not total.requires_grad:
        raise TrialError(f"no loss of {', '.join(logged)} depends on the weights")
    total.backward()
    for name, parameter in model.named_parameters():
        if "backbone" in name.split(".") and parameter.grad is not None and parameter.grad.any():
            return
    raise TrialError(f"no gradient of {', '.join(logged)} reaches a backbone")


def _losses(model: BaseModel, batch: dict[str, Any]) -> dict[str, Any]:
    if _trains_apart(model):
        frames = [sample[0] for sample in batch["data_samples"]]
        losses: dict[str, Any] = model.detector.loss(batch["inputs"][:, 0], frames)
        return losses
    losses = model(**batch, mode="loss")
    return losses


def _trains_apart(model: BaseModel) -> bool:
    """Whether only the model's detector is trained (SORT and its like have no loss)."""
    if not hasattr(model, "detector"):
        return False
    from mmdet.models.mot import DeepSORT

    return isinstance(model, DeepSORT)


def _predict(model: BaseModel, data: dict[str, Any]) -> None:
    model.eval()
    _keep_boxes_inside(model)
    with torch.no_grad():
        model(**model.data_preprocessor(data, training=False), mode="predict")


def _keep_boxes_inside(model: BaseModel) -> None:
    """Let heads that do not clip their boxes leave them where the proposals are: random weights
    shift them out of the picture, where no mask can be pasted (QueryInst)."""
    for head in model.modules():
        clips = getattr(getattr(head, "bbox_coder", None), "clip_border", True)
        if not clips and hasattr(head, "fc_reg"):
            for parameter in head.fc_reg.parameters():
                torch.nn.init.zeros_(parameter)
