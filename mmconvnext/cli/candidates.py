"""What may stand for the last word of an unfinished ``mmconvnext`` command line.

Read off the commands' own parsers. Nothing here brings in PyTorch: a person waits at the Tab key.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("mmconvnext", "mmdet", "mmseg")  # whose configs go by package::path
_SIZES = ("atto", "femto", "pico", "nano", "tiny", "small", "base", "large", "xlarge")
_V2_SIZES = ("atto", "femto", "pico", "nano", "tiny", "base", "large", "huge")
BACKBONES = (
    *(f"convnext_{size}" for size in _SIZES),
    *(f"convnextv2_{size}" for size in _V2_SIZES),
    *(f"dinov3_convnext_{size}" for size in "tsbl"),
)


class Candidate(NamedTuple):
    """A whole word, and what it means."""

    value: str
    what: str = ""


def candidates(words: list[str]) -> list[Candidate]:
    """What begins as the last of ``words`` does and may stand there.

    Args:
        words: of the command line after ``mmconvnext``; the last is what is being typed, perhaps
            still empty.
    """
    from mmconvnext.cli.main import COMMANDS

    *before, word = words
    if not before:
        found = [Candidate(name, what) for name, (_, what, _) in COMMANDS.items()]
        found += [Candidate("--help"), Candidate("--version")] if word.startswith("-") else []
    elif before[0] not in COMMANDS:
        found = []
    else:
        parser = import_module(COMMANDS[before[0]][0]).parser()
        found = list(_within(parser, before[1:], word))
    return [candidate for candidate in found if candidate.value.startswith(word)]


def _within(parser: argparse.ArgumentParser, before: list[str], word: str) -> Iterator[Candidate]:
    option, equals, value = word.partition("=")
    if equals and option in parser._option_string_actions:
        for found in _values(parser._option_string_actions[option], value):
            yield found._replace(value=f"{option}={found.value}")
        return
    if word.startswith("-"):
        yield from _options(parser)
        return
    action = _expecting(parser, before)
    if action is not None:
        yield from _values(action, word)


def _options(parser: argparse.ArgumentParser) -> Iterator[Candidate]:
    for action in parser._actions:
        if action.option_strings and action.help != argparse.SUPPRESS:
            yield Candidate(action.option_strings[-1], (action.help or "").replace("%%", "%"))


def _expecting(parser: argparse.ArgumentParser, before: list[str]) -> argparse.Action | None:
    """The option or argument that the next word is a value of."""
    positionals = [action for action in parser._actions if not action.option_strings]
    pending, taken, index = None, 0, 0
    for word in before:
        if word.startswith("-"):
            pending, taken = parser._option_string_actions.get(word), 0
        elif pending is not None and taken < _most(pending):
            taken += 1
        else:
            pending = None
            index += index < len(positionals) and _most(positionals[index]) == 1
    if pending is not None and taken < _most(pending):
        return pending
    return positionals[index] if index < len(positionals) else None


def _most(action: argparse.Action) -> float:
    """How many words an option takes at most."""
    if isinstance(action.nargs, int):
        return action.nargs
    return float("inf") if action.nargs in ("+", "*") else 1


def _values(action: argparse.Action, word: str) -> Iterator[Candidate]:
    if action.choices is not None:
        yield from (Candidate(str(choice)) for choice in action.choices)
        return
    if isinstance(action.metavar, str) and action.nargs != 0:
        for name in action.metavar.split("|"):
            yield from _meant_by(name, word)


def _meant_by(metavar: str, word: str) -> Iterator[Candidate]:
    if metavar in KINDS:
        return KINDS[metavar](word)
    if metavar.endswith(("DIR", "ROOT")):
        return _folders(word)
    return _files(word) if metavar[0].isupper() else iter((Candidate(metavar),))


def _files(word: str, suffixes: tuple[str, ...] = ()) -> Iterator[Candidate]:
    folder, _, start = word.rpartition("/")
    shown = f"{folder}/" if "/" in word else ""
    yield from _entries(Path(shown or ".").expanduser(), shown, start, suffixes)


def _folders(word: str) -> Iterator[Candidate]:
    return (found for found in _files(word) if found.value.endswith("/"))


def _configs(word: str) -> Iterator[Candidate]:
    package, colons, path = word.partition("::")
    if not colons:
        yield from (Candidate(f"{name}::", "configs of the package") for name in PACKAGES)
        yield from _files(word, (".py",))
        return
    from mmconvnext.compat.config_root import config_root

    try:
        root = config_root(package)
    except (ImportError, ValueError, FileNotFoundError):
        return
    folder, slash, start = path.rpartition("/")
    yield from _entries(root / folder, f"{package}::{folder}{slash}", start, (".py",))


def _entries(
    folder: Path, shown: str, start: str, suffixes: tuple[str, ...]
) -> Iterator[Candidate]:
    """What lies in ``folder``, itself written as ``shown``; hidden entries if ``start`` is."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith((".", "_")) and not start.startswith(entry.name[0]):
            continue
        if entry.is_dir():
            yield Candidate(f"{shown}{entry.name}/")
        elif not suffixes or entry.name.endswith(suffixes):
            yield Candidate(f"{shown}{entry.name}")


def _weights(word: str) -> Iterator[Candidate]:
    from mmconvnext.checkpoints.zoo import WEIGHTS

    yield from (Candidate(name, entry.licence) for name, entry in WEIGHTS.items())
    yield from _files(word, (".pth", ".pt", ".safetensors", ".bin"))


def _nothing(word: str) -> Iterator[Candidate]:
    return iter(())


# By metavar, or the parts of one between bars. Of the others, those that end in DIR or ROOT mean
# folders, those that begin with a capital files; the rest are values themselves.
KINDS: dict[str, Callable[[str], Iterator[Candidate]]] = {
    "CONFIG": _configs,
    "CHECKPOINT": _weights,
    "SRC": _weights,
    "NAME": lambda word: map(Candidate, BACKBONES),
    "cuda[:N]": lambda word: iter((Candidate("cuda"),)),
    **dict.fromkeys(("KEY=VALUE", "N", "WORD", "SUITE", "FAMILY", "COLUMN", "HOST:PORT"), _nothing),
}
