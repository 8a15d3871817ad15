"""``coverage``: which of mmdet's and mmseg's own configs work with a ConvNeXt, tried one by one."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mmconvnext.cli.errors import OneLineParser, UsageError, report_errors
from mmconvnext.cli.files import finished_file
from mmconvnext.cli.options import positive

PACKAGES = ("mmdet", "mmseg")
_SECONDS = 120  # a config's time
_SUMMARY = (("works", "work"), ("adapt", "cannot be adapted"), ("fails", "fail"))


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status (0 done, 1 failed, 2 bad input, 130 interrupted)."""
    argv = sys.argv[1:] if argv is None else argv
    return report_errors(
        "mmconvnext coverage", lambda: coverage(parser().parse_args(argv)), debug="--debug" in argv
    )


def parser() -> OneLineParser:
    """The command's options."""
    options = OneLineParser(
        prog="mmconvnext coverage",
        description="Put a tiny ConvNeXt into each config that mmdet and mmseg ship, train and "
        "predict one step on made-up pictures, and write down which work.",
    )
    options.add_argument("--package", choices=PACKAGES, help="only this package's configs")
    options.add_argument(
        "--family", action="append", metavar="FAMILY", help="only this folder; may be repeated"
    )
    options.add_argument(
        "--one-per-family",
        action="store_true",
        help="only the first config of each folder with each of its ResNet, ResNeXt, Res2Net and "
        "Swin backbones",
    )
    options.add_argument(
        "--jobs", type=positive, default=1, metavar="N", help="processes at a time (default: 1)"
    )
    options.add_argument(
        "--out",
        default="docs/coverage.md",
        metavar="FILE",
        help="the page to write (default: docs/coverage.md)",
    )
    options.add_argument("--json", metavar="FILE", help="write each result there, a line each")
    options.add_argument(
        "--resume", action="store_true", help="go on after the results that --json FILE holds"
    )
    options.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return options


def coverage(args: argparse.Namespace) -> None:
    """Try, then write the page.

    Raises:
        UsageError: no such package or family, or nothing to resume from.
    """
    from mmconvnext.cli.coverage_page import page

    if args.resume and not args.json:
        raise UsageError("--resume needs --json FILE: the results to go on from")
    names = list(wanted_configs(args))
    if not names:
        raise UsageError(f"no config of a model with {_choice(args)}")
    results = list(_results(names, args))
    out = Path(args.out)
    with finished_file(out) as unfinished:
        unfinished.write_text(page(results, _choice(args)), encoding="utf-8")
    counts = {status: sum(r["status"] == status for r in results) for status, _ in _SUMMARY}
    told = ", ".join(f"{counts[status]} {what}" for status, what in _SUMMARY)
    unread = sum(r["status"] == "unreadable" for r in results)
    print(f"mmconvnext: {told}, {unread} cannot be read; written to {out}")


def wanted_configs(args: argparse.Namespace) -> Iterator[str]:
    """Names of the configs to try.

    Raises:
        UsageError: no such package or family.
    """
    from mmconvnext.cli.trial import first_of_each_kind

    found: dict[tuple[str, str], list[str]] = {}
    for package in (args.package,) if args.package else PACKAGES:
        for name, family in shipped_configs(package):
            found.setdefault((package, family), []).append(name)
    families = {family for _, family in found}
    if missing := set(args.family or ()) - families:
        known = ", ".join(sorted(families))
        raise UsageError(f"--family {sorted(missing)[0]}: no such folder; there are {known}")
    for (_, family), names in found.items():
        if not args.family or family in args.family:
            yield from first_of_each_kind(names) if args.one_per_family else names


def shipped_configs(package: str) -> Iterator[tuple[str, str]]:
    """(name, family) of each config file that ``package`` brings, bases left out.

    Raises:
        UsageError: the package is not installed, or brings none.
    """
    from mmconvnext.compat.config_root import config_root

    try:
        root = config_root(package)
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise UsageError(str(error)) from error
    for file in sorted(root.rglob("*.py")):
        inside = file.relative_to(root)
        if "_base_" not in inside.parts and len(inside.parts) > 1:
            yield f"{package}::{inside.as_posix()}", inside.parts[0]


def _results(names: list[str], args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What became of each config, earlier results first; new ones are written down as they come."""
    from mmconvnext.cli.trial import outcome, try_config
    from mmconvnext.cli.workers import call_in_workers

    known = _earlier(Path(args.json)) if args.resume else {}
    yield from (known[name] for name in names if name in known)
    left = [name for name in names if name not in known]
    with ExitStack() as files:
        log = None
        if args.json:
            log = files.enter_context(
                Path(args.json).open("a" if args.resume else "w", encoding="utf-8")
            )
        answers = call_in_workers(try_config, left, jobs=args.jobs, seconds=_SECONDS)
        for count, (name, answer) in enumerate(answers, start=1):
            result = outcome(name, answer)
            if log:
                print(json.dumps(result), file=log, flush=True)
            _tell(f"{count}/{len(left)} {name}: {result['status']}")
            yield result


def _earlier(file: Path) -> dict[str, dict[str, Any]]:
    if not file.is_file():
        raise UsageError(f"--resume: no such file: {file}")
    found = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            result = json.loads(line)
            found[result["config"]] = result
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(f"{file}, line {number}: not a result of this command") from error
    return found


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _choice(args: argparse.Namespace) -> str:
    """The options that left configs out, as given."""
    parts = [f"--package {args.package}"] if args.package else []
    parts += [f"--family {name}" for name in args.family or ()]
    parts += ["--one-per-family"] if args.one_per_family else []
    return " ".join(parts)
