"""``adapt``: write a config with a ConvNeXt in place of its backbone."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmconvnext.cli.backbone import add_backbone_options
from mmconvnext.cli.errors import OneLineParser, UsageError, report_errors
from mmconvnext.cli.files import finished_file
from mmconvnext.cli.options import add_config_options


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status (0 done, 1 failed, 2 bad input, 130 interrupted)."""
    argv = sys.argv[1:] if argv is None else argv
    return report_errors(
        "mmconvnext adapt", lambda: adapt(parser().parse_args(argv)), debug="--debug" in argv
    )


def parser() -> OneLineParser:
    """The command's options."""
    options = OneLineParser(
        prog="mmconvnext adapt",
        description="Put a ConvNeXt in place of a config's backbone, tell what changes, and write "
        "the config, which mmdet's and mmsegmentation's own tools read as well.",
    )
    add_config_options(options)
    add_backbone_options(options, required=True)
    options.add_argument("-o", "--out", type=Path, metavar="FILE.py", help="write the config there")
    options.add_argument("--force", action="store_true", help="replace FILE.py if it exists")
    return options


def adapt(args: argparse.Namespace) -> None:
    """Adapt, tell, write.

    Raises:
        UsageError, AdaptError: bad input, or what in the config stands in the way; nothing was
            written.
    """
    if args.out is not None:
        _check_target(args.out, args.force)
    from mmconvnext.cli.backbone import load_with_backbone

    cfg, changes = load_with_backbone(args)
    for change in changes:
        print(change)
    if args.out is not None:
        with finished_file(args.out) as unfinished:
            cfg.dump(unfinished)
        print(f"written: {args.out}")


def _check_target(out: Path, force: bool) -> None:
    if out.suffix != ".py":
        raise UsageError(f"--out {out}: a config is a .py file")
    if out.is_dir():
        raise UsageError(f"--out {out}: is a folder, a file is needed")
    if out.exists() and not force:
        raise UsageError(f"--out {out} exists; --force replaces it")
