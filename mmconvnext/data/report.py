"""What an inspection of a data set found: parts, findings, and whether the set can be used."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

# From best to worst; "note" is worth reading, but nothing is wrong.
STATES = ("ok", "note", "incomplete", "damaged", "missing")
_SHOWN = 3

# Called with what is being read, how many files are done, and how many there are.
Progress = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing to say about a part.

    Args:
        state: one of :data:`STATES` but "ok".
        text: what it is, on one line, without the names.
        names: every file or entry that it concerns.
    """

    state: str
    text: str
    names: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The text with the first three names and how many more there are."""
        if not self.names:
            return self.text
        more = len(self.names) - _SHOWN
        shown = ", ".join(self.names[:_SHOWN])
        return f"{self.text}: {shown}" + (f" and {more:,} more" if more > 0 else "")


@dataclasses.dataclass(frozen=True)
class Part:
    """One folder or file of a data set.

    Args:
        name: its path below the data set's folder.
        expected: what should be in it.
        found: what is in it.
        findings: what there is to say about it.
        archive: name of the official archive that brings what it lacks; empty where it lacks
            nothing, or nothing that an archive should be downloaded for.
    """

    name: str
    expected: str
    found: str
    findings: tuple[Finding, ...] = ()
    archive: str = ""

    @property
    def state(self) -> str:
        """The worst of its findings' states."""
        return max((finding.state for finding in self.findings), key=STATES.index, default="ok")


@dataclasses.dataclass(frozen=True)
class Report:
    """What an inspection found.

    Args:
        root: the folder that holds the parts.
        title: what kind of data set it was taken for.
        parts: its parts, in the order in which to show them.
        classes: names of its classes; empty where the files do not tell.
        official: whether it is the official set, or a part of it, or nothing yet.
    """

    root: Path
    title: str
    parts: tuple[Part, ...]
    classes: tuple[str, ...] = ()
    official: bool = False

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return all(part.state in ("ok", "note") for part in self.parts)

    @property
    def archives(self) -> tuple[str, ...]:
        """Names of the official archives to get, each once."""
        return tuple(dict.fromkeys(part.archive for part in self.parts if part.archive))


def about_names(state: str, one: str, many: str, names: Sequence[str]) -> list[Finding]:
    """A finding about ``names``, or none without names; ``{n}`` in ``many`` is their number."""
    if not names:
        return []
    text = one if len(names) == 1 else many.format(n=f"{len(names):,}")
    return [Finding(state, text, tuple(names))]


def worth_an_archive(absent: int, listed: int, official: int) -> bool:
    """Whether so many files of the full official set are absent that its archive should be got.

    A handful is better told than fetched with gigabytes, and a subset is never completed.
    """
    return listed >= official and absent * 100 > listed
