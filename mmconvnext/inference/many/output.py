"""The folder of results: what is in it, what is finished, what it amounts to."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmconvnext.checkpoints.writing import write_whole
from mmconvnext.inference.many.plan import CONFIG, NAMES, PLAN

PREDICTIONS, ERRORS, SUMMARY = "predictions", "errors", "summary.json"
STAGES = ("read", "prepare", "network", "encode", "write")
_PART = re.compile(r"part-(\d+)\.parquet")
_UNFINISHED = re.compile(r"\.(part-\d+\.parquet|[a-z]+\.(json|jsonl|py))\.[0-9a-f]{32}")
# In the order of removal: the plan last, which tells that the rest is ours.
_FILES = (SUMMARY, CONFIG, NAMES, PLAN)


@dataclasses.dataclass(frozen=True)
class Report:
    """What came of one shard.

    Args:
        shard: its number.
        pictures: how many there were.
        errors: how many of them could not be read or were too small or too large for the network.
        seconds: by stage; of what threads do at the same time the sum. "wall" is what passed.
    """

    shard: int
    pictures: int
    errors: int
    seconds: dict[str, float]


def part(folder: Path, kind: str, number: int) -> Path:
    """The file of a shard's PREDICTIONS or ERRORS."""
    return folder / kind / f"part-{number:06}.parquet"


def finished(folder: Path) -> set[int]:
    """The shards whose predictions are there; their errors, if there are any, then are too."""
    return set(_numbers(folder / PREDICTIONS))


def has_plan(folder: Path) -> bool:
    """Whether a run was begun in ``folder``."""
    return (folder / PLAN).is_file()


def is_free(folder: Path) -> bool:
    """Whether ``folder`` has nothing, or only what a run leaves that was killed before its plan was
    written."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return all(name in _FILES or _UNFINISHED.fullmatch(name) for name in names)


def clear(folder: Path) -> None:
    """Remove a run's results and plan; files of others stay."""
    sweep(folder)
    for kind in (PREDICTIONS, ERRORS):
        for number in list(_numbers(folder / kind)):
            part(folder, kind, number).unlink()
        if (folder / kind).is_dir() and not any((folder / kind).iterdir()):
            (folder / kind).rmdir()
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left unfinished. None may be at work."""
    for place in (folder, folder / PREDICTIONS, folder / ERRORS):
        for path in place.iterdir() if place.is_dir() else ():
            if _UNFINISHED.fullmatch(path.name):
                path.unlink(missing_ok=True)


def abandoned(folder: Path, number: int) -> int:
    """How many have died while they wrote a shard's predictions, since the last :func:`sweep`."""
    path = part(folder, PREDICTIONS, number)
    names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    return sum(name.startswith(f".{path.name}.") for name in names)


def reports(folder: Path) -> Iterator[Report]:
    """What came of each finished shard, in their order, as their files say."""
    from pyarrow import parquet

    from mmconvnext.inference.many.tables import SHARD

    for number in sorted(finished(folder)):
        metadata = parquet.read_metadata(part(folder, PREDICTIONS, number)).metadata
        yield Report(**json.loads(metadata[SHARD]))


def unreadable(folder: Path, most: int) -> list[tuple[str, str]]:
    """Key and reason of the first ``most`` pictures in the tables of errors."""
    from pyarrow import parquet

    found: list[tuple[str, str]] = []
    for number in sorted(_numbers(folder / ERRORS)):
        table = parquet.read_table(part(folder, ERRORS, number), columns=["key", "error"])
        found += [(row["key"], row["error"]) for row in table.slice(0, most).to_pylist()]
        if len(found) >= most:
            break
    return found[:most]


def summarize(folder: Path, run: dict[str, Any]) -> dict[str, Any]:
    """Write SUMMARY: pictures, errors and seconds a stage of all shards, and what is to be said of
    this ``run``.

    Returns:
        What was written.

    Raises:
        OSError: it cannot be written.
    """
    summary: dict[str, Any] = {"shards": 0, "pictures": 0, "errors": 0}
    seconds = dict.fromkeys((*STAGES, "wall"), 0.0)
    for report in reports(folder):
        summary["shards"] += 1
        summary["pictures"] += report.pictures
        summary["errors"] += report.errors
        for stage in seconds:
            seconds[stage] += report.seconds.get(stage, 0.0)
    each = max(1, summary["pictures"])
    summary["milliseconds_per_picture"] = {
        stage: round(1000 * value / each, 4) for stage, value in seconds.items()
    }
    summary["this_run"] = run
    text = json.dumps(summary, indent=1) + "\n"
    write_whole(folder / SUMMARY, lambda file: _write(file, text))
    return summary


def _numbers(folder: Path) -> Iterator[int]:
    for path in folder.iterdir() if folder.is_dir() else ():
        if match := _PART.fullmatch(path.name):
            yield int(match[1])


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
