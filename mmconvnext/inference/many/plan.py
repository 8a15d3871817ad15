"""A source divided into shards of so many pictures: always in the same way, so that whatever is
finished stays finished."""

from __future__ import annotations

import dataclasses
import json
from bisect import bisect_right
from collections.abc import Mapping
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

from mmconvnext.checkpoints.writing import write_whole
from mmconvnext.data.checks import DataError
from mmconvnext.inference.many.sources import PARQUET, PICTURES, Source

PLAN, NAMES, CONFIG = "plan.json", "pictures.jsonl", "config.py"
_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Part:
    """A file with pictures, or with names of pictures.

    Args:
        name: of the file, below the source's root; empty: the list of names beside the plan.
        count: how many pictures it has.
        offsets: the byte at which each of its shards begins; of Parquet files none, which have
            rows.
    """

    name: str
    count: int
    offsets: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Shard:
    """Pictures that follow each other in one file, and are finished together.

    Args:
        number: of the shard, from 0.
        name: as :class:`Part` has it.
        first: the place of its first picture in that file, from 0.
        count: how many pictures.
        offset: the byte of the file at which it begins.
    """

    number: int
    name: str
    first: int
    count: int
    offset: int = 0


@dataclasses.dataclass(frozen=True)
class Facts:
    """What tables say of the model.

    Args:
        task: "detection" or "segmentation".
        masks: whether it finds the objects' masks.
        classes: their names.
        zero_is_ignored: whether a map's values are the labels + 1.
    """

    task: str
    masks: bool
    classes: tuple[str, ...]
    zero_is_ignored: bool


@dataclasses.dataclass(frozen=True)
class Plan:
    """Who finds what, in which pictures, by how many.

    Args:
        kind: of the source, see :class:`~mmconvnext.inference.many.sources.Source`.
        root: its folder.
        column: which column of Parquet files has the pictures.
        shard_size: how many pictures a shard has at most; none has those of two files.
        parts: the files.
        facts: of the model.
        settings: what results depend on.
    """

    kind: str
    root: str
    column: str
    shard_size: int
    parts: tuple[Part, ...]
    facts: Facts
    settings: Mapping[str, Any]

    @cached_property
    def _ends(self) -> list[int]:
        """The number of the first shard after each part."""
        return list(accumulate(-(-part.count // self.shard_size) for part in self.parts))

    @cached_property
    def total(self) -> int:
        """How many pictures there are."""
        return sum(part.count for part in self.parts)

    def __len__(self) -> int:
        """How many shards there are."""
        return self._ends[-1]

    def shard(self, number: int) -> Shard:
        """The shard of that number, from 0."""
        index = bisect_right(self._ends, number)
        part = self.parts[index]
        within = number - (self._ends[index - 1] if index else 0)
        first = within * self.shard_size
        return Shard(
            number,
            part.name,
            first,
            min(self.shard_size, part.count - first),
            part.offsets[within] if part.offsets else 0,
        )


@dataclasses.dataclass(frozen=True)
class Division:
    """Where the pictures of a source's files are.

    Args:
        source: divided.
        shard_size: how many pictures a shard has at most.
        column: which column of Parquet files has the pictures.
        parts: the files; none yet for a folder or list of pictures.
    """

    source: Source
    shard_size: int
    column: str = ""
    parts: tuple[Part, ...] = ()


def divide(source: Source, shard_size: int, column: str | None = None) -> Division:
    """Look into the files of ``source``; nothing is written.

    Args:
        source: to divide.
        shard_size: how many pictures a shard has at most.
        column: of Parquet files; None takes the likeliest.

    Raises:
        DataError: a file cannot be read, has no such column, or nothing is in any of them.
    """
    root, names = source.root, source.files
    if source.kind == PICTURES:
        return Division(source, shard_size)
    if source.kind == PARQUET:
        from mmconvnext.inference.many.parquet import count_rows, find_column

        chosen = find_column(source, column)
        parts = tuple(Part(name, count_rows(root, name, chosen)) for name in names)
        division = Division(source, shard_size, chosen, parts)
    else:
        from mmconvnext.inference.many.tars import index_tar

        parts = tuple(index_tar(root, name, shard_size) for name in names)
        division = Division(source, shard_size, parts=parts)
    if not sum(part.count for part in parts):
        raise DataError(
            f"source {Path(root, names[0])}: expected pictures in it, or in the others, found none"
        )
    return division


def begin(
    folder: Path, division: Division, facts: Facts, settings: Mapping[str, Any], config: str
) -> Plan:
    """Write the plan into ``folder``, and before it what workers read beside it: the names of the
    pictures of a folder or list, and the ``config``'s text.

    Raises:
        OSError: something cannot be written.
    """
    source, parts = division.source, division.parts
    if source.kind == PICTURES:
        parts = (_write_names(source, folder / NAMES, division.shard_size),)
    write_whole(folder / CONFIG, lambda file: _write_text(file, config))
    plan = Plan(
        source.kind, source.root, division.column, division.shard_size, parts, facts, settings
    )
    text = json.dumps({"format": _FORMAT, **dataclasses.asdict(plan)}, indent=1)
    write_whole(folder / PLAN, lambda file: _write_text(file, text))
    return plan


def read_plan(folder: Path) -> Plan:
    """The plan in ``folder``.

    Raises:
        DataError: it has none, or another version's.
    """
    path = folder / PLAN
    try:
        content = json.loads(path.read_bytes())
        if content.pop("format") != _FORMAT:
            raise DataError(f"{path}: of another version of this package; begin with a new folder")
        parts = tuple(Part(p["name"], p["count"], tuple(p["offsets"])) for p in content["parts"])
        facts = content["facts"]
        content["facts"] = Facts(**{**facts, "classes": tuple(facts["classes"])})
        return Plan(**{**content, "parts": parts})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: expected the plan of an earlier run, found none") from error


def _write_names(source: Source, path: Path, shard_size: int) -> Part:
    offsets: list[int] = []
    count = 0

    def write(unfinished: Path) -> None:
        nonlocal count
        with unfinished.open("wb") as file:
            for name in source.pictures():
                if count % shard_size == 0:
                    offsets.append(file.tell())
                file.write(json.dumps(name).encode() + b"\n")
                count += 1

    write_whole(path, write)
    return Part("", count, tuple(offsets))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")
