"""``benchmark``: time and memory beside what a user would otherwise run."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from datetime import date
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmconvnext.cli.errors import OneLineParser, UsageError, report_errors
from mmconvnext.cli.files import finished_file
from mmconvnext.cli.options import positive

if TYPE_CHECKING:
    from mmconvnext.benchmarks.timing import Row, Table

# Each with the options it takes besides the number of rounds.
SUITES: dict[str, tuple[str, ...]] = {
    "backbone": ("authors",),
    "memory": ("authors",),
    "head": (),
    "inference": ("authors",),
    "pipeline": ("data",),
    "evaluation": (),
    "start": (),
}
ENOUGH = 5  # rounds for a median that says something
_PACKAGES = ("mmconvnext", "torch", "torchvision", "timm", "mmpretrain", "mmdet", "mmsegmentation")
_VERDICTS = {True: "met", False: "MISSED", None: "not measured"}
_HEADINGS = ("candidate", "median", "spread", "ratio", "target", "")


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status (0 done, 1 failed, 2 bad input, 130 interrupted)."""
    argv = sys.argv[1:] if argv is None else argv
    return report_errors(
        "mmconvnext benchmark",
        lambda: benchmark(parser().parse_args(argv)),
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
        "suites", nargs="*", metavar="SUITE", help=f"{', '.join(SUITES)} (default: all)"
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
    options.add_argument("--page", type=Path, metavar="FILE.md", help="write the tables there")
    options.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return options


def benchmark(args: argparse.Namespace) -> None:
    """Measure, print, write; what was written stays if a later suite is interrupted.

    Raises:
        UsageError: there is no such suite, or none of the authors' code.
    """
    from rich.console import Console

    _check(args)
    tables: dict[str, list[Table]] = {}
    began = time.monotonic()
    for suite in args.suites or SUITES:
        module = import_module(f"mmconvnext.benchmarks.{suite}")
        given = {name: getattr(args, name) for name in SUITES[suite]}
        tables[suite] = module.measure(args.rounds, **given)
        for table in tables[suite]:
            Console().print(_rich(table))
        _write(args, tables, (time.monotonic() - began) / 60)


def _write(args: argparse.Namespace, tables: dict[str, list[Table]], minutes: float) -> None:
    if args.json is not None:
        with finished_file(args.json) as file:
            text = json.dumps(_plain(tables, args.rounds, minutes), indent=2)
            file.write_text(text + "\n", encoding="utf-8")
    if args.page is not None:
        with finished_file(args.page) as file:
            text = "\n".join(_page(tables, args.rounds, minutes))
            file.write_text(text + "\n", encoding="utf-8")


def _check(args: argparse.Namespace) -> None:
    for suite in args.suites:
        if suite not in SUITES:
            parser().error(f"unknown suite {suite!r}; one of {', '.join(SUITES)}")
    if args.authors is not None:
        from mmconvnext.benchmarks.peers import CODE

        if not (args.authors / CODE).is_file():
            raise UsageError(
                f"--authors {args.authors}: expected a checkout of facebookresearch/ConvNeXt, "
                f"found no {CODE} in it"
            )


def _cells(table: Table, row: Row) -> tuple[str, ...]:
    target = _target(table, row)
    if not row.values:
        return row.name, "", "", "", target, row.note
    ratio = table.ratio(row)
    told = "" if ratio is None else f"{ratio:.3f}"
    if told and row.against:
        told += f" of {row.against}"
    spread = f"{row.spread:.0%}" if len(row.values) > 1 else ""
    return row.name, f"{row.median:.4g} {table.unit}", spread, told, target, row.note


def _target(table: Table, row: Row) -> str:
    """What the row shall keep, and whether it does by what was measured."""
    if row.limit is not None:
        told = f"{row.limit:g} {table.unit}"
    else:
        target = table.target_of(row)
        if target is None:
            return ""
        told = f"{target:.3g}"
    return f"{told}: {_VERDICTS[table.met(row)]}"


def _caption(table: Table) -> str:
    if table.peer is not None:
        return f"Ratio: to {table.peer.name}."
    return "" if {row.name for row in table.rows} <= {*table.ours} else "No peer ran."


def _rich(table: Table) -> Any:
    from rich.table import Table as RichTable

    shown = RichTable(*_HEADINGS, title=table.title, caption=_caption(table))
    for row in table.rows:
        shown.add_row(*_cells(table, row))
    return shown


def _plain(tables: dict[str, list[Table]], rounds: int, minutes: float) -> dict[str, Any]:
    return {
        "machine": _machine(),
        "versions": _versions(),
        "date": date.today().isoformat(),
        "rounds": rounds,
        "minutes": minutes,
        "suites": {
            suite: [_plain_table(table) for table in found] for suite, found in tables.items()
        },
    }


def _plain_table(table: Table) -> dict[str, Any]:
    return {
        "title": table.title,
        "unit": table.unit,
        "peer": table.peer.name if table.peer else None,
        "rows": {
            row.name: {
                "values": row.values,
                "ratio": table.ratio(row),
                "against": row.against or None,
                "target": table.target_of(row),
                "limit": row.limit,
                "met": table.met(row),
                "note": row.note,
            }
            for row in table.rows
        },
    }


def _page(tables: dict[str, list[Table]], rounds: int, minutes: float) -> Iterator[str]:
    yield "# Performance"
    yield ""
    versions = ", ".join(f"{name} {number}" for name, number in _versions().items())
    today = date.today().isoformat()
    yield f"Written by `mmconvnext benchmark` on {today}: {_machine()}; {versions}."
    yield ""
    if rounds < ENOUGH:
        yield (
            f"This is a look: medians of {rounds}, fewer than the {ENOUGH} measurements that a "
            "median needs to say something."
        )
        yield ""
    yield (
        f"Medians of {rounds} measurements where the title says nothing else, all candidates in "
        "one process, in turns. Spread: largest less smallest over the median. Ratio: to the best "
        "candidate that is not this package's, if the table names no other; below 1 is better. "
        "Target: what the ratio, or with a unit the median, shall not exceed. "
        f"Measuring took {minutes:.0f} minutes."
    )
    for suite, found in tables.items():
        yield from ("", f"## {suite.capitalize()}")
        for table in found:
            yield from ("", f"**{table.title}.** {_caption(table)}".rstrip(), "")
            yield f"| {' | '.join(_HEADINGS)} |"
            yield f"|{' --- |' * len(_HEADINGS)}"
            for row in table.rows:
                yield f"| {' | '.join(_cells(table, row))} |"


def _machine() -> str:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    names = Path("/proc/cpuinfo")
    lines = names.read_text(encoding="utf-8").splitlines() if names.is_file() else []
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")
    return (
        f"{model or platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
