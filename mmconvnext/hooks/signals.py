"""What has to be put right before a signal ends the process."""

from __future__ import annotations

import atexit
import contextlib
import mmap
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

# What a scheduler sends before it takes the machine away; Windows has no SIGUSR1.
_REQUESTS = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]
_SAME = 3.0  # seconds: so far apart torchrun's signal and the scheduler's own are one request
_MOMENT = 0.5  # seconds in which a signal for a group of processes has reached all of them

# What `kill`, batch systems and a closed terminal send; Python turns SIGINT into an exception.
_SIGNALS = [
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
]  # Windows has no SIGHUP


class BeforeDeath:
    """From :meth:`start` to :meth:`stop`, calls a function before SIGTERM or SIGHUP ends the
    process, which then ends by that signal as it would have without.

    Only signals that would end the process at once are waited for. Who handles one by other means,
    whether since before :meth:`start` or from later on, keeps it, and puts things right himself as
    at any other end. As always in Python, a call into C is finished first.

    Args:
        function: called once; what it raises does not keep the process from ending.
    """

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._process = os.getpid()
        self.waiting = False

    def start(self) -> None:
        """Begin to wait; outside the main thread, where Python allows no handlers, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            return
        self.waiting = True
        for number in _SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._handle)

    def stop(self) -> None:
        """Let signals do what they did before; a second call does nothing."""
        self.waiting = False
        for number in _SIGNALS:
            if signal.getsignal(number) == self._handle:
                signal.signal(number, signal.SIG_DFL)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # another one ends it even if the function hangs
        # A forked process has this handler too, but nothing to put right.
        if os.getpid() == self._process:
            with contextlib.suppress(Exception):
                self._function()
        os.kill(os.getpid(), number)


class StopRequest:
    """From :meth:`start` to :meth:`stop`, the first SIGTERM or SIGUSR1 is only noted, and others of
    the same seconds with it: a launcher passes on what its processes have got, too. A later one
    ends the process as it would have.

    A signal that somebody else handles, or that is ignored, stays so; :class:`BeforeDeath` is taken
    over from and back. Processes that are forked meanwhile inherit the handler: one that gets the
    signal alone ends by it as ever, one of a group that gets it lives on, so that data workers
    (which have to call :meth:`renew`) serve until the iteration is finished.
    """

    _WAITING, _ASKED, _OVER = range(3)

    def __init__(self) -> None:
        self.number = 0
        """The signal that has come; 0 before."""
        self._process = os.getpid()
        self._since = 0.0
        self._earlier: dict[int, Any] = {}
        self._state = mmap.mmap(-1, 1)  # shared with the forked
        self._in_worker = False

    def start(self) -> None:
        """Begin to wait; outside the main thread, where Python allows no handlers, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            return
        self.number, self._state[0] = 0, self._WAITING
        for number in _REQUESTS:
            earlier = signal.getsignal(number)
            if earlier is signal.SIG_DFL or _before_death(earlier) is not None:
                self._earlier[number] = earlier
                signal.signal(number, self._handle)
        atexit.register(self.stop)  # before multiprocessing's, which ends data workers by SIGTERM

    def stop(self) -> None:
        """Let signals do what they did before; a second call does nothing."""
        self._state[0] = self._OVER
        atexit.unregister(self.stop)
        for number, earlier in self._earlier.items():
            if signal.getsignal(number) == self._handle:
                waiting = _before_death(earlier)
                over = waiting is not None and not waiting.waiting
                signal.signal(number, signal.SIG_DFL if over else earlier)
        self._earlier.clear()

    def renew(self) -> None:
        """In a data worker, in which PyTorch has just set a handler of its own: let its parent end
        it by SIGTERM as that handler does, without a failure."""
        self._in_worker = True
        for number in self._earlier:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            self._handle_in_child(number)
        elif not self.number:
            self.number, self._since = number, time.monotonic()
            self._state[0] = self._ASKED
        elif time.monotonic() - self._since >= _SAME:
            signal.signal(number, self._earlier[number])
            os.kill(os.getpid(), number)

    def _handle_in_child(self, number: int) -> None:
        end = time.monotonic() + _MOMENT
        while self._state[0] == self._WAITING and time.monotonic() < end:
            time.sleep(_MOMENT / 50)
        if self._in_worker and self._state[0] == self._OVER:
            os._exit(0)
        if self._state[0] != self._ASKED:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def _before_death(handler: Any) -> BeforeDeath | None:
    """Whose handler it is."""
    owner = getattr(handler, "__self__", None)
    return owner if isinstance(owner, BeforeDeath) else None
