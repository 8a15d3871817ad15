"""The ``mmconvnext`` console command: finds the sub-command and hands over to its module."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from mmconvnext.cli.errors import OneLineParser, report_errors
from mmconvnext.version import __version__

# name: (module with `main(argv) -> int`, what it does)
COMMANDS = {
    "train": ("mmconvnext.cli.train", "train a detector or segmentor"),
    "test": ("mmconvnext.cli.test", "evaluate a checkpoint"),
    "adapt": ("mmconvnext.cli.adapt", "put a ConvNeXt into any config of mmdet or mmseg"),
    "analyze": ("mmconvnext.cli.analyze", "count parameters and operations"),
    "convert-checkpoint": ("mmconvnext.cli.convert_checkpoint", "weights from and to other names"),
    "coverage": ("mmconvnext.cli.coverage", "try the configs that mmdet and mmseg ship"),
    "report": ("mmconvnext.cli.report", "one HTML page on training runs"),
    "benchmark": ("mmconvnext.cli.benchmark", "time and memory beside the peers"),
    "recipes": ("mmconvnext.cli.recipes", "list the recipes and their figures"),
    "prepare-data": ("mmconvnext.cli.prepare_data", "check COCO or ADE20K, get what is missing"),
    "demo": ("mmconvnext.cli.demo", "train and test on made-up pictures"),
}


def main(argv: list[str] | None = None) -> int:
    """Run ``mmconvnext COMMAND …``; returns the exit status (0 done, 1 failed, 2 bad input, 130
    interrupted)."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in COMMANDS:
        module, _ = COMMANDS[argv[0]]
        command: int = import_module(module).main(argv[1:])
        return command
    return report_errors("mmconvnext", lambda: _parse(argv), debug=False)


def _parse(argv: list[str]) -> None:
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:<{width}}  {what}" for name, (_, what) in COMMANDS.items())
    parser = OneLineParser(
        prog="mmconvnext",
        description="ConvNeXt for every OpenMMLab detector and segmentor.",
        epilog=f"commands:\n{listing}\n\n`mmconvnext COMMAND -h` describes a command's options.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND")
    parser.add_argument("--version", action="version", version=f"mmconvnext {__version__}")
    parser.parse_args(argv)
