"""``report``: training runs as one HTML page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmconvnext.cli.errors import OneLineParser, UsageError, report_errors
from mmconvnext.cli.files import finished_file
from mmconvnext.cli.options import add_trust_option


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status (0 done, 1 failed, 2 bad input, 130 interrupted)."""
    argv = sys.argv[1:] if argv is None else argv
    return report_errors(
        "mmconvnext report", lambda: report(parser().parse_args(argv)), debug="--debug" in argv
    )


def parser() -> OneLineParser:
    """The command's options."""
    options = OneLineParser(
        prog="mmconvnext report",
        description="Show training runs on one HTML page that opens from disk, without a network: "
        "curves, layer-wise rates, classes, confusion, pictures, config. Several are compared.",
    )
    options.add_argument(
        "folders", nargs="+", type=Path, metavar="WORK_DIR", help="a run's work directory"
    )
    options.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="FILE.html",
        help="the page (default: report.html in the first WORK_DIR)",
    )
    options.add_argument(
        "--evaluate",
        action="store_true",
        help="evaluate each run's best checkpoint, else its newest, for classes, confusion and "
        "pictures; runs its config, as test does. The result is kept in WORK_DIR",
    )
    options.add_argument(
        "--checkpoint", metavar="FILE", help="evaluate this one, of the only WORK_DIR"
    )
    options.add_argument(
        "--data-root", metavar="DIR", help="evaluate on the data in DIR, not the config's folder"
    )
    options.add_argument(
        "--device", default="auto", metavar="auto|cpu|cuda[:N]", help="where to evaluate"
    )
    add_trust_option(options)
    options.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return options


def report(args: argparse.Namespace) -> None:
    """Read the runs, evaluate if asked to, write the page.

    Raises:
        UsageError, DataError, CheckpointError: bad input; no page was written.
    """
    out = args.out or args.folders[0] / "report.html"
    if out.is_dir():
        raise UsageError(f"--out {out}: is a folder, a file is needed")
    if args.checkpoint and len(args.folders) > 1:
        raise UsageError(
            f"--checkpoint {args.checkpoint}: is of one run, {len(args.folders)} WORK_DIRs are "
            "given; --evaluate takes each one's own"
        )
    from mmconvnext.visualization.report.evaluation import load_evaluation
    from mmconvnext.visualization.report.runs import read_runs
    from mmconvnext.visualization.report.sections import build_page

    try:
        runs = read_runs(args.folders)
        evaluating = args.evaluate or args.checkpoint
        found = [None if evaluating else load_evaluation(run.folder) for run in runs]
    except ValueError as error:
        raise UsageError(str(error)) from error
    if evaluating:
        from mmconvnext.cli.report_evaluation import evaluate

        found = [evaluate(run.folder, args) for run in runs]
    content = build_page(runs, found)
    with finished_file(out) as unfinished:
        unfinished.write_text(content, encoding="utf-8")
    print(f"mmconvnext: {out}, {out.stat().st_size / 1024:,.0f} KB")
