"""``prepare-data``: check a data set's folder, and download what is missing of COCO or ADE20K."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mmconvnext.cli.errors import DONE, FAILED, OneLineParser, UsageError, report_errors
from mmconvnext.cli.options import positive

if TYPE_CHECKING:
    from mmconvnext.cli.data_report import Bars
    from mmconvnext.data.archives import Archive
    from mmconvnext.data.download import ByteProgress
    from mmconvnext.data.report import Report

PROG = "mmconvnext prepare-data"
TASKS = ("coco", "ade20k")


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status: 0 the data are sound, 1 they are not or cannot be got, 2 bad input, 130
        interrupted.
    """
    argv = sys.argv[1:] if argv is None else argv
    status = DONE

    def run() -> None:
        nonlocal status
        args = parser().parse_args(argv)
        from mmconvnext.data.download import DownloadError

        try:
            status = prepare(args)
        except DownloadError as error:
            if args.debug:
                raise
            print(f"{PROG}: {error}", file=sys.stderr)
            status = FAILED

    return report_errors(PROG, run, debug="--debug" in argv) or status


def parser() -> OneLineParser:
    """The command's options."""
    options = OneLineParser(
        prog=PROG,
        description="Check the folder of COCO 2017, ADE20K or a data set of your own in the format "
        "of one of them; download what is missing of COCO or ADE20K.",
        epilog="exit status: 0 sound, 1 something is wrong or cannot be got, 2 bad input",
    )
    options.add_argument("task", choices=TASKS, help="which data set, or whose format")
    options.add_argument(
        "root",
        type=Path,
        metavar="ROOT",
        help="the data set's folder, as --data-root of train takes it",
    )
    options.add_argument(
        "--check", action="store_true", help="only look: download and write nothing"
    )
    options.add_argument(
        "--no-decode", action="store_true", help="do not decode the images, which takes long"
    )
    options.add_argument(
        "--workers",
        type=positive,
        default=_processors(),
        metavar="N",
        help="processes that decode (default: one a processor, here %(default)s)",
    )
    options.add_argument(
        "--keep-archives", action="store_true", help="do not delete downloaded zip files"
    )
    options.add_argument(
        "--json", action="store_true", help="print what was found as JSON, with every file name"
    )
    options.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return options


def prepare(args: argparse.Namespace) -> int:
    """Inspect, download what is missing, inspect again, and show what was found.

    Returns:
        0 if the data are sound, else 1.

    Raises:
        UsageError: ROOT is not a folder.
        DownloadError: something could not be got.
    """
    from mmconvnext.cli.data_report import Bars, as_json, console_for, print_table

    if args.root.exists() and not args.root.is_dir():
        raise UsageError(f"ROOT has to be a folder, {args.root} is a file")
    console = console_for(stderr=args.json)
    with Bars(console) as bars:
        report = _inspect(args, bars, always=args.check)
        if not args.check:
            report = _complete(args, report, bars)
    if args.json:
        print(as_json(report, args.task))
    else:
        print_table(report, console)
        print(_verdict(report))
    return DONE if report.sound else FAILED


def _complete(args: argparse.Namespace, report: Report, bars: Bars) -> Report:
    """Get the archives that ``report`` asks for; returns what an inspection finds then."""
    from mmconvnext.cli.data_report import as_json, print_table

    got: set[str] = set()
    while names := set(report.archives) - got:
        print_table(report, bars.console)
        try:
            _get(args, names, report, bars)
        except Exception:  # passed on; whoever reads the JSON still gets what was found
            if args.json:
                print(as_json(report, args.task))
            raise
        got |= names
        report = _inspect(args, bars, always=False)
    if report.archives:  # not even the archives had everything
        report = _inspect(args, bars, always=True)
    return report


def _inspect(args: argparse.Namespace, bars: Bars, *, always: bool) -> Report:
    from mmconvnext.data.inspect_ade20k import inspect_ade20k
    from mmconvnext.data.inspect_coco import inspect_coco

    inspect = {"coco": inspect_coco, "ade20k": inspect_ade20k}[args.task]
    workers = 0 if args.no_decode else args.workers
    return inspect(args.root, workers=workers, always=always, progress=bars.files)


def _get(args: argparse.Namespace, names: set[str], report: Report, bars: Bars) -> None:
    """Download the archives ``names`` that do not lie in ROOT yet, and unpack them all."""
    from mmconvnext.cli.data_report import print_line
    from mmconvnext.data import archives, download, unpack

    wanted = [archive for archive in archives.ARCHIVES[args.task] if archive.name in names]
    here = [archive for archive in wanted if (args.root / archive.name).is_file()]
    for archive in here:
        download.check_size(archive, args.root / archive.name)
    absent = [archive for archive in wanted if archive not in here]
    if absent:
        listed = ", ".join(f"{archive.name} ({_gb(archive.about)})" for archive in absent)
        total = _gb(sum(archive.about for archive in absent))
        print_line(f"to download: {listed}; {total} in all", bars.console)
    complete = [report.root / part.name for part in report.parts if not part.archive]
    needed = _space(args, wanted, here)
    unpack.check_space(args.root, needed, f"unpacking {len(wanted)} archives")
    for archive in wanted:
        path = args.root / archive.name
        show = _bytes_of(archive, bars)
        if archive in here:
            download.check_digest(archive, path, show)
        else:
            download.download(archive, args.root, show)
        unpack.unpack(archive, path, report.root, untouched=complete, progress=show)
        if archive not in here and not args.keep_archives:
            path.unlink()


def _space(args: argparse.Namespace, wanted: list[Archive], here: list[Archive]) -> int:
    """Bytes of disk space that are taken at the worst moment."""
    from mmconvnext.data.download import part_of

    taken = worst = 0
    for archive in wanted:
        part = part_of(args.root / archive.name)
        arrived = part.stat().st_size if part.is_file() else 0
        taken += 0 if archive in here else archive.about - arrived
        taken += archive.unpacked
        worst = max(worst, taken)
        taken -= 0 if archive in here or args.keep_archives else archive.about
    return worst


def _bytes_of(archive: Archive, bars: Bars) -> ByteProgress:
    return lambda stage, done, total: bars.bytes(f"{stage} {archive.name}", done, total)


def _verdict(report: Report) -> str:
    if report.sound:
        return "sound"
    if report.archives:
        return f"not sound; to download: {', '.join(report.archives)}"
    if report.official:
        return "not sound"
    return "not sound; nothing is downloaded into a folder with other data, name a new one for that"


def _gb(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e8 else f"{number / 1e6:.1f} MB"


def _processors() -> int:
    """How many processors this process may use; a job of a cluster gets a share."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


if __name__ == "__main__":
    sys.exit(main())
