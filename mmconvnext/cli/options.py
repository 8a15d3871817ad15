"""The options that the commands share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from mmconvnext.cli.errors import OneLineParser

LAUNCHERS = ("none", "pytorch", "slurm", "mpi")


class KeyValueAction(argparse.Action):
    """mmengine's ``KEY=VALUE`` parsing, its failures turned into the parser's one-line errors."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add ``values`` to the options parsed so far."""
        for pair in values or ():
            key, equals, _ = pair.partition("=")
            if not equals or not key:
                parser.error(f"{option_string} takes KEY=VALUE, got {pair!r}")
        from mmengine.config import DictAction  # here, since help shall not wait for PyTorch

        try:
            DictAction(self.option_strings, self.dest)(parser, namespace, values, option_string)
        except AssertionError as error:
            parser.error(f"{option_string}: {error}")
        except RecursionError:  # mmengine's answer to brackets that are closed by others
            parser.error(
                f"{option_string}: values are numbers, words, and lists of them, [a,b] or (a,b); "
                f"a dict is set key by key, KEY.ITS_KEY=VALUE; got {' '.join(values or ())}"
            )


def add_config_options(parser: OneLineParser) -> None:
    """Add what every command has that reads a config: config, overrides, debugging."""
    parser.add_argument(
        "config", metavar="CONFIG", help="config file, or package::path such as mmdet::…"
    )
    add_overrides_option(
        parser,
        'override settings of the config, e.g. model.backbone.drop_path_rate=0.2 key="[a,b]"',
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def add_overrides_option(parser: OneLineParser, what: str) -> None:
    """Add ``--cfg-options``, which does ``what``."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=KeyValueAction,
        default={},
        metavar="KEY=VALUE",
        help=what,
    )


def add_shared_options(parser: OneLineParser) -> None:
    """Add what train and test share: config, overrides, data, device, launcher, debugging."""
    add_config_options(parser)
    parser.add_argument(
        "--work-dir",
        metavar="DIR",
        help="where logs and results go (default: ./work_dirs/CONFIG's name)",
    )
    parser.add_argument(
        "--data-root", metavar="DIR", help="use the data in DIR instead of the config's folder"
    )
    parser.add_argument("--seed", type=natural, help="make the run repeatable")
    parser.add_argument(
        "--on-bad-data",
        choices=("stop", "skip"),
        default="stop",
        help="what to do about pictures and annotations that cannot be used: refuse the data, or "
        "leave those out, name and count them (default: stop)",
    )
    add_device_option(parser)
    parser.add_argument(
        "--launcher", choices=LAUNCHERS, default="none", help="how several processes were started"
    )
    add_weights_options(parser)
    add_plain_option(parser)
    parser.add_argument("--local-rank", "--local_rank", type=int, default=0, help=argparse.SUPPRESS)


def add_device_option(parser: OneLineParser) -> None:
    """Add where to run."""
    parser.add_argument(
        "--device", default="auto", metavar="auto|cpu|cuda[:N]", help="where to run (default: auto)"
    )


def add_weights_options(parser: OneLineParser) -> None:
    """Add which of a checkpoint's weights to take, and whether to trust it."""
    parser.add_argument(
        "--ema",
        action="store_true",
        help="take the averaged weights of the checkpoint (model_ema, state_dict_ema)",
    )
    add_trust_option(parser)


def add_speed_options(parser: OneLineParser) -> None:
    """Add what makes a network that only predicts faster."""
    parser.add_argument(
        "--fuse", action="store_true", help="fold norms and layer scale into the layers beside them"
    )
    parser.add_argument(
        "--compile", action="store_true", help="compile the backbone; needs a C++ compiler"
    )


def add_trust_option(parser: OneLineParser) -> None:
    """Add what every command has that reads a checkpoint."""
    parser.add_argument(
        "--trust-checkpoint",
        action="store_true",
        help="read checkpoints even if they have code in them, which then runs with your rights",
    )


def add_plain_option(parser: OneLineParser) -> None:
    """Add what every command has that shows its progress."""
    parser.add_argument(
        "--plain",
        action="store_true",
        help="no progress bar: the whole log, line by line, as where there is no terminal",
    )


def natural(text: str) -> int:
    """``text`` as an integer ≥ 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}")
    return int(text)


def positive(text: str) -> int:
    """``text`` as an integer ≥ 1."""
    number = natural(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
