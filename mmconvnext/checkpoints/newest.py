"""Which of a run's checkpoints to go on from: the newest that is whole."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from mmconvnext.checkpoints.reading import CheckpointError
from mmconvnext.checkpoints.whole_files import POINTER, verify

_USUAL = re.compile(r"(?:iter|epoch)_(\d+)\.pth")


@dataclass(frozen=True)
class Newest:
    """What :func:`newest_whole` found.

    Attributes:
        path: of the newest whole checkpoint; None if there is none.
        passed_over: a line for each newer one: the file, what is wrong, what is taken instead.
    """

    path: str | None
    passed_over: list[str] = field(default_factory=list)


def newest_whole(folder: Path) -> Newest:
    """The newest whole checkpoint of the run in the work directory ``folder``.

    First comes what ``last_checkpoint`` names, since files of an earlier run may lie there; then
    the others of the name ``iter_N.pth`` or ``epoch_N.pth``, or of that file's kind, in ``folder``
    and beside it, by the time of their writing. Another storage's (``s3://``) is taken unseen.
    """
    wrong: list[str] = []
    for candidate in _candidates(folder):
        if isinstance(candidate, Path):
            try:
                verify(candidate)
            except CheckpointError as error:
                wrong.append(str(error))
                continue
        instead = f"; taking {Path(str(candidate)).name} instead"
        return Newest(str(candidate), [line + instead for line in wrong])
    return Newest(None, [f"{line}; there is no other" for line in wrong])


def _candidates(folder: Path) -> list[Path | str]:
    named = _named(folder)
    if isinstance(named, str):
        return [named]
    kinds = [_USUAL] if named is None else [_USUAL, *_kind(named.name)]
    places = {folder.resolve(), *([named.parent.resolve()] if named is not None else [])}
    others = [
        (file.stat().st_mtime_ns, int(match[1]), file)
        for place in places
        if place.is_dir()
        for file in place.iterdir()
        for match in [next(filter(None, (kind.fullmatch(file.name) for kind in kinds)), None)]
        if match and (named is None or file.resolve() != named.resolve())
    ]
    first: list[Path | str] = [named] if named is not None else []
    return first + [file for _, _, file in sorted(others, reverse=True)]


def _named(folder: Path) -> Path | str | None:
    """What ``last_checkpoint`` names: a file, or another storage's address. In a folder that was
    copied or moved it names the original, and the copy is meant."""
    pointer = folder / POINTER
    text = pointer.read_text(encoding="utf-8", errors="replace") if pointer.is_file() else ""
    text = text.strip().strip("\0")
    if not text:
        return None
    if "://" in text:
        return text
    here = folder / Path(text).name
    return here if here.exists() else Path(text)


def _kind(name: str) -> list[re.Pattern[str]]:
    """Matches the names that differ from ``name`` in the number that stands last in it alone."""
    numbers = list(re.finditer(r"\d+", name))
    if not numbers:
        return []
    last = numbers[-1]
    start, end = re.escape(name[: last.start()]), re.escape(name[last.end() :])
    return [re.compile(rf"{start}(\d+){end}")]
