"""A terminal for a command: a pty of 100 columns, and what was drawn on it."""

from __future__ import annotations

import fcntl
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


def on_terminal(
    arguments: list[str],
    folder: Path,
    react: Callable[[str, subprocess.Popen], None] = lambda drawn, process: None,
) -> tuple[int, str]:
    """Run ``mmconvnext`` with ``arguments`` on a terminal.

    Args:
        arguments: the command and its options.
        folder: the current folder.
        react: called with all that was drawn so far, whenever there is more.

    Returns:
        The exit status and all that was drawn, control characters included.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    code = "import sys; from mmconvnext.cli.main import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"},
        start_new_session=True,
        preexec_fn=_hanging_up_counts,
    )
    os.close(theirs)
    drawn = ""
    while piece := _read(ours):
        drawn += piece
        react(drawn, process)
    os.close(ours)
    return process.wait(60), drawn


def _hanging_up_counts() -> None:
    """As in any terminal; tests that were started under nohup would hand on that it does not."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _read(terminal: int) -> str:
    try:
        return os.read(terminal, 65536).decode(errors="replace")
    except OSError:  # how Linux says that the other end is closed
        return ""
