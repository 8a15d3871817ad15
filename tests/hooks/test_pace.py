from __future__ import annotations

import pytest

from mmconvnext.hooks.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_time_left_is_that_of_this_session_without_its_start():
    clock = Clock()
    pace = Pace(50, clock)
    clock.now += 100.0  # the first iteration waits for the workers
    pace.step(51)
    assert pace.left(60) is None
    for done in (52, 53, 54):
        clock.now += 2.0
        pace.step(done)
    assert pace.left(60) == pytest.approx(6 * 2.0)


def test_validations_are_taken_to_go_on_as_they_were():
    clock = Clock()
    pace = Pace(0, clock)
    for done in range(1, 11):
        clock.now += 1.0
        pace.step(done)
    pace.pause()
    clock.now += 30.0
    pace.go_on()
    assert pace.left(20) == pytest.approx(10 * 1.0 + 30.0)
    clock.now += 1.0
    pace.step(11)
    assert pace.left(20) == pytest.approx(9 * (1.0 + 30.0 / 11))


def test_the_newest_hundred_iterations_count():
    clock = Clock()
    pace = Pace(0, clock)
    for done in range(1, 301):
        clock.now += 5.0 if done <= 150 else 1.0
        pace.step(done)
    assert pace.left(400) == pytest.approx(100.0)


def test_nothing_is_left_at_the_end():
    pace = Pace(0)
    pace.step(1)
    pace.step(2)
    assert pace.left(2) == 0
