"""Graphs as files: an ONNX model, or an archive of torch.export."""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from mmconvnext.export.errors import ExportError
from mmconvnext.export.graphs import EXAMPLE, Graph

METADATA = "metadata.json"  # in an archive
LARGEST = 1_900_000_000  # bytes of weights in an ONNX file: protobuf holds less than 2 GiB
_OBJECTS = ("boxes", "scores", "labels", "masks")


def trace(graph: Graph, *, batch: bool, size: tuple[int, int] | None) -> ExportedProgram:
    """What ``graph`` computes, as torch.export records it.

    Args:
        graph: in evaluation mode.
        batch: whether it takes any number of pictures; else one.
        size: height and width of what it takes; None: any.

    Raises:
        ExportError: it computes something that torch.export cannot record.
    """
    free = batch and size is None
    example = graph.example(2 if free else 1, size or EXAMPLE)
    axes = graph.axes if free else graph.axes[1:]
    shapes = None if size else (dict.fromkeys(axes, Dim.DYNAMIC),)
    try:
        with torch.no_grad(), _quietly():
            return torch.export.export(graph, (example,), dynamic_shapes=shapes, strict=False)
    except Exception as error:  # of many kinds, of many lines
        raise ExportError(f"torch.export cannot record the model: {_first_line(error)}") from error


def write_onnx(
    program: ExportedProgram, graph: Graph, path: Path, metadata: Mapping[str, Any], opset: int
) -> None:
    """Write an ONNX model of standard operators.

    Weights of 1.9 GB and more go into a file of their own beside it, whose name has ``.data`` at
    its end.

    Args:
        program: of :func:`trace`.
        graph: that it is of.
        path: of the file.
        metadata: what the file's metadata shall say, each value as JSON.
        opset: version of ONNX' operators.

    Raises:
        ExportError: ONNX lacks an operator.
        OSError: the file cannot be written.
    """
    try:
        with torch.no_grad(), _quietly():
            written = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=[graph.input_name],
                output_names=list(graph.outputs),
                opset_version=opset,
            )
    except Exception as error:
        raise ExportError(f"ONNX: {_first_line(error)}") from error
    assert written is not None
    model = written.model
    if own := sorted({f"{n.domain}::{n.op_type}" for n in model.graph if n.domain}):
        raise ExportError(f"ONNX: expected standard operators only, found {', '.join(own)}")
    _name_axes(model.graph, graph)
    for node in model.graph:
        node.metadata_props.clear()  # paths of this machine's source files
    model.producer_name, model.producer_version = "mmconvnext", metadata["mmconvnext_version"]
    model.metadata_props.update({name: json.dumps(value) for name, value in metadata.items()})
    weights = (value.const_value for value in model.graph.initializers.values())
    size = sum(weight.nbytes for weight in weights if weight is not None)
    written.save(path, external_data=size > LARGEST)


def write_archive(program: ExportedProgram, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write an archive that ``torch.export.load`` reads, ``metadata`` in it as JSON.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("wb") as opened, _quietly():
        torch.export.save(program, opened, extra_files={METADATA: json.dumps(metadata)})


def _name_axes(graph: Any, of: Graph) -> None:
    """Call free axes what they are, where torch.export counted them."""
    names: dict[str, str] = {}
    for axis, name in zip(of.axes, ("batch", "height", "width"), strict=True):
        names[str(graph.inputs[0].shape[axis])] = name
    # Of detections.
    for output in graph.outputs:
        if output.name in _OBJECTS:
            names.setdefault(str(output.shape[0]), "objects")
    symbols = {re.escape(old): new for old, new in names.items() if not old.isdecimal()}
    if not symbols:
        return
    pattern = re.compile("|".join(rf"(?<!\w){old}(?!\w)" for old in symbols))

    def named(dimension: Any) -> Any:
        if isinstance(dimension, int):
            return dimension
        return pattern.sub(lambda found: names[found.group()], str(dimension))

    values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
    for value in values:
        if value.shape is not None and not value.shape.is_static():
            value.shape = type(value.shape)([named(dimension) for dimension in value.shape])


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what the exporters have to say to their own developers."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _first_line(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
