"""Fair timing: every candidate in the same process, on the same inputs, taking turns."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

import torch

T = TypeVar("T")
P = ParamSpec("P")

ROUNDS = 5  # the least for which a median says something


@dataclass
class Row:
    """One candidate's measurements, in the table's unit, or why there are none.

    Args:
        name: the candidate.
        values: its measurements.
        note: why there are none, or what else is to say.
        target: the ratio it shall not exceed, where it has another than its table.
        against: name of the candidate its ratio is taken to, where its table compares with another.
        limit: what it shall not exceed itself, in the table's unit.
    """

    name: str
    values: list[float] = field(default_factory=list)
    note: str = ""
    target: float | None = None
    against: str = ""
    limit: float | None = None

    @property
    def median(self) -> float:
        """The middle one of the measurements."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """(largest - smallest) / median."""
        return (max(self.values) - min(self.values)) / self.median


@dataclass
class Table:
    """Candidates measured on the same task; each is compared with the best that is not ``ours``.

    Args:
        title: what was measured, with sizes and types.
        unit: of the values; less is better.
        rows: a candidate each, those that could not run included.
        ours: names of this package's rows, and of others that are no peers.
        target: the ratio that the first of ``ours`` shall not exceed, if there is one.
        against: name of the candidate to compare with. Default: the best.
    """

    title: str
    unit: str
    rows: list[Row]
    ours: tuple[str, ...]
    target: float | None = None
    against: str = ""

    @property
    def peer(self) -> Row | None:
        """The candidate the others are compared with; None: it did not run."""
        if self.against:
            return self._ran(self.against)
        others = [row for row in self.rows if row.values and row.name not in self.ours]
        return min(others, key=lambda row: row.median) if others else None

    def ratio(self, row: Row) -> float | None:
        """``row``'s median over its peer's; None where one of them did not run."""
        peer = self._ran(row.against) if row.against else self.peer
        return row.median / peer.median if peer is not None and row.values else None

    def target_of(self, row: Row) -> float | None:
        """The ratio that ``row`` shall not exceed, if there is one."""
        first = bool(self.ours) and row.name == self.ours[0]
        return row.target if row.target is not None or not first else self.target

    def met(self, row: Row) -> bool | None:
        """Whether ``row`` keeps its limit or target; None: it has none, or was not compared."""
        found, most = self.ratio(row), self.target_of(row)
        if row.limit is not None:
            found, most = (row.median if row.values else None), row.limit
        return None if found is None or most is None else found <= most

    def _ran(self, name: str) -> Row | None:
        return next((row for row in self.rows if row.name == name and row.values), None)


def apart(measure: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``measure``, a function of a module, returns in a process of its own: at the end of a
    long one candidates take up to twice the time, and not all of them alike."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(measure, *args, **kwargs).result()


def interleaved(
    candidates: Mapping[str, Callable[[], object]], rounds: int = ROUNDS, warmup: int = 1
) -> list[Row]:
    """Run each candidate once a round, in an order that turns, and time it; seconds.

    Args:
        candidates: functions without arguments; what they return is thrown away.
        rounds: how often each is timed.
        warmup: how often each is run before that.
    """
    for run in candidates.values():
        for _ in range(warmup):
            run()
    rows = {name: Row(name) for name in candidates}
    order = list(candidates)
    for _ in range(rounds):
        for name in order:
            rows[name].values.append(_seconds(candidates[name]))
        order = [*order[1:], order[0]]
    return list(rows.values())


def _seconds(run: Callable[[], object]) -> float:
    gc.collect()
    _wait()
    start = time.perf_counter()
    run()
    _wait()
    return time.perf_counter() - start


def _wait() -> None:
    """CUDA works while Python goes on."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
