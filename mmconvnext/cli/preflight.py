"""What train and test check before anything is written: config, data, checkpoints."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.config import Config

from mmconvnext.cli.bad_data import DataCheck
from mmconvnext.cli.datasets import check_class_folders_agree, check_loader
from mmconvnext.cli.errors import UsageError
from mmconvnext.cli.weights import check_initial_weights, check_weights


def check_training(
    cfg: Config, *, ema: bool = False, skip: bool = False, plain: bool = True
) -> DataCheck:
    """Check a config that is to be trained.

    Args:
        cfg: the config; ``skip`` changes the lists of its data sets that have something bad.
        ema: from the averaged weights of its load_from.
        skip: leave out bad data instead of refusing them.
        plain: draw no bar on a terminal.

    Returns:
        What was found in the data, to be written once the run may write.

    Raises:
        UsageError, DataError, CheckpointError: what is missing or disagrees.
    """
    # Validation stops at a picture that does not decode: better now than after an epoch.
    data = DataCheck(cfg, skip=skip, decode=("val_dataloader",), plain=plain)
    with _without_warnings():
        _check_training(cfg, ema, data)
    return data


def _check_training(cfg: Config, ema: bool, data: DataCheck) -> None:
    _check_parts(cfg, "train", ("model", "train_dataloader", "train_cfg", "optim_wrapper"))
    check_loader(cfg, "train_dataloader", data=data)
    if cfg.get("val_cfg") is not None and cfg.get("val_dataloader") is not None:
        check_loader(cfg, "val_dataloader", "val_evaluator", data)
        check_class_folders_agree(cfg)
    data.settle()
    if cfg.get("load_from"):
        check_weights(cfg, cfg.load_from, whole=bool(cfg.get("resume")), ema=ema)
    check_initial_weights(cfg)


def check_testing(
    cfg: Config, *, ema: bool = False, skip: bool = False, plain: bool = True
) -> DataCheck:
    """Check a config that is to be tested with the weights in its ``load_from``, or with its
    averaged ones (``ema``); the rest as in check_training."""
    _check_parts(cfg, "test", ("model", "test_dataloader", "test_cfg", "test_evaluator"))
    decode = ("test_dataloader",) if skip else ()
    data = DataCheck(cfg, skip=skip, decode=decode, plain=plain)
    with _without_warnings():
        check_loader(cfg, "test_dataloader", "test_evaluator", data)
        data.settle()
        check_weights(cfg, cfg.load_from, whole=True, ema=ema)
    return data


@contextmanager
def _without_warnings() -> Iterator[None]:
    """The run gives the same warnings again; before an error they would hide its one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check_parts(cfg: Config, command: str, parts: tuple[str, ...]) -> None:
    lacking = [part for part in parts if cfg.get(part) is None]
    if lacking:
        raise UsageError(
            f"config {cfg.filename} has no {', '.join(lacking)}: nothing to {command} with"
        )
