"""Shows what an inspection of a data set found, and how far a long job is."""

from __future__ import annotations

import dataclasses
import json
import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from mmconvnext.data.coco_file import COCO_CLASSES
from mmconvnext.data.report import Report

_STYLES = {"ok": "green", "note": "green", "incomplete": "yellow"}
_WRITTEN = {"note": "ok (note)"}
_CLASSES_SHOWN = 20
_WIDTH = 110  # where there is no terminal to ask
_SECONDS_BETWEEN_LINES = 30.0
_SECONDS_BETWEEN_DRAWINGS = 0.1


def console_for(stderr: bool) -> Console:
    """The console to talk on: standard output, or standard error where that is for JSON."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=_WIDTH)


def print_line(text: str, console: Console) -> None:
    """Print ``text`` as it is, on one line."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_table(report: Report, console: Console) -> None:
    """A row for every part, then a line for every finding, then the classes."""
    table = Table("part", "expected", "found", "state")
    table.columns[0].overflow = "fold"
    for part in report.parts:
        state = Text(_WRITTEN.get(part.state, part.state), _STYLES.get(part.state, "bold red"))
        table.add_row(Text(part.name), part.expected, part.found, state)
    print_line(f"{report.title}: {report.root}", console)
    console.print(table)
    for part in report.parts:
        for finding in part.findings:
            print_line(f"{finding.state}: {part.name}: {finding.line}", console)
    if report.classes:
        print_line(f"classes: {_classes(report.classes)}", console)


def as_json(report: Report, task: str) -> str:
    """The report for machines, with every name."""
    content: dict[str, Any] = {
        "task": task,
        "root": str(report.root),
        "title": report.title,
        "official": report.official,
        "sound": report.sound,
        "parts": [{**dataclasses.asdict(part), "state": part.state} for part in report.parts],
        "classes": report.classes,
    }
    return json.dumps(content, indent=1, ensure_ascii=False)


class Bars:
    """A progress bar for one long job after the other; a line now and then where no terminal is.

    A bar starts with the first call for its label and ends when everything is done. It is drawn by
    these calls, not by a thread, which must not be running when worker processes are forked.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar: Progress | None = None
        self._label = ""
        self._told = time.monotonic()

    def __enter__(self) -> Bars:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def files(self, label: str, done: int, total: int) -> None:
        """``done`` of ``total`` files of a job are done."""
        self._show(label, done, total, MofNCompleteColumn())

    def bytes(self, label: str, done: int, total: int | None) -> None:
        """``done`` of ``total`` bytes of a job are done."""
        self._show(label, done, total, DownloadColumn(), TransferSpeedColumn())

    def _show(self, label: str, done: int, total: int | None, *columns: Any) -> None:
        if not self.console.is_terminal:
            self._tell(label, done, total)
            return
        if label != self._label or self._bar is None:
            self._stop()
            shown = (TextColumn("{task.description}", markup=False), BarColumn(), *columns)
            left = TimeRemainingColumn()
            self._bar = Progress(*shown, left, console=self.console, auto_refresh=False)
            self._label = label
            # Where an earlier run stopped is not speed.
            self._bar.add_task(label, total=total, completed=done)
            self._bar.start()
        self._bar.update(
            self._bar.task_ids[0],
            completed=done,
            total=total,
            refresh=done == total or self._is_time(_SECONDS_BETWEEN_DRAWINGS),
        )
        if done == total:
            self._stop()

    def _is_time(self, seconds: float) -> bool:
        """Whether ``seconds`` have passed since this was last true."""
        now = time.monotonic()
        if now - self._told < seconds:
            return False
        self._told = now
        return True

    def _tell(self, label: str, done: int, total: int | None) -> None:
        if self._is_time(_SECONDS_BETWEEN_LINES):
            share = f", {done / total:.0%}" if total else ""
            whole = f"{total:,}" if total else "an unknown number"
            print_line(f"{label}: {done:,} of {whole}{share}", self.console)

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _classes(names: tuple[str, ...]) -> str:
    if names == COCO_CLASSES:
        return "COCO's 80"
    more = len(names) - _CLASSES_SHOWN
    shown = ", ".join(names[:_CLASSES_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
    return f"{shown} ({len(names):,})"
