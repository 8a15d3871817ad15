from __future__ import annotations

from pathlib import Path

import pytest

from mmconvnext.benchmarks import start

TRAIN = """
import pathlib, sys, time
print("reading", *sys.argv[1:], flush=True)
print("Iter(train) [  1/120]  loss: 1", flush=True)
time.sleep(100)
pathlib.Path("reached").touch()
"""


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for tools/train.py."""
    (tmp_path / "tools").mkdir()
    monkeypatch.setattr(start, "config_root", lambda: tmp_path / "configs")
    return tmp_path / "tools" / "train.py"


def test_training_is_timed_to_its_first_iteration_and_ended(tool: Path) -> None:
    tool.write_text(TRAIN)
    table = start.training(2)
    assert [row.name for row in table.rows] == ["detection demo", "segmentation demo"]
    for row in table.rows:
        assert len(row.values) == 2 and all(0 < value < 50 for value in row.values)
        assert row.limit == 8.0


def test_a_training_that_fails_is_an_error_with_its_last_words(tool: Path) -> None:
    tool.write_text("print('first'); raise SystemExit('no such data')")
    with pytest.raises(RuntimeError, match="ended before an iteration: no such data"):
        start.training(1)


def test_imports_take_turns_and_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "_MODULES", (start.OURS, "json", "no_such.package"))
    monkeypatch.setattr(start, "_import", lambda name: iter(range(9)).__next__)
    rows = start.importing(2).rows
    assert [row.values for row in rows] == [[1, 2], [1, 2], []]  # 0 is the warm-up's
    assert [row.limit for row in rows] == [0.5, None, None]
    assert rows[2].note == "is not installed"


def test_an_import_is_timed_in_a_process_of_its_own() -> None:
    assert 0 < start._import("json")() < 50
