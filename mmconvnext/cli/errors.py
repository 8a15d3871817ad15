"""What a user sees of an error: one line on stderr, an exit status, a traceback if asked for."""

from __future__ import annotations

import argparse
import difflib
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import NoReturn

from mmconvnext.cli.processes import rank, world_size

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
STOPPED = 75  # by a signal, with a checkpoint: mmconvnext/hooks/preemption.py leaves with it
_LONGEST_LINE = 600
_TRACEBACK = "Traceback (most recent call last)"


class UsageError(Exception):
    """The command cannot start: the message is the whole line to show, and the exit status is 2."""


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, raised as :class:`UsageError`."""

    def error(self, message: str) -> NoReturn:
        """Raise ``message`` as :class:`UsageError` instead of printing the usage."""
        raise UsageError(f"{message} (`{self.prog} -h` lists the options)")


def report_errors(prog: str, run: Callable[[], None], *, debug: bool) -> int:
    """Call ``run`` and turn what it raises into one line on stderr; returns the exit status.

    Bad input (:class:`UsageError`, errors of data, checkpoints and adaptation) gives 2, an
    interrupt 130, a training that left for a signal 75 (it has said so), anything else 1.
    ``debug`` prints the traceback before the line. One process of several names itself; what all
    of them raise (an interrupt, and errors that say so by ``raised_in_all``) the first alone says.
    """
    try:
        run()
        return DONE
    except SystemExit as leaving:
        if leaving.code != STOPPED:
            raise
        return STOPPED
    except (KeyboardInterrupt, Exception) as error:
        # Here, since what only prints help shall not wait for PyTorch.
        from mmconvnext.adapt.errors import AdaptError
        from mmconvnext.checkpoints.reading import CheckpointError
        from mmconvnext.data.checks import DataError

        if debug:
            traceback.print_exc()
        alike = isinstance(error, KeyboardInterrupt) or getattr(error, "raised_in_all", False)
        if isinstance(error, KeyboardInterrupt):
            line, status = "interrupted", INTERRUPTED
        elif isinstance(error, (UsageError, DataError, CheckpointError, AdaptError)):
            line, status = _original(error), BAD_INPUT
        else:
            hint = "" if debug else "; --debug shows the traceback"
            line, status = f"{describe(error)}{hint}", FAILED
    if not alike or rank() == 0:
        who = f"rank {rank()}: " if world_size() > 1 else ""
        print(f"{prog}: {who}{line}", file=sys.stderr)
    return status


def describe(error: BaseException) -> str:
    """``Type: message`` on one line; of an error passed on from a worker, the original one."""
    message = str(error)
    if _TRACEBACK in message:
        return _one_line(message.strip().splitlines()[-1])
    name = type(error).__name__
    if not message and (frames := traceback.extract_tb(error.__traceback__)):
        last = frames[-1]
        message = f"{last.filename}, line {last.lineno}: {last.line}"
    return _one_line(f"{name}: {message}" if message else name)


def _original(error: BaseException) -> str:
    """The message on one line; of an error passed on from a worker, the original one's."""
    line = describe(error)
    if _TRACEBACK in str(error):
        return line.partition(": ")[2]
    return _one_line(str(error))


def near(wanted: str, known: Mapping[str, str]) -> str:
    """``; did you mean a, b?`` for the keys of ``known`` close to ``wanted``, by their values."""
    close = difflib.get_close_matches(wanted, known, n=3)
    return f"; did you mean {', '.join(known[key] for key in close)}?" if close else ""


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 1] + "…"
