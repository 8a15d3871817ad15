"""How long training will still take, from what this session has seen."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

_RECENT = 100  # iterations


class Pace:
    """Counts iterations and pauses of one session.

    The first iteration starts the data workers and warms up the device, so that the pace is that
    between the ends of iterations, the last 100 at most. Pauses (validation) are spread over the
    session's iterations: what has been is taken to go on.

    Args:
        done: iterations of earlier sessions.
        clock: seconds from a fixed moment on.
    """

    def __init__(self, done: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._before = self._done = done
        self._paused = 0.0
        self._pause_began = 0.0
        self._ends: deque[tuple[float, int]] = deque(maxlen=_RECENT + 1)  # seconds without pauses

    def step(self, done: int) -> None:
        """``done`` iterations have ended, those of earlier sessions included."""
        self._done = done
        self._ends.append((self._clock() - self._paused, done))

    def pause(self) -> None:
        """Something else than training begins."""
        self._pause_began = self._clock()

    def go_on(self) -> None:
        """It has ended."""
        self._paused += self._clock() - self._pause_began

    def left(self, total: int) -> float | None:
        """Seconds until ``total`` iterations are done; None before two have ended."""
        if len(self._ends) < 2:
            return None
        (start, first), (end, last) = self._ends[0], self._ends[-1]
        working = (end - start) / (last - first)
        pausing = self._paused / (self._done - self._before)
        return (total - self._done) * (working + pausing)
