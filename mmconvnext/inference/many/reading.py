"""The pictures of a shard, read one by one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from mmconvnext.data.checks import DataError
from mmconvnext.inference.many.plan import NAMES, Plan, Shard
from mmconvnext.inference.many.sources import PARQUET, PICTURES
from mmconvnext.inference.pictures import PictureError


class Item(NamedTuple):
    """A picture's place in its source.

    Args:
        key: what the source calls it: its path, a member's name, a key column's text.
        file: the Parquet file or tar that it is in; empty for a folder or list of pictures.
        row: its place in that file, or in the list, from 0.
    """

    key: str
    file: str
    row: int


def read_shard(
    plan: Plan, shard: Shard, folder: Path
) -> Iterator[tuple[Item, Path | bytes | PictureError]]:
    """Each picture of ``shard`` in order, or why there is none; a few are in memory at a time.

    Args:
        plan: whose shard it is.
        shard: the shard.
        folder: where the plan lies.

    Raises:
        DataError: the source as a whole is gone.
    """
    row = shard.first
    for key, picture in _pictures(plan, shard, folder):
        yield Item(_utf8(key) or f"{shard.name}:{row}", shard.name, row), picture
        row += 1
    if row != shard.first + shard.count:
        raise DataError(
            f"source {Path(plan.root, shard.name)}: expected {shard.count:,} pictures from "
            f"{shard.first:,} on, found {row - shard.first:,}; it has changed since the run began"
        )


def _pictures(
    plan: Plan, shard: Shard, folder: Path
) -> Iterable[tuple[str, Path | bytes | PictureError]]:
    if plan.kind == PICTURES:
        return _named(plan.root, folder / NAMES, shard)
    if plan.kind == PARQUET:
        from mmconvnext.inference.many.parquet import read_rows

        return read_rows(plan.root, shard.name, plan.column, shard.first, shard.count)
    from mmconvnext.inference.many.tars import read_members

    return read_members(plan.root, shard.name, shard.offset, shard.count)


def _named(root: str, names: Path, shard: Shard) -> Iterator[tuple[str, Path]]:
    if not Path(root).is_dir():  # a disk that is not there is no reason to call pictures unreadable
        raise DataError(f"source {root}: expected the folder of the pictures, found none any more")
    with names.open("rb") as file:
        file.seek(shard.offset)
        for line in islice(file, shard.count):
            name = json.loads(line)
            yield name, Path(root, name)


def _utf8(text: str) -> str:
    """``text`` as tables can hold it: a file's name may be any bytes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
