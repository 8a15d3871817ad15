"""``doctor``: whether an installation is fit, and the command that mends what is not."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmconvnext.cli.errors import DONE, FAILED, OneLineParser, UsageError, report_errors
from mmconvnext.doctor.finding import GREEN, RED, YELLOW, Finding
from mmconvnext.doctor.running import CHECKS, examine
from mmconvnext.version import __version__

if TYPE_CHECKING:
    from rich.table import Table

_WORDS = {GREEN: "ok", YELLOW: "limited", RED: "broken"}


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status: 0 nothing is broken, 1 something is, 2 bad input, 130 interrupted.
    """
    argv = sys.argv[1:] if argv is None else argv
    status = DONE

    def run() -> None:
        nonlocal status
        status = doctor(parser().parse_args(argv))

    return report_errors("mmconvnext doctor", run, debug="--debug" in argv) or status


def parser() -> OneLineParser:
    """The command's options."""
    options = OneLineParser(
        prog="mmconvnext doctor",
        description="Check packages, GPU, machine and operators; name the command that mends what "
        "is wrong. Paste its output into a report of a bug.",
    )
    options.add_argument("--json", type=Path, metavar="FILE", help="also write the findings there")
    options.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return options


def doctor(args: argparse.Namespace) -> int:
    """Run all checks and print what they found.

    Returns:
        0, or 1 where something is broken.

    Raises:
        UsageError: the file of ``--json`` cannot be written.
    """
    if args.json is not None and not args.json.parent.is_dir():
        raise UsageError(f"--json {args.json}: there is no folder {args.json.parent}")
    findings = _examine()
    broken = any(finding.state == RED for finding in findings.values())
    if sys.stdout.isatty() and _has_rich():
        _print_table(findings)
    else:
        print("\n".join(plain(findings)))
    if args.json is not None:
        from mmconvnext.cli.files import finished_file

        with finished_file(args.json) as file:
            content = json.dumps(as_dict(findings), indent=1, ensure_ascii=False)
            file.write_text(f"{content}\n", encoding="utf-8")
    return FAILED if broken else DONE


def _examine() -> dict[str, Finding]:
    """Run the checks; a terminal shows which one is waited for."""
    findings: dict[str, Finding] = {}
    names = [*CHECKS, ""]
    _show_waiting(names[0])
    for name, finding in examine():
        findings[name] = finding
        _show_waiting(names[len(findings)])
    return findings


def _show_waiting(name: str) -> None:
    if sys.stderr.isatty():
        line = f"mmconvnext: {name} …" if name else ""
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def plain(findings: dict[str, Finding]) -> list[str]:
    """The report as lines of text: state, check, what was found, then what mends it."""
    wide, high = max(map(len, _WORDS.values())), max(map(len, findings))
    lines = [f"mmconvnext {__version__} doctor"]
    for name, finding in findings.items():
        lines.append(f"{_WORDS[finding.state]:<{wide}}  {name:<{high}}  {finding.found}")
        if finding.mend:
            lines.append(f"{'':<{wide}}  {'':<{high}}  -> {finding.mend}")
    return [*lines, summary(findings)]


def summary(findings: dict[str, Finding]) -> str:
    """How many findings there are of each kind, in a line."""
    states = [finding.state for finding in findings.values()]
    counts = [f"{states.count(state)} {word}" for state, word in _WORDS.items()]
    return ", ".join(counts)


def as_dict(findings: dict[str, Finding]) -> dict[str, Any]:
    """What ``--json`` writes."""
    return {
        "mmconvnext": __version__,
        "sound": all(finding.state != RED for finding in findings.values()),
        "findings": [{"check": n, **dataclasses.asdict(f)} for n, f in findings.items()],
    }


def _has_rich() -> bool:
    try:
        import rich.console  # noqa: F401
    except ImportError:  # which mmengine would bring
        return False
    return True


def _print_table(findings: dict[str, Finding]) -> None:
    from rich.console import Console

    console = Console()
    console.print(_table(findings))
    console.print(summary(findings), highlight=False)


def _table(findings: dict[str, Finding]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table("", "check", f"mmconvnext {__version__}", box=box.SIMPLE_HEAD)
    table.columns[1].no_wrap = True
    table.columns[2].overflow = "fold"  # a command has to stay whole
    for name, finding in findings.items():
        style = f"bold {finding.state}"
        mend = [("\n-> ", style), (finding.mend, "bold")] if finding.mend else []
        told = Text.assemble(finding.found, *mend)
        table.add_row(Text(_WORDS[finding.state], style), name, told)
    return table
