"""``benchmark``: time and memory beside what a user would otherwise run."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator
from datetime import date
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmconvnext.cli.errors import OneLineParser, report_errors
from mmconvnext.cli.files import finished_file
from mmconvnext.cli.options import positive

if TYPE_CHECKING:
    from mmconvnext.benchmarks.timing import Row, Table

SUITES = ("backbone", "memory", "head", "inference", "pipeline", "evaluation")
_PACKAGES = ("mmconvnext", "torch", "torchvision", "timm", "mmpretrain", "mmdet", "mmsegmentation")
_HEADINGS = ("candidate", "median", "spread", "ratio", "")


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
        "--rounds", type=positive, default=5, metavar="N", help="how often (default: 5)"
    )
    options.add_argument("--json", type=Path, metavar="FILE", help="write all measurements there")
    options.add_argument("--page", type=Path, metavar="FILE.md", help="write the tables there")
    options.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return options


def benchmark(args: argparse.Namespace) -> None:
    """Measure, print, write."""
    from rich.console import Console

    for suite in args.suites:
        if suite not in SUITES:
            parser().error(f"unknown suite {suite!r}; one of {', '.join(SUITES)}")
    tables: dict[str, list[Table]] = {}
    for suite in args.suites or SUITES:
        module = import_module(f"mmconvnext.benchmarks.{suite}")
        tables[suite] = module.measure(args.rounds)
        for table in tables[suite]:
            Console().print(_rich(table))
    if args.json is not None:
        with finished_file(args.json) as file:
            file.write_text(json.dumps(_plain(tables), indent=2) + "\n", encoding="utf-8")
    if args.page is not None:
        with finished_file(args.page) as file:
            file.write_text("\n".join(_page(tables, args.rounds)) + "\n", encoding="utf-8")


def _cells(table: Table, row: Row) -> tuple[str, ...]:
    if not row.values:
        return row.name, "", "", "", row.note
    ratio = table.ratio(row)
    told = "" if ratio is None else f"{ratio:.2f}"
    spread = f"{row.spread:.0%}" if len(row.values) > 1 else ""
    return row.name, f"{row.median:.4g} {table.unit}", spread, told, row.note


def _caption(table: Table) -> str:
    parts = [f"Ratio: to {table.peer.name}."] if table.peer else ["No peer ran."]
    if table.target is not None:
        parts.append(f"Target: {table.target:g}.")
    return " ".join(parts)


def _rich(table: Table) -> Any:
    from rich.table import Table as RichTable

    shown = RichTable(*_HEADINGS, title=table.title, caption=_caption(table))
    for row in table.rows:
        shown.add_row(*_cells(table, row))
    return shown


def _plain(tables: dict[str, list[Table]]) -> dict[str, Any]:
    return {
        "machine": _machine(),
        "versions": _versions(),
        "date": date.today().isoformat(),
        "suites": {
            suite: [
                {
                    "title": table.title,
                    "unit": table.unit,
                    "target": table.target,
                    "peer": table.peer.name if table.peer else None,
                    "values": {row.name: row.values for row in table.rows},
                }
                for table in found
            ]
            for suite, found in tables.items()
        },
    }


def _page(tables: dict[str, list[Table]], rounds: int) -> Iterator[str]:
    yield "# Performance"
    yield ""
    versions = ", ".join(f"{name} {number}" for name, number in _versions().items())
    today = date.today().isoformat()
    yield f"Written by `mmconvnext benchmark` on {today}: {_machine()}; {versions}."
    yield ""
    yield (
        f"Medians of {rounds} measurements where the title says nothing else, all candidates in "
        "one process, in turns. Spread: largest less smallest over the median. Ratio: to the best "
        "candidate that is not this package's; below 1 is better."
    )
    for suite, found in tables.items():
        yield from ("", f"## {suite.capitalize()}")
        for table in found:
            yield from ("", f"**{table.title}.** {_caption(table)}", "")
            yield f"| {' | '.join(_HEADINGS)} |"
            yield "| --- | --- | --- | --- | --- |"
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
