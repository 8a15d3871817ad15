"""Exported models are timed beside PyTorch, after they were compared."""

from __future__ import annotations

import json

import pytest

from mmconvnext.benchmarks import exported, inference
from mmconvnext.benchmarks.timing import Row, Table
from mmconvnext.cli.benchmark import main

pytest.importorskip("onnxruntime", reason="no wheels of the export packages for this Python")
TASK = ("UperNet, tiny", "demo/upernet_convnext_shapes.py", "model", (64, 96))


@pytest.mark.slow  # with the other tests' load; the next one compares and times the archive
def test_each_runtime_is_compared_and_timed(monkeypatch):
    monkeypatch.setattr(exported, "_TASKS", (TASK,))
    monkeypatch.setattr(exported, "compile_backbones", lambda module: None)  # takes half a minute
    table = exported._table(0, 2)
    eager, compiled, onnx, archive = table.rows
    assert (eager.name, compiled.name) == ("PyTorch, eager", "PyTorch, backbone compiled")
    assert onnx.name.startswith("ONNX Runtime 1.") and archive.name == "torch.export's archive"
    assert all(len(row.values) == 2 for row in table.rows)
    assert table.ratio(eager) == 1
    for row in (onnx, archive):
        assert row.note.startswith("logits differ by ") and "equal pixels 1" in row.note


def test_a_missing_package_is_told(monkeypatch):
    def missing(to):
        raise exported.ExportError("onnxruntime not installed")

    monkeypatch.setattr(exported, "_TASKS", (TASK,))
    monkeypatch.setattr(exported, "compile_backbones", lambda module: None)
    monkeypatch.setattr(exported, "check_packages", missing)
    rows = {row.name: row for row in exported._table(0, 1).rows}
    assert not rows["ONNX Runtime"].values
    assert rows["ONNX Runtime"].note == "onnxruntime not installed"
    assert rows["torch.export's archive"].values


def test_inference_brings_them_along(monkeypatch, tmp_path, capsys):
    for module in (inference, exported):
        table = Table(module.__name__, "s", [Row("ours", [1.0])], ("ours",))
        monkeypatch.setattr(module, "measure", lambda *args, table=table, **kwargs: [table])
    file = tmp_path / "all.json"
    assert main(["exported", "inference", "--json", str(file)]) == 0
    assert list(json.loads(file.read_text())["suites"]) == ["exported", "inference"]
    assert main(["inference", "--json", str(file)]) == 0
    assert list(json.loads(file.read_text())["suites"]) == ["inference", "exported"]
