"""From a trained model to a file that has been compared with it."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from mmconvnext.export.comparing import Difference, Outputs, Run, compare
from mmconvnext.export.errors import DiffersError, ExportError
from mmconvnext.export.graphs import Graph, build_graph
from mmconvnext.export.preparation import Preparation, read_preparation
from mmconvnext.export.writing import trace, write_archive, write_onnx
from mmconvnext.inference.predictor import Predictor
from mmconvnext.version import __version__

_TOLD = 3  # differences, in an error
_NEEDED = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "exported": ()}


@dataclasses.dataclass(frozen=True)
class Export:
    """What is exported, and how.

    Args:
        to: 'onnx', or 'exported': an archive of torch.export.
        part: 'model' or 'backbone'.
        preprocessing: 'inside': pictures go in as they are; 'outside': they were resized and
            normalised before.
        size: height and width of what goes in; None: any.
        opset: version of ONNX' operators.
    """

    to: str = "onnx"
    part: str = "model"
    preprocessing: str = "inside"
    size: tuple[int, int] | None = None
    opset: int = 20


def check_packages(to: str) -> None:
    """Raise :class:`ExportError` where a package is missing that writing ``to`` needs."""
    missing = [name for name in _NEEDED[to] if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(
            f"--to {to}: {', '.join(missing)} not installed; pip install 'mmconvnext[export]'"
        )


def export(
    predictor: Predictor, cfg: Config, path: Path, wanted: Export, pictures: Sequence[np.ndarray]
) -> tuple[Graph, dict[str, Any], Difference]:
    """Write ``path``, unless what is written differs from the model.

    Args:
        predictor: of the model, nothing folded, on the CPU.
        cfg: that it is of.
        path: of the file; it is replaced if it is there.
        wanted: what is exported, and how.
        pictures: to compare on: (H, W, 3) uint8 RGB.

    Returns:
        What was exported, the file's metadata, and how far it is from the model.

    Raises:
        ExportError: it cannot be exported.
        DiffersError: what was written is not the model, and was removed.
        OSError: the file cannot be written.
    """
    check_packages(wanted.to)
    settings = read_preparation(cfg)
    graph = build_graph(
        predictor.model,
        predictor.task,
        settings,
        part=wanted.part,
        preprocessing=wanted.preprocessing,
    )
    many = wanted.part == "backbone" or predictor.task == "segmentation"
    program = trace(graph, batch=many, size=wanted.size)
    metadata = _metadata(predictor, settings, wanted)
    inputs = _inputs(graph, pictures, many and wanted.size is None)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        file = Path(folder) / path.name
        if wanted.to == "onnx":
            write_onnx(program, graph, file, metadata, wanted.opset)
        else:
            write_archive(program, file, metadata)
        run = onnx_run(file) if wanted.to == "onnx" else archive_run(file, graph.outputs)
        difference = compare(run, graph, predictor.model, inputs)
        if difference.failures:
            raise DiffersError(
                "the exported file finds something else than PyTorch, it was not kept: "
                f"{'; '.join(difference.failures[:_TOLD])}"
            )
        _move(Path(folder), path)
    return graph, metadata, difference


def onnx_run(path: Path) -> Run:
    """What runs an ONNX file in ONNX Runtime, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    names = [output.name for output in session.get_outputs()]

    def run(value: np.ndarray) -> Outputs:
        return dict(zip(names, session.run(names, {entry.name: value}), strict=True))

    return run


def archive_run(path: Path, names: Sequence[str]) -> Run:
    """What runs an archive of torch.export whose outputs have these names."""
    module = torch.export.load(path).module()

    def run(value: np.ndarray) -> Outputs:
        with torch.no_grad():
            found = module(torch.from_numpy(value))
        return {name: tensor.numpy() for name, tensor in zip(names, found, strict=True)}

    return run


def _metadata(predictor: Predictor, settings: Preparation, wanted: Export) -> dict[str, Any]:
    whole = wanted.part == "model"
    return {
        "task": predictor.task if whole else "backbone",
        "classes": list(predictor.legend.classes),
        "palette": [list(color) for color in predictor.legend.palette],
        "preprocessing": {"where": wanted.preprocessing, **dataclasses.asdict(settings)},
        **(_of_task(predictor.model) if whole else {}),
        "mmconvnext_version": __version__,
        "torch_version": torch.__version__,
    }


def _of_task(model: Any) -> dict[str, Any]:
    if hasattr(model, "roi_head"):
        cfg = model.roi_head.test_cfg
        return {"score_threshold": cfg.score_thr, "mask_threshold": cfg.get("mask_thr_binary")}
    return {"test_cfg": dict(model.test_cfg), "align_corners": model.align_corners}


def _inputs(graph: Graph, pictures: Sequence[np.ndarray], batches: bool) -> list[np.ndarray]:
    """``pictures`` as the graph takes them; in batches the mirrored picture comes along."""
    inputs = []
    for picture in pictures:
        batch = np.stack([picture, picture[:, ::-1]] if batches else [picture])
        inputs.append(graph.from_pictures(torch.from_numpy(batch)).numpy())
    return inputs


def _move(folder: Path, path: Path) -> None:
    """Move ``path`` out of ``folder``, after what it refers to."""
    for file in sorted(folder.iterdir(), key=lambda file: file.name == path.name):
        with file.open("rb+") as opened:
            os.fsync(opened.fileno())
        file.replace(path.with_name(file.name))
