from __future__ import annotations

import json

from mmconvnext.benchmarks import memory, start
from mmconvnext.benchmarks.timing import Row, Table
from mmconvnext.cli.benchmark import main


def test_memory_is_counted_printed_and_written(tmp_path, capsys):
    file, page = tmp_path / "all.json", tmp_path / "page.md"
    assert main(["memory", "--json", str(file), "--page", str(page)]) == 0
    assert "kept for the backward pass" in capsys.readouterr().out
    found = json.loads(file.read_text())
    (table,) = found["suites"]["memory"]["tables"]
    rows = {row["name"]: row for row in table["rows"]}
    kept = {name: row["values"][0] for name, row in rows.items() if row["values"]}
    assert table["peer"] == "timm"
    # Issue 6's targets, to timm's.
    for mode, target in (("activation", 0.62), ("mlp", 0.31), ("block", 0.14)):
        name = f"mmconvnext, recompute={mode!r}"
        assert kept[name] <= target * kept["timm"]
        assert rows[name]["target"] == target and rows[name]["met"] is True
    text = page.read_text()
    assert found["versions"]["torch"] in text and found["machine"] in text
    assert "| timm | 543.8 MiB |  | 1.000 |  |  |" in text
    assert "0.31: met" in text and "look" not in text


def test_an_unknown_suite_is_refused(capsys):
    assert main(["memroy"]) == 2
    assert "unknown suite 'memroy'; one of backbone, memory, head" in capsys.readouterr().err


def test_targets_are_marked_and_few_rounds_are_called_a_look(tmp_path, capsys, monkeypatch):
    ours, lean = Row("ours", [3.0, 3.0]), Row("lean", [4.5, 4.5], target=1.0, against="slow")
    late, absent = Row("late", [9.0], limit=8.0), Row("absent", note="is not installed")
    rows = [ours, lean, Row("fast", [4.0]), Row("slow", [5.0]), absent]
    tables = [
        Table("a step", "s", rows, ("ours", "lean"), target=0.7),
        Table("a start", "s", [late], ("late",)),
        Table("alone", "s", [Row("ours", [1.0]), absent], ("ours",), target=0.5),
    ]
    monkeypatch.setattr(start, "measure", lambda rounds: tables)
    page = tmp_path / "page.md"
    assert main(["start", "--rounds", "2", "--page", str(page)]) == 0
    assert "MISSED" in capsys.readouterr().out
    text = page.read_text()
    assert "This is a look: medians of 2, fewer than the 5" in text
    assert "**a step.** Ratio: to fast." in text
    assert "| ours | 3 s | 0% | 0.750 | 0.7: MISSED |  |" in text
    assert "| lean | 4.5 s | 0% | 0.900 of slow | 1: met |  |" in text
    assert "| late | 9 s |  |  | 8 s: MISSED |  |" in text
    assert "**alone.** No peer ran." in text
    assert "| ours | 1 s |  |  | 0.5: not measured |  |" in text
    assert "| absent |  |  |  |  | is not installed |" in text


def test_the_authors_code_and_the_data_have_to_be_there(tmp_path, capsys):
    assert main(["memory", "--authors", str(tmp_path)]) == 2
    assert "expected a checkout of facebookresearch/ConvNeXt" in capsys.readouterr().err
    assert main(["pipeline", "--data", str(tmp_path)]) == 2
    assert "found neither" in capsys.readouterr().err


def test_going_on_keeps_the_other_suites(tmp_path, capsys, monkeypatch):
    file, page = tmp_path / "all.json", tmp_path / "page.md"
    asked = ["--rounds", "5", "--json", str(file), "--page", str(page)]

    def measured(name, *values):
        row = Row("ours", list(values), target=0.5, against="theirs", note="a note")
        tables = [Table(name, "s", [row, Row("theirs", [4.0])], ("ours",), against="theirs")]
        return lambda *args, **kwargs: tables

    monkeypatch.setattr(start, "measure", measured("a start", 1.0, 2.0, 3.0))
    monkeypatch.setattr(memory, "measure", measured("a memory", 1.0))
    assert main(["memory", "start", *asked]) == 0
    before = page.read_text()
    assert "| ours | 2 s | 100% | 0.500 of theirs | 0.5: met | a note |" in before
    monkeypatch.setattr(start, "measure", measured("a start", 3.0))
    assert main(["start", "--go-on", *asked]) == 0
    expected = before.replace(
        "2 s | 100% | 0.500 of theirs | 0.5: met", "3 s |  | 0.750 of theirs | 0.5: MISSED"
    )
    assert page.read_text() == expected
    assert list(json.loads(file.read_text())["suites"]) == ["memory", "start"]


def test_going_on_with_what_was_measured_otherwise_is_refused(tmp_path, capsys, monkeypatch):
    file = tmp_path / "all.json"
    monkeypatch.setattr(start, "measure", lambda rounds: [Table("", "s", [], ())])
    asked = ["start", "--go-on", "--json", str(file)]
    assert main(["start", "--go-on"]) == 2
    assert "--go-on needs --json FILE" in capsys.readouterr().err
    assert main(asked) == 2
    assert "all.json: No such file" in capsys.readouterr().err
    file.write_text('{"suites": []}')
    assert main(asked) == 2
    assert "expected what --json writes" in capsys.readouterr().err
    assert main(["start", "--json", str(file)]) == 0
    kept = file.read_text()
    assert main([*asked, "--rounds", "9"]) == 2
    assert "rounds: expected 9 as now, found 5" in capsys.readouterr().err
    assert file.read_text() == kept
