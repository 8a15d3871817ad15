"""The ``mmconvnext`` console command: finds the sub-command and hands over to its module."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from mmconvnext.cli.errors import OneLineParser, UsageError, near, report_errors
from mmconvnext.version import __version__

TRAINING = "train and test"
LOOKING = "look"
CONFIGS = "configs and weights"
DATA = "data"
SURROUNDINGS = "surroundings"

# name: (module with `main(argv) -> int` and `parser()`, what it does, heading it is listed under)
COMMANDS = {
    "train": ("mmconvnext.cli.train", "train a detector or segmentor", TRAINING),
    "test": ("mmconvnext.cli.test", "evaluate a checkpoint", TRAINING),
    "demo": ("mmconvnext.cli.demo", "train and test on made-up pictures", TRAINING),
    "analyze": ("mmconvnext.cli.analyze", "count parameters and operations", LOOKING),
    "memory": ("mmconvnext.cli.memory", "which batch fits which GPU", LOOKING),
    "lr": ("mmconvnext.cli.lr", "the learning rate of each layer over the schedule", LOOKING),
    "infer": ("mmconvnext.cli.infer", "what a trained model finds in pictures", LOOKING),
    "predict-many": (
        "mmconvnext.cli.predict_many",
        "the same for very many pictures, as Parquet files",
        LOOKING,
    ),
    "road": (
        "mmconvnext.cli.road",
        "train the networks between ResNet and ConvNeXt on one's data",
        LOOKING,
    ),
    "report": ("mmconvnext.cli.report", "one HTML page on training runs", LOOKING),
    "replay": ("mmconvnext.cli.replay", "a batch whose loss was not finite, once more", LOOKING),
    "recipes": ("mmconvnext.cli.recipes", "list the recipes and their figures", CONFIGS),
    "adapt": ("mmconvnext.cli.adapt", "put a ConvNeXt into any config of mmdet or mmseg", CONFIGS),
    "convert-checkpoint": (
        "mmconvnext.cli.convert_checkpoint",
        "weights from and to other names",
        CONFIGS,
    ),
    "export": (
        "mmconvnext.cli.export",
        "a trained model for ONNX Runtime and others",
        CONFIGS,
    ),
    "prepare-data": (
        "mmconvnext.cli.prepare_data",
        "check COCO or ADE20K, get what is missing",
        DATA,
    ),
    "browse-data": (
        "mmconvnext.cli.browse_data",
        "training pictures as the network sees them",
        DATA,
    ),
    "doctor": ("mmconvnext.cli.doctor", "check the installation, name what mends it", SURROUNDINGS),
    "coverage": (
        "mmconvnext.cli.coverage",
        "try the configs that mmdet and mmseg ship",
        SURROUNDINGS,
    ),
    "benchmark": ("mmconvnext.cli.benchmark", "time and memory beside the peers", SURROUNDINGS),
    "parity": (
        "mmconvnext.cli.parity",
        "train beside mmdet's and mmseg's own ConvNeXt configs",
        SURROUNDINGS,
    ),
    "completion": (
        "mmconvnext.cli.completion",
        "make the shell complete all of this",
        SURROUNDINGS,
    ),
}


def main(argv: list[str] | None = None) -> int:
    """Run ``mmconvnext COMMAND …``, or print the help where there is nothing more; returns the exit
    status (0 done, 1 failed, 2 bad input, 130 interrupted)."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in COMMANDS:
        command: int = import_module(COMMANDS[argv[0]][0]).main(argv[1:])
        return command
    return report_errors("mmconvnext", lambda: _explain(argv), debug=False)


def _explain(argv: list[str]) -> None:
    parser = OneLineParser(
        prog="mmconvnext",
        description="ConvNeXt for every OpenMMLab detector and segmentor.",
        epilog=f"{_listing()}\n\n`mmconvnext COMMAND -h` describes a command's options.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", nargs="?", metavar="COMMAND")
    parser.add_argument("--version", action="version", version=f"mmconvnext {__version__}")
    wrong = parser.parse_known_args(argv)[0].command
    if wrong is not None:
        begun = [name for name in COMMANDS if name.startswith(wrong)]
        names = {wrong: ", ".join(begun)} if begun else {name: name for name in COMMANDS}
        hint = near(wrong, names)
        raise UsageError(f"no command {wrong!r}{hint} (`mmconvnext -h` lists the commands)")
    parser.parse_args(argv)  # says which option is unknown
    parser.print_help()


def _listing() -> str:
    """The commands, under their headings, in the order of the table."""
    width = max(map(len, COMMANDS))
    groups: dict[str, list[str]] = {}
    for name, (_, what, group) in COMMANDS.items():
        groups.setdefault(group, []).append(f"  {name:<{width}}  {what}")
    return "\n\n".join("\n".join([f"{group}:", *lines]) for group, lines in groups.items())
