"""The console beside a progress bar: fewer of mmengine's lines, and all of them above the bar."""

from __future__ import annotations

import logging
import os
import sys
from typing import IO, Any

from rich.console import Console
from rich.file_proxy import FileProxy

_TOLD = "checkpoint_hook"  # the module of mmengine whose lines no bar replaces


class WorthShowing(logging.Filter):
    """Lets warnings, errors and what is said of checkpoints pass; the bar shows the rest."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether ``record`` is shown."""
        return record.levelno >= logging.WARNING or record.module == _TOLD


def console_handlers(logger: logging.Logger) -> list[logging.StreamHandler]:
    """The handlers of ``logger`` that write on the console, not those of its files."""
    consoles = sys.stdout, sys.stderr
    return [
        handler
        for handler in logger.handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream in consoles
    ]


class AboveBar:
    """From :meth:`start` to :meth:`stop`, what is printed or logged appears above the bar.

    The log's files are left as they are and go on receiving everything.

    Args:
        console: where the bar is drawn.
        logger: whose lines are sifted by :class:`WorthShowing`.
    """

    def __init__(self, console: Console, logger: logging.Logger) -> None:
        self._console = console
        self._logger = logger
        self._sifter = WorthShowing()
        self._streams: tuple[Any, Any] | None = None
        self._handlers: list[tuple[logging.StreamHandler, Any]] = []

    def start(self) -> None:
        """Take over standard output, standard error and the log's lines on them."""
        self._streams = before = sys.stdout, sys.stderr
        handlers = console_handlers(self._logger)
        sys.stdout, sys.stderr = (_Passing(self._console, stream) for stream in before)
        for handler in handlers:
            self._handlers.append((handler, handler.stream))
            handler.setStream((sys.stdout, sys.stderr)[before.index(handler.stream)])
            handler.addFilter(self._sifter)

    def stop(self) -> None:
        """Give everything back."""
        for handler, stream in self._handlers:
            handler.setStream(stream)
            handler.removeFilter(self._sifter)
        self._handlers.clear()
        if self._streams is not None:
            sys.stdout, sys.stderr = self._streams
            self._streams = None


class _Passing(FileProxy):
    """rich's stream above a bar, in the process that draws the bar.

    A data worker forked from it has a copy of the bar's lock, perhaps locked for ever, and no bar:
    it writes to the stream itself.
    """

    def __init__(self, console: Console, file: IO[str]) -> None:
        super().__init__(console, file)
        self._drawing = os.getpid()

    def write(self, text: str) -> int:
        """Print the lines of ``text``."""
        if os.getpid() != self._drawing:
            return self.rich_proxied_file.write(text)
        super().write(text)
        return len(text)

    def flush(self) -> None:
        """Print what has no end of line yet."""
        if os.getpid() != self._drawing:
            self.rich_proxied_file.flush()
        else:
            super().flush()
