"""Files that get their name when they are whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmconvnext.cli.processes import rank


@contextmanager
def finished_file(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write to, which becomes ``path`` only once everything went well.

    Of several processes the first writes it; the others leave it alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem}.unfinished{path.suffix}")
    if rank() > 0:
        yield unfinished
        return
    try:
        yield unfinished
        if unfinished.exists():
            unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
