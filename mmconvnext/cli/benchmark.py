"""``benchmark``: time and memory beside what a user would otherwise run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmconvnext.cli.errors import OneLineParser, UsageError, report_errors
from mmconvnext.cli.files import finished_file
from mmconvnext.cli.networks import SUITE as NETWORKS
from mmconvnext.cli.networks import add_network_options, check_network_options, run_networks
from mmconvnext.cli.options import positive

if TYPE_CHECKING:
    from mmconvnext.benchmarks.record import Record
    from mmconvnext.benchmarks.timing import Table

# Each with the options it takes besides the number of rounds.
SUITES: dict[str, tuple[str, ...]] = {
    "backbone": ("authors",),
    "memory": ("authors",),
    "head": (),
    "inference": ("authors",),
    "exported": (),
    "pipeline": ("data",),
    "evaluation": (),
    "start": (),
}
WITH = {"inference": ("exported",)}  # what a suite brings along
ENOUGH = 5  # rounds for a median that says something


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status (0 done, 1 failed, 2 bad input, 130 interrupted)."""
    argv = sys.argv[1:] if argv is None else argv
    return report_errors(
        "mmconvnext benchmark",
        lambda: benchmark(parser().parse_args(argv), argv),
        debug="--debug" in argv,
    )


def parser() -> OneLineParser:
    """The command's options."""
    options = OneLineParser(
        prog="mmconvnext benchmark",
        description="Measure time and memory beside stock mmdet, mmseg, timm and others, in one "
        "process, on the same input, taking turns. Leave the machine alone meanwhile.",
    )
    options.add_argument(
        "suites",
        nargs="*",
        metavar="SUITE",
        help=f"{', '.join(SUITES)} (default: all these; inference brings exported along); or "
        f"{NETWORKS}: other networks in the same detectors and segmentor",
    )
    options.add_argument(
        "--rounds",
        type=positive,
        default=ENOUGH,
        metavar="N",
        help=f"how often (default: {ENOUGH}; fewer are for a look, and the page says so)",
    )
    options.add_argument(
        "--authors",
        type=Path,
        metavar="DIR",
        help="a checkout of github.com/facebookresearch/ConvNeXt, for backbone, memory and "
        "inference; its models/convnext.py IS EXECUTED and needs timm",
    )
    options.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="your pictures, in COCO's layout or ADE20K's, for pipeline; the first 100 are taken "
        "(default: made-up ones)",
    )
    options.add_argument("--json", type=Path, metavar="FILE", help="write all measurements there")
    options.add_argument(
        "--go-on",
        action="store_true",
        help="keep the suites that --json's file has from an earlier run, but for those measured "
        "now: the page shows all",
    )
    options.add_argument("--page", type=Path, metavar="FILE.md", help="write the tables there")
    options.add_argument("--debug", action="store_true", help="show the traceback of an error")
    add_network_options(options)
    return options


def benchmark(args: argparse.Namespace, argv: Sequence[str]) -> None:
    """Measure, print, write; what was written stays if a later suite is interrupted.

    Raises:
        UsageError: there is no such suite, none of the authors' code, or no file to go on with.
    """
    from rich.console import Console

    from mmconvnext.benchmarks.record import Record, RecordError, Suite

    _check(args)
    if args.suites == [NETWORKS]:
        run_networks(args, argv)
        return
    record = Record.here(args.rounds)
    if args.go_on:
        try:
            record.go_on(args.json)
        except RecordError as error:
            raise UsageError(f"--go-on: {error}") from error
    for suite in _wanted(args.suites):
        module = import_module(f"mmconvnext.benchmarks.{suite}")
        given = {name: getattr(args, name) for name in SUITES[suite]}
        tables = module.measure(args.rounds, **given)
        record.suites[suite] = Suite(tables, date.today().isoformat())
        for table in tables:
            Console().print(_rich(table))
        _write(args, record)


def _wanted(named: Sequence[str]) -> list[str]:
    """Each suite once, and after it what it brings along."""
    suites = [name for suite in named or SUITES for name in (suite, *WITH.get(suite, ()))]
    return list(dict.fromkeys(suites))


def _write(args: argparse.Namespace, record: Record) -> None:
    if args.json is not None:
        with finished_file(args.json) as file:
            file.write_text(record.as_json(), encoding="utf-8")
    if args.page is not None:
        with finished_file(args.page) as file:
            file.write_text("\n".join(record.page()) + "\n", encoding="utf-8")


def _check(args: argparse.Namespace) -> None:
    for suite in args.suites:
        if suite not in (*SUITES, NETWORKS):
            parser().error(f"unknown suite {suite!r}; one of {', '.join(SUITES)}, {NETWORKS}")
    check_network_options(args, parser())
    if args.go_on and args.json is None:
        parser().error("--go-on needs --json FILE, which it goes on with")
    if args.authors is not None:
        from mmconvnext.benchmarks.peers import CODE

        if not (args.authors / CODE).is_file():
            raise UsageError(
                f"--authors {args.authors}: expected a checkout of facebookresearch/ConvNeXt, "
                f"found no {CODE} in it"
            )


def _rich(table: Table) -> Any:
    from rich.table import Table as RichTable

    from mmconvnext.benchmarks.record import HEADINGS, caption, cells

    shown = RichTable(*HEADINGS, title=table.title, caption=caption(table))
    for row in table.rows:
        shown.add_row(*cells(table, row))
    return shown
