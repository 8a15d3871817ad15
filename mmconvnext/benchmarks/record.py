"""What was measured, as a JSON file and as a page."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mmconvnext.benchmarks.timing import ROUNDS, Row, Table

HEADINGS = ("candidate", "median", "spread", "ratio", "target", "")
_PACKAGES = ("mmconvnext", "torch", "torchvision", "timm", "mmpretrain", "mmdet", "mmsegmentation")
_VERDICTS = {True: "met", False: "MISSED", None: "not measured"}


class RecordError(ValueError):
    """A file of measurements cannot be gone on with; the message says why."""


@dataclass
class Suite:
    """Tables measured together.

    Args:
        tables: one for each task.
        date: of the measurement, ``2026-01-31``.
    """

    tables: list[Table]
    date: str


@dataclass
class Record:
    """Suites that may be compared: measured on one machine, with one set of packages.

    Args:
        machine: processor or GPU.
        versions: package → version, of those that are installed.
        rounds: how often each candidate was timed.
        suites: by name, in the order of the page.
    """

    machine: str
    versions: dict[str, str]
    rounds: int
    suites: dict[str, Suite] = field(default_factory=dict)

    @classmethod
    def here(cls, rounds: int) -> Record:
        """An empty one for this machine."""
        return cls(_machine(), installed_versions(), rounds)

    def go_on(self, file: Path) -> None:
        """Take over the suites measured earlier.

        Raises:
            RecordError: it was measured elsewhere or otherwise, or is none of our files.
        """
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            suites = {name: _suite(**plain) for name, plain in found["suites"].items()}
            settings = {name: found[name] for name in ("machine", "versions", "rounds")}
        except OSError as error:
            raise RecordError(f"{file}: {error.strerror}") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RecordError(f"{file}: expected what --json writes, found other things") from error
        for name, theirs in settings.items():
            if theirs != (ours := getattr(self, name)):
                raise RecordError(f"{file}: {name}: expected {ours} as now, found {theirs}")
        self.suites = suites

    def as_json(self) -> str:
        """Everything measured, and what follows from it: ratios, targets met or missed."""
        plain = asdict(self)
        for name, suite in self.suites.items():
            plain["suites"][name]["tables"] = [_plain(table) for table in suite.tables]
        return json.dumps(plain, indent=2) + "\n"

    def page(self) -> Iterator[str]:
        """Lines of Markdown."""
        yield "# Performance"
        yield ""
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        yield f"Written by `mmconvnext benchmark`: {self.machine}; {versions}."
        yield ""
        if self.rounds < ROUNDS:
            yield (
                f"This is a look: medians of {self.rounds}, fewer than the {ROUNDS} measurements "
                "that a median needs to say something."
            )
            yield ""
        yield (
            f"Medians of {self.rounds} measurements where the title says nothing else, all "
            "candidates of a table in one process, in turns. Spread: largest less smallest over "
            "the median. Ratio: to the best candidate that is not this package's, if the table "
            "names no other; below 1 is better. Target: what the ratio, or with a unit the median, "
            "shall not exceed."
        )
        for name, suite in self.suites.items():
            yield from ("", f"## {name.capitalize()}", "")
            yield f"Measured on {suite.date}."
            for table in suite.tables:
                yield from ("", f"**{table.title}.** {caption(table)}".rstrip(), "")
                yield f"| {' | '.join(HEADINGS)} |"
                yield f"|{' --- |' * len(HEADINGS)}"
                for row in table.rows:
                    yield f"| {' | '.join(cells(table, row))} |"


def cells(table: Table, row: Row) -> tuple[str, ...]:
    """A row's texts, one under each of ``HEADINGS``."""
    target = _target(table, row)
    if not row.values:
        return row.name, "", "", "", target, row.note
    ratio = table.ratio(row)
    told = "" if ratio is None else f"{ratio:.3f}"
    if told and row.against:
        told += f" of {row.against}"
    spread = f"{row.spread:.0%}" if len(row.values) > 1 else ""
    return row.name, f"{row.median:.4g} {table.unit}", spread, told, target, row.note


def caption(table: Table) -> str:
    """What a table's ratios are to."""
    if table.peer is not None:
        return f"Ratio: to {table.peer.name}."
    return "" if {row.name for row in table.rows} <= {*table.ours} else "No peer ran."


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


def _plain(table: Table) -> dict[str, Any]:
    rows = [asdict(row) | {"ratio": table.ratio(row), "met": table.met(row)} for row in table.rows]
    return asdict(table) | {"rows": rows, "peer": table.peer.name if table.peer else None}


def _suite(tables: list[dict[str, Any]], date: str) -> Suite:
    return Suite([_table(**plain) for plain in tables], str(date))


def _table(rows: list[dict[str, Any]], ours: list[str], peer: str | None, **rest: Any) -> Table:
    """Of what :func:`_plain` gave; what followed from the measurements follows again."""
    given = [{n: v for n, v in row.items() if n not in ("ratio", "met")} for row in rows]
    return Table(rows=[Row(**row) for row in given], ours=tuple(ours), **rest)


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


def installed_versions() -> dict[str, str]:
    """The packages that figures depend on, of those that are installed, with their versions."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
