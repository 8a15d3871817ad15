"""``benchmark networks``: what the paper compares with, inside the same detector and segmentor."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmconvnext.cli.errors import OneLineParser, UsageError, near
from mmconvnext.cli.files import finished_file
from mmconvnext.cli.options import positive

if TYPE_CHECKING:
    from mmconvnext.benchmarks.networks import NetworkRow

SUITE = "networks"
METHODS = ("mask-rcnn", "cascade", "upernet")
PICTURES = (".png", ".svg", ".pdf")
# What its own options are without it.
UNASKED = {"methods": METHODS, "networks": None, "size": 320, "no_time": False}
_NOT_ITS = ("json", "go_on", "authors", "data")


def add_network_options(parser: OneLineParser) -> None:
    """Add what only this suite takes."""
    group = parser.add_argument_group(f"for the suite {SUITE}, which runs by itself")
    group.add_argument(
        "--methods",
        nargs="+",
        choices=METHODS,
        default=UNASKED["methods"],
        help="detectors and segmentors to put networks into (default: all)",
    )
    group.add_argument(
        "--networks",
        nargs="+",
        metavar="NETWORK",
        help="resnet50, swin-t, convnext-b, … or timm:NAME for any that timm has "
        "(default: those of the papers up to the size B, and four of timm's)",
    )
    group.add_argument(
        "--size",
        type=positive,
        default=UNASKED["size"],
        metavar="PIXELS",
        help="height and width of the picture that is timed (default: 320)",
    )
    group.add_argument(
        "--no-time",
        action="store_true",
        help="count parameters, operations and memory, and time nothing: no weights are allocated",
    )
    group.add_argument("--csv", type=Path, metavar="FILE.csv", help="write all rows there")
    group.add_argument(
        "--picture",
        type=Path,
        metavar="FILE.png",
        help="draw accuracy over operations there (also .svg, .pdf)",
    )


def check_network_options(args: argparse.Namespace, parser: OneLineParser) -> None:
    """Refuse what would be ignored, or fail at the end.

    Raises:
        UsageError: options do not go together, or a file cannot be written.
    """
    if SUITE not in args.suites:
        for name in ("csv", "picture", *UNASKED):
            if getattr(args, name) != UNASKED.get(name):
                parser.error(f"--{name.replace('_', '-')} is for the suite {SUITE}")
        return
    if args.suites != [SUITE]:
        parser.error(f"{SUITE} runs by itself, found {' '.join(args.suites)}")
    for name in _NOT_ITS:
        if getattr(args, name):
            parser.error(f"{SUITE} takes no --{name.replace('_', '-')}; it writes --csv FILE.csv")
    if args.picture is not None and args.picture.suffix not in PICTURES:
        parser.error(f"--picture {args.picture}: expected a name in {', '.join(PICTURES)}")
    for path in (args.csv, args.picture, args.page):
        if path is not None:
            _check_writable(path)


def run_networks(args: argparse.Namespace, argv: Sequence[str]) -> None:
    """Count, time, print, write.

    Raises:
        UsageError: there is no such network.
    """
    from rich.console import Console

    from mmconvnext.benchmarks.network_models import DEFAULT
    from mmconvnext.benchmarks.network_models import METHODS as NAMES
    from mmconvnext.benchmarks.network_tables import verdict
    from mmconvnext.benchmarks.networks import measure

    words = list(dict.fromkeys(args.networks or DEFAULT))
    _check_networks(words)
    methods = [NAMES[method] for method in dict.fromkeys(args.methods)]
    with Console(stderr=True).status("") as status:
        rows = measure(methods, words, args.rounds, args.size, not args.no_time, status.update)
    for method in methods:
        _print_table(method, [row for row in rows if row.method == method])
    Console().print(verdict(rows), highlight=False)
    _write(args, argv, rows)


def _check_networks(words: Sequence[str]) -> None:
    from mmconvnext.benchmarks.network_models import NETWORKS, network

    for word in words:
        try:
            network(word)
        except KeyError as error:
            hint = near(word, {name: name for name in NETWORKS})
            raise UsageError(
                f"--networks {word}: expected timm:NAME or one of {', '.join(NETWORKS)}{hint}"
            ) from error


def _check_writable(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path}: its folder cannot be made: {error.strerror}") from error
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        found = "a folder" if path.is_dir() else "a folder that cannot be written to"
        raise UsageError(f"{path}: expected a file to write, found {found}")


def _print_table(method: str, rows: Sequence[NetworkRow]) -> None:
    from rich.console import Console
    from rich.table import Table

    from mmconvnext.benchmarks.network_tables import table

    headings, *lines = table(rows)
    shown = Table(*headings, title=method)
    shown.columns[0].overflow = "fold"
    shown.columns[0].min_width = len("ConvNeXt-T")
    for column in shown.columns[1:]:
        column.justify = "left" if column.header in ("pretraining", "") else "right"
    for line in lines:
        shown.add_row(*line)
    Console().print(shown)


def _write(args: argparse.Namespace, argv: Sequence[str], rows: Sequence[NetworkRow]) -> None:
    from mmconvnext.benchmarks.network_tables import as_csv, page
    from mmconvnext.benchmarks.record import Record

    if args.csv is not None:
        with finished_file(args.csv) as file:
            file.write_text(as_csv(rows), encoding="utf-8")
    if args.page is not None:
        here = Record.here(args.rounds)
        versions = (f"{name} {number}" for name, number in here.versions.items())
        machine = f"{here.machine}; {', '.join(versions)}"
        command = shlex.join(["mmconvnext", "benchmark", *argv])
        drawn = os.path.relpath(args.picture, args.page.parent) if args.picture else ""
        text = "\n".join(page(rows, command, machine, args.rounds, args.size, drawn)) + "\n"
        with finished_file(args.page) as file:
            file.write_text(text, encoding="utf-8")
    if args.picture is not None:
        _draw(args.picture, rows)


def _draw(path: Path, rows: Sequence[NetworkRow]) -> None:
    from mmconvnext.benchmarks.network_models import METHODS as NAMES
    from mmconvnext.benchmarks.network_tables import bubbles
    from mmconvnext.benchmarks.published import UPERNET
    from mmconvnext.visualization.bubbles import plot_bubbles

    panels = {method: bubbles(rows, method) for method in NAMES.values()}
    if not any(panels.values()):
        raise UsageError(f"--picture {path}: none of the networks has a published accuracy to draw")
    accuracies = dict.fromkeys(panels, "box AP on COCO") | {UPERNET: "mIoU on ADE20K, multi-scale"}
    with finished_file(path) as file:
        plot_bubbles(panels, accuracies, file, ring="pretrained on ImageNet-22K")
