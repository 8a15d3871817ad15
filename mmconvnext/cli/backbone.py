"""``--backbone``: a ConvNeXt in place of a config's own backbone."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mmconvnext.cli.errors import OneLineParser

if TYPE_CHECKING:
    from mmengine.config import Config

RANDOM = "none"  # --weights none


def add_backbone_options(parser: OneLineParser, *, required: bool, trains: bool = True) -> None:
    """Add ``--backbone`` and, where the config is for training, what goes with it."""
    parser.add_argument(
        "--backbone",
        required=required,
        metavar="NAME",
        help="put a ConvNeXt in place of the config's backbone: convnext_{atto…xlarge}, "
        "convnextv2_{atto…huge}, dinov3_convnext_{t,s,b,l}",
    )
    if not trains:
        return
    parser.add_argument(
        "--weights",
        metavar=f"FILE|{RANDOM}",
        help="with --backbone: what it starts from (default: its published weights)",
    )
    parser.add_argument(
        "--keep-optimizer",
        action="store_true",
        help="with --backbone: leave the config's optimizer and schedules as they are",
    )


def load_with_backbone(args: argparse.Namespace) -> tuple[Config, list[str]]:
    """The config that the command line means, and what was changed in it: by ``--backbone``, or
    because mmpretrain is not installed.

    Raises:
        UsageError, AdaptError: as :func:`read_config` and :func:`with_convnext`; or options without
            ``--backbone``.
    """
    from mmconvnext.cli.configs import merge_options, read_config
    from mmconvnext.cli.errors import UsageError

    weights, keep = getattr(args, "weights", RANDOM), getattr(args, "keep_optimizer", True)
    trains = hasattr(args, "weights")
    if args.backbone is None and trains and (weights is not None or keep):
        raise UsageError("--weights and --keep-optimizer go with --backbone, which is missing")
    cfg, changes = read_config(args.config)
    if args.backbone is not None:
        from mmconvnext.adapt import with_convnext

        adapted = with_convnext(
            cfg,
            args.backbone,
            weights={None: "auto", RANDOM: None}.get(weights, weights),
            keep_optimizer=keep,
            distributed=True,  # fit_to_device knows how it will run; a written file does not
        )
        cfg = adapted.config
        changes += adapted.changes
    # Options may name what only the adapted config has.
    merge_options(cfg, args.cfg_options)
    return cfg, changes
