from __future__ import annotations

import io

import pytest
from rich.console import Console

from mmconvnext.cli import meter


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(meter.time, "monotonic", lambda: now[0])
    return now


def shown(clock, terminal: bool) -> str:
    """What is seen of 90 pictures at 2 per second."""
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    with meter.Meter("detection", "pictures", console) as bar:
        for done in range(1, 91):
            clock[0] += 0.5
            bar.show(done, 90)
    return console.file.getvalue()


def test_without_a_terminal_there_is_a_line_every_ten_seconds(clock):
    assert shown(clock, terminal=False).splitlines() == [
        f"detection: {done} of 90 pictures, 2 per second, {45 - done // 2} s left"
        for done in (20, 40, 60, 80)
    ]


def test_on_a_terminal_there_is_a_bar_with_rate_and_time_left(clock):
    said = shown(clock, terminal=True)
    assert "90/90" in said and "/s" in said and "left" in said
    assert "per second" not in said


def test_what_was_done_before_says_nothing_of_the_rate(clock):
    console = Console(file=io.StringIO(), force_terminal=False, width=100)
    with meter.Meter("detection", "pictures", console, before=50) as bar:
        for done in (50, 70):
            clock[0] += 10
            bar.show(done, 90)
    assert console.file.getvalue().splitlines() == [
        "detection: 50 of 90 pictures, 0 per second, unknown time left",
        "detection: 70 of 90 pictures, 1 per second, 20 s left",
    ]
