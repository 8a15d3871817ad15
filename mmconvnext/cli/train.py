"""``train``: train a detector or segmentor from a config."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmconvnext.cli.backbone import add_backbone_options
from mmconvnext.cli.errors import OneLineParser, UsageError, report_errors
from mmconvnext.cli.options import add_shared_options, positive

if TYPE_CHECKING:
    from mmengine.config import Config


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status (0 done, 1 failed, 2 bad input, 75 stopped by a
    signal with a checkpoint to resume from, 130 interrupted)."""
    argv = sys.argv[1:] if argv is None else argv
    return report_errors(
        "mmconvnext train", lambda: train(parser().parse_args(argv), argv), debug="--debug" in argv
    )


def parser() -> OneLineParser:
    """The command's options."""
    options = OneLineParser(prog="mmconvnext train", description="Train a detector or segmentor.")
    add_shared_options(options)
    add_backbone_options(options, required=False)
    options.add_argument("--amp", action="store_true", help="train in mixed precision (GPU)")
    options.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="PATH|auto",
        help="go on from a checkpoint; auto (or nothing): the newest that is whole in the work "
        "directory, from the beginning if there is none",
    )
    options.add_argument(
        "--auto-scale-lr", action="store_true", help="scale the rate with the real batch size"
    )
    options.add_argument(
        "--fsdp",
        action="store_true",
        help="divide weights, gradients and optimizer among the processes (FSDP)",
    )
    options.add_argument(
        "--max-iters",
        type=positive,
        metavar="N",
        help="train N iterations, whatever the config says",
    )
    options.add_argument(
        "--on-nonfinite",
        choices=("stop", "skip", "lower"),
        help="when a loss or gradient is not finite: stop (default), skip the batch, or skip it "
        "and lower the rate",
    )
    return options


def train(args: argparse.Namespace, argv: Sequence[str]) -> None:
    """Check everything that can be checked, then train; ``argv``, of which ``args`` are, is kept in
    the log.

    Raises:
        UsageError, DataError, CheckpointError: bad input; nothing was written.
    """
    from mmconvnext.checkpoints.for_mmengine import averaged
    from mmconvnext.checkpoints.trust import trusting

    with trusting(args.trust_checkpoint), averaged(args.ema):
        _train(args, argv)


def _train(args: argparse.Namespace, argv: Sequence[str]) -> None:
    from mmconvnext.cli import datasets, device, lasting, preflight, resuming, running
    from mmconvnext.visualization.report.logs import COMMAND

    place = device.pick_device(args.device, args.launcher)
    cfg, adapted = _config(args)
    changed = device.fit_to_device(cfg, place)
    skip = args.on_bad_data == "skip"
    data = preflight.check_training(cfg, ema=args.ema, skip=skip, plain=args.plain)
    lasting.make_lasting(cfg, args.on_nonfinite, skip_bad_data=skip)
    left_out = data.write()
    for line in [*adapted, *left_out, changed, resuming.restarts_that_hang()]:
        running.tell(line)
    with device.running_on(place, cfg):
        runner = running.build_runner(cfg, args.plain)
        resuming.check_agreement(cfg)
        runner.logger.info(COMMAND + shlex.join(["mmconvnext", "train", *argv]))
        with running.leaving_terminal_sane(runner), datasets.telling_of_emptied_data():
            runner.train()
    for line in left_out:
        running.tell(line)
    running.tell(f"done: {Path(cfg.work_dir).resolve()}")


def _config(args: argparse.Namespace) -> tuple[Config, list[str]]:
    """The config with the options in it, and what was adapted in lines."""
    from mmconvnext.cli import overrides, resuming, sharding
    from mmconvnext.cli.backbone import load_with_backbone
    from mmconvnext.cli.schedule import set_max_iters

    cfg, adapted = load_with_backbone(args)
    overrides.apply_shared(cfg, args)
    if args.fsdp:
        sharding.use_fsdp(cfg)
    if args.amp:
        overrides.use_amp(cfg)
    if args.auto_scale_lr:
        overrides.use_auto_scale_lr(cfg)
    if args.max_iters:
        set_max_iters(cfg, args.max_iters)
    if args.ema and (args.resume or cfg.get("resume") or not cfg.get("load_from")):
        raise UsageError("--ema is for the weights to start from: set load_from, without --resume")
    resuming.settle_resuming(cfg, args.resume)
    return cfg, adapted
