from __future__ import annotations

import pytest

from mmconvnext.benchmarks.timing import Row, Table, interleaved


def test_candidates_take_turns():
    calls: list[str] = []
    rows = interleaved({name: lambda name=name: calls.append(name) for name in "ab"}, 3, warmup=2)
    assert calls == ["a", "a", "b", "b", "a", "b", "b", "a", "a", "b"]
    assert [(row.name, len(row.values)) for row in rows] == [("a", 3), ("b", 3)]


def test_ours_is_compared_with_the_best_of_the_others():
    ours, slow, fast = Row("ours", [1.0, 2.0, 6.0]), Row("slow", [9.0]), Row("fast", [4.0])
    absent = Row("absent", note="is not installed")
    table = Table("a step", "s", [ours, slow, fast, absent], ("ours",))
    assert table.peer is fast
    assert (ours.median, ours.spread) == (2.0, 2.5)
    assert table.ratio(ours) == pytest.approx(0.5)
    assert table.ratio(absent) is None
    assert Table("alone", "s", [ours, absent], ("ours",)).ratio(ours) is None
