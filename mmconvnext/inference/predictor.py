"""From a config and a checkpoint to predictions, in three lines of Python."""

from __future__ import annotations

import copy
import dataclasses
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.runner import autocast
from torch import nn

from mmconvnext.adapt.norms import plain_batch_norm
from mmconvnext.adapt.walking import innermost
from mmconvnext.checkpoints.loading import find_weights
from mmconvnext.checkpoints.reading import read_checkpoint
from mmconvnext.checkpoints.trust import trusting
from mmconvnext.checkpoints.whole_model import check_keys, load_weights
from mmconvnext.compat.without_mmpretrain import use_own_convnext
from mmconvnext.inference.building import build_model
from mmconvnext.inference.compiling import check_compiler, compile_backbones
from mmconvnext.inference.legend import find_legend
from mmconvnext.inference.optimizing import optimize_for_inference
from mmconvnext.inference.pictures import ChannelOrder, PictureLike, PictureReader
from mmconvnext.inference.predictions import (
    Detections,
    Segmentation,
    detections_of,
    segmentation_of,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """A picture that is ready for the network.

    Args:
        pixels: the picture itself as the pipeline's first step loads it: (H, W, 3) BGR, uint8 or
            float32.
        packed: what the config's test pipeline made of it.
    """

    pixels: np.ndarray
    packed: dict[str, Any]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture in pixels."""
        height, width = self.pixels.shape[:2]
        return height, width

    @property
    def rgb(self) -> np.ndarray:
        """The picture as (H, W, 3) uint8 RGB, to be painted on."""
        rgb = np.atleast_3d(self.pixels)[..., 2::-1].clip(0, 255).astype(np.uint8)
        return np.ascontiguousarray(np.broadcast_to(rgb, (*self.size, 3)))


class Predictor:
    """A trained detector or segmentor; ``predictor(picture)`` tells what is in the picture.

    Pictures go through the config's own test pipeline, one by one, so that the results are those of
    the test at batch size 1. Files and bytes are turned as their EXIF data ask; arrays and PIL
    images are taken as they are. It may be called from several threads: reading and preparing
    pictures goes on at the same time, the network does one batch after the other.

    Args:
        config: a config file, ``package::path``, or a config that was read already, which stays as
            it is.
        checkpoint: the trained weights, as :func:`read_checkpoint` takes them.
        device: 'cpu', 'cuda', 'cuda:1'…; None takes what mmengine finds.
        score_threshold: objects with a lower score are left out.
        fuse: fold what can be folded, see :func:`optimize_for_inference`.
        compiled: compile the backbone at the first picture; needs a C++ compiler.
        ema: take the averaged weights of the checkpoint.
        channel_order: of arrays: 'rgb' (PIL's, imageio's) or 'bgr' (OpenCV's).
        trust_checkpoint: read the checkpoint even if it has code in it, which then runs.

    Attributes:
        legend: names and colours of the classes, and where they are from.
        task: 'detection' or 'segmentation'.
        model: mmdet's or mmseg's.

    Raises:
        CheckpointError: the checkpoint cannot be read, or is of another model.
        DataError: nothing says what the classes are.
        CompilerError: ``compiled``, and there is no compiler.
        ValueError: ``fuse`` without a ConvNeXt, a model that neither detects nor segments, a
            pipeline that does not start with a picture's file.
    """

    def __init__(
        self,
        config: str | os.PathLike[str] | Config,
        checkpoint: str | os.PathLike[str],
        *,
        device: str | torch.device | None = None,
        score_threshold: float = 0.3,
        fuse: bool = False,
        compiled: bool = False,
        ema: bool = False,
        channel_order: ChannelOrder = "rgb",
        trust_checkpoint: bool = False,
    ) -> None:
        if channel_order not in ("rgb", "bgr"):
            raise ValueError(f"channel_order: expected 'rgb' or 'bgr', found {channel_order!r}")
        cfg = _read_config(config)
        plain_batch_norm(cfg.get("model"))
        with trusting(trust_checkpoint):
            content = read_checkpoint(os.fspath(checkpoint))
        model = build_model(cfg)
        source = f"checkpoint {checkpoint}"
        weights = find_weights(content, ema=ema, source=source)
        check_keys(load_weights(model, weights, source).keys, model, source)
        self.task = _task_of(model)
        self.legend = find_legend(cfg, content)
        self.score_threshold = score_threshold
        device = torch.device(device or get_device())
        self.model = _made_fast(model.eval().to(device), device, fuse, compiled)
        self._reader = PictureReader(
            test_pipeline(cfg),
            "mmdet" if self.task == "detection" else "mmseg",
            cfg.get("default_scope") or "mmengine",
            channel_order,
        )
        self._half = bool((cfg.get("test_cfg") or {}).get("fp16", False))
        self._lock = threading.Lock()

    def __call__(self, picture: PictureLike) -> Detections | Segmentation:
        """What is in ``picture``: a file or its bytes, a uint8 array (H, W, 3) or (H, W), or a PIL
        image.

        Raises:
            PictureError: the file cannot be read.
            TypeError, ValueError: it is no picture.
        """
        return self.batch([picture])[0]

    def batch(self, pictures: Sequence[PictureLike]) -> list[Detections | Segmentation]:
        """What is in each of ``pictures``; errors as in a single call.

        Those that the pipeline brings to the same size go through the network together. None is
        padded to another's size, so that what is found in one does not depend on the others.
        """
        return self.predict([self.prepare(picture) for picture in pictures])

    def prepare(self, picture: PictureLike) -> Prepared:
        """Read a picture and run the config's test pipeline on it: the part of a call that other
        threads can do meanwhile; errors as in a call."""
        return Prepared(*self._reader.read(picture))

    def predict(self, prepared: Sequence[Prepared]) -> list[Detections | Segmentation]:
        """What is in each of the pictures that :meth:`prepare` gave; each is used once."""
        alike: dict[tuple[int, ...], list[int]] = {}
        for index, picture in enumerate(prepared):
            alike.setdefault(tuple(picture.packed["inputs"].shape), []).append(index)
        samples: dict[int, Any] = {}
        for indices in alike.values():
            batch = pseudo_collate([prepared[index].packed for index in indices])
            with self._lock, torch.no_grad(), autocast(enabled=self._half):
                samples.update(zip(indices, self.model.test_step(batch), strict=True))
        return [
            self._result(samples[index], picture.size) for index, picture in enumerate(prepared)
        ]

    def _result(self, sample: Any, size: tuple[int, int]) -> Detections | Segmentation:
        if self.task == "detection":
            return detections_of(sample, self.legend, size, self.score_threshold)
        return segmentation_of(sample, self.legend)


def _read_config(config: str | os.PathLike[str] | Config) -> Config:
    if isinstance(config, Config):
        return copy.deepcopy(config)
    name = os.fspath(config)
    cfg = Config.fromfile(name if "::" in name else Path(name).expanduser())
    use_own_convnext(cfg)
    return cfg


def test_pipeline(cfg: Config) -> list[dict[str, Any]]:
    """Of the first data set that the config tests on."""
    loader = cfg.get("test_dataloader") or {}
    for dataset in innermost(loader.get("dataset") or {"datasets": ()}):
        return list(dataset.get("pipeline") or ())
    return []


def _task_of(model: nn.Module) -> str:
    # A package that is not loaded by now cannot be the model's.
    if "mmdet" in sys.modules:
        from mmdet.models.detectors import BaseDetector

        if isinstance(model, BaseDetector):
            return "detection"
    if "mmseg" in sys.modules:
        from mmseg.models.segmentors import BaseSegmentor

        if isinstance(model, BaseSegmentor):
            return "segmentation"
    raise ValueError(
        f"model: expected a detector of mmdet or a segmentor of mmseg, found {type(model).__name__}"
    )


def _made_fast(model: nn.Module, device: torch.device, fuse: bool, compiled: bool) -> Any:
    if fuse:
        model = optimize_for_inference(model, inplace=True)
    elif "mmseg" in sys.modules:
        # The same maps, without an array of all classes at the picture's size.
        from mmconvnext.inference.segmentor import LeanEncoderDecoder

        LeanEncoderDecoder.take_over(model)
    if compiled:
        check_compiler(device)
        compile_backbones(model)
    return model.requires_grad_(False)
