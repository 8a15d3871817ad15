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
