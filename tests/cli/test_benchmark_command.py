from __future__ import annotations

import json

from mmconvnext.cli.benchmark import main


def test_memory_is_counted_printed_and_written(tmp_path, capsys):
    file, page = tmp_path / "all.json", tmp_path / "page.md"
    assert main(["memory", "--json", str(file), "--page", str(page)]) == 0
    assert "kept for the backward pass" in capsys.readouterr().out
    found = json.loads(file.read_text())
    (table,) = found["suites"]["memory"]
    kept = {name: values[0] for name, values in table["values"].items() if values}
    assert table["peer"] in ("timm", "torchvision")
    # Issue 6's targets, to timm's.
    for mode, target in (("activation", 0.62), ("mlp", 0.31), ("block", 0.14)):
        assert kept[f"mmconvnext, recompute={mode!r}"] <= target * kept["timm"]
    text = page.read_text()
    assert found["versions"]["torch"] in text and found["machine"] in text
    assert "| timm | 543.8 MiB |  | 1.00 |" in text


def test_an_unknown_suite_is_refused(capsys):
    assert main(["memroy"]) == 2
    assert "unknown suite 'memroy'; one of backbone, memory, head" in capsys.readouterr().err
