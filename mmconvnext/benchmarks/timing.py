"""Fair timing: every candidate in the same process, on the same inputs, taking turns."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

ROUNDS = 5  # the least for which a median says something


@dataclass
class Row:
    """One candidate's measurements, in the table's unit, or why there are none."""

    name: str
    values: list[float] = field(default_factory=list)
    note: str = ""

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
    """Candidates measured on the same task; ``ours`` is compared with the best of the others.

    Args:
        title: what was measured, with sizes and types.
        unit: of the values; less is better.
        rows: a candidate each, those that could not run included.
        ours: names of this package's rows.
        target: the ratio that ``ours`` shall not exceed, if there is one.
    """

    title: str
    unit: str
    rows: list[Row]
    ours: tuple[str, ...]
    target: float | None = None

    @property
    def peer(self) -> Row | None:
        """The best of the other candidates; None: none ran."""
        others = [row for row in self.rows if row.values and row.name not in self.ours]
        return min(others, key=lambda row: row.median) if others else None

    def ratio(self, row: Row) -> float | None:
        """``row``'s median over the best other candidate's; None where one of them did not run."""
        peer = self.peer
        return row.median / peer.median if peer is not None and row.values else None


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
