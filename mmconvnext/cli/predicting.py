"""What infer, predict-many and export share: a predictor's options, and what results depend on."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmconvnext.cli.errors import OneLineParser, UsageError
from mmconvnext.cli.options import (
    add_device_option,
    add_speed_options,
    add_weights_options,
    positive,
)

if TYPE_CHECKING:
    from mmengine.config import Config

    from mmconvnext.inference.predictor import Predictor


@contextmanager
def without_config_warnings() -> Iterator[None]:
    """Inside, mmengine, mmcv, mmdet and mmseg do not say what only those who write configs need."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"mm(cv|det|engine|seg)\b")
        yield


def add_predicting_options(options: OneLineParser) -> None:
    """Add threshold, batch size, device, and what the network is made of."""
    options.add_argument(
        "--score-threshold",
        type=_fraction,
        default=0.3,
        metavar="X",
        help="leave out objects below this score, in files and pictures (default: %(default)s)",
    )
    options.add_argument(
        "--batch-size",
        type=positive,
        default=1,
        metavar="N",
        help="pictures that go through the network together, if of one size (default: 1)",
    )
    add_device_option(options)
    add_speed_options(options)
    add_weights_options(options)


def predictor_options(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments of :class:`Predictor`, but for config, checkpoint and device."""
    return {
        "score_threshold": args.score_threshold,
        "fuse": args.fuse,
        "compiled": args.compile,
        "ema": args.ema,
        "channel_order": "bgr",
        "trust_checkpoint": args.trust_checkpoint,
    }


def build_predictor(args: argparse.Namespace, cfg: Config, device: str) -> Predictor:
    """The predictor that ``args`` ask for.

    Raises:
        UsageError: ``--compile``, and there is no compiler.
        CheckpointError, DataError: as Predictor.
    """
    from mmconvnext import Predictor
    from mmconvnext.inference import CompilerError

    try:
        return Predictor(cfg, args.checkpoint, device=device, **predictor_options(args))
    except CompilerError as error:
        raise UsageError(f"--compile: {error}") from error


def predicting_settings(args: argparse.Namespace, digest: str) -> dict[str, Any]:
    """What predictions depend on, to be compared before a run goes on; ``digest``: the config's."""
    file = Path(args.checkpoint).expanduser()
    state = [file.stat().st_size, file.stat().st_mtime_ns] if file.is_file() else []
    return {
        "options": {key: repr(value) for key, value in args.cfg_options.items()},
        "config content (SHA-256)": digest[:16],
        "checkpoint": [str(args.checkpoint), *state],
        "ema": args.ema,
        "fuse": args.fuse,
        "score threshold": args.score_threshold,
    }


def _fraction(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, not {text!r}")
    return number
