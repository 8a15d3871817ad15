"""A terminal for a command: a pty of 100 columns, and what was drawn on it.

Importing takes longer than the commands do: run as a script, this imports what they need once, and
then forks, before any thread runs, for each command that stands in a line of its input.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
React = Callable[[str, int], None]


def on_terminal(
    arguments: list[str],
    folder: Path,
    react: React = lambda drawn, pid: None,
) -> tuple[int, str]:
    """Run ``mmconvnext`` with ``arguments`` on a terminal.

    Args:
        arguments: the command and its options.
        folder: the current folder.
        react: called with all that was drawn so far, whenever there is more, and the process's id.

    Returns:
        The exit status and all that was drawn, control characters included.
    """
    ours, theirs = _terminal()
    code = "import sys; from mmconvnext.cli.main import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=_environment(),
        start_new_session=True,
        preexec_fn=_hanging_up_counts,
    )
    os.close(theirs)
    drawn = _all_drawn(ours, process.pid, react)
    return process.wait(60), drawn


class Forks:
    """Runs commands as ``on_terminal`` does, in forks of one process."""

    def __init__(self) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(),
            text=True,
            bufsize=1,
            start_new_session=True,
            preexec_fn=_hanging_up_counts,
        )

    def on_terminal(
        self, arguments: list[str], folder: Path, react: React = lambda drawn, pid: None
    ) -> tuple[int, str]:
        """See the function of that name."""
        ours, theirs = _terminal()
        assert self._parent.stdin is not None and self._parent.stdout is not None
        self._parent.stdin.write(json.dumps([os.ttyname(theirs), str(folder), arguments]) + "\n")
        pid = int(self._parent.stdout.readline())  # it has opened the terminal
        os.close(theirs)
        drawn = _all_drawn(ours, pid, react)
        return int(self._parent.stdout.readline()), drawn

    def close(self) -> None:
        """End the process that forks."""
        self._parent.communicate(timeout=60)


def _terminal() -> tuple[int, int]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    return ours, theirs


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"}


def _hanging_up_counts() -> None:
    """As in any terminal; tests that were started under nohup would hand on that it does not."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _all_drawn(ours: int, pid: int, react: React) -> str:
    drawn = ""
    while piece := _read(ours):
        drawn += piece
        react(drawn, pid)
    os.close(ours)
    return drawn


def _read(terminal: int) -> str:
    try:
        return os.read(terminal, 65536).decode(errors="replace")
    except OSError:  # how Linux says that the other end is closed
        return ""


def _fork_for_each_line() -> None:
    import mmseg.datasets
    import mmseg.models  # noqa: F401

    from mmconvnext.cli import running  # noqa: F401
    from mmconvnext.cli.main import main

    gc.freeze()  # as in conftest.py
    for line in sys.stdin:
        terminal, folder, arguments = json.loads(line)
        child = os.fork()
        if child == 0:
            _move_to(terminal)
            os.chdir(folder)
            sys.exit(main(arguments))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _move_to(terminal: str) -> None:
    """Have this process's input and output on ``terminal``, as if it had been started there."""
    os.setsid()
    opened = os.open(terminal, os.O_RDWR)
    print(os.getpid(), flush=True)
    for number in (0, 1, 2):
        os.dup2(opened, number)
    os.close(opened)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[attr-defined]


if __name__ == "__main__":
    _fork_for_each_line()
