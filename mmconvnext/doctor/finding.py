"""One line of the doctor's report."""

from __future__ import annotations

import dataclasses
from pathlib import Path

GREEN, YELLOW, RED = "green", "yellow", "red"
STATES = (GREEN, YELLOW, RED)  # from best to worst


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a check found.

    Args:
        state: one of :data:`STATES`: fine, fine with a limit, broken.
        found: what is there, on one line. The home folder is written ``~``: reports are pasted.
        mend: the command that mends it; empty where there is nothing to mend.
    """

    state: str
    found: str
    mend: str = ""

    def __post_init__(self) -> None:
        for name in ("found", "mend"):
            object.__setattr__(self, name, one_line(getattr(self, name)))


def one_line(text: str, longest: int = 300) -> str:
    """``text`` on one line, cut where it is too long, without the home folder's name."""
    home = str(Path.home())
    if len(home) > 1:  # a service may live in /
        text = text.replace(home, "~")
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def described(error: BaseException) -> str:
    """``Type: message``, the message's first line."""
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
