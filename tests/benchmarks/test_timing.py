from __future__ import annotations

import os

import pytest

from mmconvnext.benchmarks.timing import Row, Table, apart, interleaved


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


def test_a_row_may_have_its_own_target_and_peer():
    ours = Row("ours", [4.0])
    mode = Row("ours, lean", [6.0], target=1.5, against="slow")
    rows = [ours, mode, Row("slow", [5.0]), Row("fast", [2.0])]
    table = Table("a step", "s", rows, ("ours", "ours, lean"), target=1.9)
    assert table.peer is not None and table.peer.name == "fast"
    assert (table.ratio(ours), table.target_of(ours), table.met(ours)) == (2.0, 1.9, False)
    assert (table.ratio(mode), table.target_of(mode), table.met(mode)) == (1.2, 1.5, True)
    assert table.met(table.rows[2]) is None  # a peer has no target


def test_a_table_may_name_its_peer_and_needs_it():
    rows = [Row("ours", [1.0]), Row("named", [4.0]), Row("best", [2.0])]
    assert Table("bytes", "B", rows, ("ours",), against="named").ratio(rows[0]) == 0.25
    rows[1] = Row("named", note="is not installed")
    table = Table("bytes", "B", rows, ("ours",), target=0.5, against="named")
    assert table.ratio(rows[0]) is None and table.met(rows[0]) is None


def test_a_limit_is_for_the_median_itself():
    rows = [Row("kept", [0.4], limit=0.5), Row("broken", [0.6], limit=0.5), Row("no", limit=0.5)]
    table = Table("import", "s", rows, ("kept", "broken", "no"))
    assert list(map(table.met, rows)) == [True, False, None]


def test_apart_is_another_process():
    assert apart(os.getpid) not in (os.getpid(), None)
    with pytest.raises(ZeroDivisionError):
        apart(divmod, 1, 0)
