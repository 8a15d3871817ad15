from __future__ import annotations

import io
import threading
from pathlib import Path

import pytest
from rich.console import Console

from mmconvnext.cli import data_report
from mmconvnext.cli.data_report import Bars, print_table
from mmconvnext.data.report import Finding, Part, Report


def console(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100)


def test_names_that_look_like_markup_are_shown_as_they_are():
    finding = Finding("damaged", "one image does not decode", ("[red]a[/b].jpg",))
    part = Part("[bold]x/", "1 images", "1 images", (finding,))
    shown = console(terminal=False)
    print_table(Report(Path("/data"), "COCO 2017", (part,), ("[i]cat",)), shown)
    said = shown.file.getvalue()
    assert "damaged: [bold]x/: one image does not decode: [red]a[/b].jpg" in said
    assert "classes: [i]cat (1)" in said


def test_many_classes_are_cut_and_counted():
    shown = console(terminal=False)
    classes = tuple(f"c{number}" for number in range(25))
    print_table(Report(Path("/data"), "", (), classes), shown)
    assert "c18, c19 and 5 more (25)" in shown.file.getvalue()


def test_on_a_terminal_bars_are_drawn_without_a_thread():
    shown, before = console(terminal=True), threading.active_count()
    with Bars(shown) as bars:
        bars.files("decoding train/", 1, 2)
        assert threading.active_count() == before  # the next job may fork
        bars.files("decoding train/", 2, 2)
        bars.bytes("downloading a.zip", 5_000_000, None)
    said = shown.file.getvalue()
    assert "decoding train/" in said and "2/2" in said
    assert "downloading a.zip" in said and "5.0/?" in said


@pytest.mark.parametrize(("seconds", "lines"), [(60.0, 1), (1.0, 0)])
def test_elsewhere_a_line_is_written_now_and_then(seconds, lines, monkeypatch):
    clock = iter([0.0, seconds])
    monkeypatch.setattr(data_report.time, "monotonic", lambda: next(clock))
    shown = console(terminal=False)
    with Bars(shown) as bars:
        bars.files("decoding train/", 500, 2000)
    expected = "decoding train/: 500 of 2,000, 25%\n" * lines
    assert shown.file.getvalue() == expected
