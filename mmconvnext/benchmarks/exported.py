"""Exported models beside PyTorch: eager, compiled, in ONNX Runtime, as an archive."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch

from mmconvnext.benchmarks.recipe_model import recipe_model
from mmconvnext.benchmarks.timing import ROUNDS, Row, Table, apart, interleaved
from mmconvnext.export.comparing import Run, compare
from mmconvnext.export.errors import ExportError
from mmconvnext.export.exporting import archive_run, check_packages, onnx_run
from mmconvnext.export.graphs import Graph, build_graph
from mmconvnext.export.preparation import read_preparation
from mmconvnext.export.writing import trace, write_archive, write_onnx
from mmconvnext.inference.compiling import compile_backbones

EAGER = "PyTorch, eager"
COMPILED = "PyTorch, backbone compiled"
ONNX = "ONNX Runtime"
ARCHIVE = "torch.export's archive"
_OPSET = 20
# Title, config, part, height and width.
_TASKS = (
    ("ConvNeXt-T", "segmentation/upernet_convnext_t_ade20k_512.py", "backbone", (512, 512)),
    ("UperNet-T", "segmentation/upernet_convnext_t_ade20k_512.py", "model", (512, 512)),
    ("Cascade Mask R-CNN, T", "detection/cascade_convnext_t_coco.py", "model", (800, 1216)),
)


def measure(rounds: int = ROUNDS) -> list[Table]:
    """A table for each of the backbone, the segmentor and the detector; ``rounds``: how often each
    is timed."""
    return [apart(_table, index, rounds) for index in range(len(_TASKS))]


def _table(index: int, rounds: int) -> Table:
    what, name, part, size = _TASKS[index]
    model, cfg = recipe_model(name)
    task = "detection" if name.startswith("detection") else "segmentation"
    settings = read_preparation(cfg)
    graph = build_graph(model, task, settings, part=part, preprocessing="outside")
    compiled = copy.deepcopy(graph)
    compile_backbones(compiled)
    x = torch.randn(1, 3, *size)
    with tempfile.TemporaryDirectory() as folder:
        runs, rows = _written(graph, task == "segmentation", Path(folder))
    notes = {}
    for runtime, run in runs.items():
        found = compare(run, graph, model, [x.numpy()])
        notes[runtime] = "; ".join(found.failures[:1]) or str(found)

    def with_torch(module: Graph) -> Callable[[], object]:
        def run() -> object:
            with torch.inference_mode():
                return module(x)

        return run

    candidates: dict[str, Callable[[], object]] = {
        EAGER: with_torch(graph),
        COMPILED: with_torch(compiled),
    }
    candidates |= {name: lambda run=run: run(x.numpy()) for name, run in runs.items()}  # type: ignore[misc]
    timed = interleaved(candidates, rounds)
    for row in timed:
        row.note = notes.get(row.name, "")
    title = f"exported: {what}, 1x3x{size[0]}x{size[1]}, float32, folded"
    return Table(title, "s", [*timed, *rows], (COMPILED, ARCHIVE), against=EAGER)


def _written(graph: Graph, many: bool, folder: Path) -> tuple[dict[str, Run], list[Row]]:
    """What runs the graph's files, and a row for each that could not be written."""
    program = trace(graph, batch=many, size=None)
    runs: dict[str, Run] = {}
    missing = []
    try:
        check_packages("onnx")
        write_onnx(program, graph, folder / "model.onnx", {"mmconvnext_version": ""}, _OPSET)
        runs[f"{ONNX} {version('onnxruntime')}"] = onnx_run(folder / "model.onnx")
    except ExportError as error:
        missing.append(Row(ONNX, note=str(error)))
    write_archive(program, folder / "model.pt2", {})
    runs[ARCHIVE] = archive_run(folder / "model.pt2", graph.outputs)
    return runs, missing
