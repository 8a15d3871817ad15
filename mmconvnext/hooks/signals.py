"""What has to be put right before a signal ends the process."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

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

    def start(self) -> None:
        """Begin to wait; outside the main thread, where Python allows no handlers, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._handle)

    def stop(self) -> None:
        """Let signals do what they did before; a second call does nothing."""
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
