"""Plots of a training run: the loss and whatever the validations measured, over the iterations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Curve = list[tuple[int, float]]


def read_scalars(path: Path | str) -> dict[str, Curve]:
    """The curves in a ``vis_data/scalars.json`` that mmengine's LocalVisBackend wrote.

    Returns:
        Name (``'loss'``, ``'coco/bbox_mAP'``, …) -> ``(iteration, value)`` in the order written. A
        last line that a killed run left unfinished is passed over.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not a JSON object with a ``step``.
    """
    curves: dict[str, Curve] = {}
    for entry in read_entries(path):
        for name, value in entry.items():
            if name not in ("step", "iter", "epoch") and isinstance(value, (int, float)):
                curves.setdefault(name, []).append((entry["step"], float(value)))
    return curves


def read_entries(path: Path | str) -> list[dict[str, Any]]:
    """The lines of a ``scalars.json``, as :func:`read_scalars` takes them; ``step`` is an int."""
    entries = []
    lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            entries.append({**entry, "step": int(entry["step"])})
        except (ValueError, TypeError, KeyError) as error:
            if number == len(lines) and isinstance(error, json.JSONDecodeError):
                break
            raise ValueError(
                f"{path}, line {number}: expected a JSON object with a step, found {line[:60]!r}; "
                "is this a vis_data/scalars.json of mmengine?"
            ) from error
    return entries


def plot_curves(
    scalars: Path | str,
    out: Path | str,
    *,
    metrics: Sequence[str],
    title: str = "",
    scale: float = 1.0,
) -> Path:
    """Plot the loss (left axis) and ``metrics`` (right axis, 0 to 1) over the iterations.

    Args:
        scalars: ``vis_data/scalars.json`` of a run.
        out: picture file to write; its folder is made if absent.
        metrics: names of the validation's values as in the file, such as ``'coco/bbox_mAP'``.
        title: title of the plot.
        scale: the metrics' values are multiplied with it (0.01 for per cent).

    Returns:
        ``out``.

    Raises:
        ValueError: the file has no loss, or none of a metric; the message says what it has.
    """
    from matplotlib.figure import Figure

    curves = read_scalars(scalars)
    absent = [name for name in ("loss", *metrics) if name not in curves]
    if absent:
        raise ValueError(
            f"{scalars}: expected {', '.join(absent)}, found {', '.join(sorted(curves))}"
        )
    figure = Figure(figsize=(7, 4), layout="constrained")
    left = figure.add_subplot()
    left.plot(*zip(*curves["loss"], strict=True), color="0.4", label="loss")
    left.set(xlabel="iteration", ylabel="loss", title=title, ylim=(0, None))
    right = left.twinx()
    right.set(ylim=(0, 1), ylabel="validation")
    for name in metrics:
        steps, values = zip(*curves[name], strict=True)
        right.plot(steps, [value * scale for value in values], marker="o", label=name)
    handles = [*left.get_lines(), *right.get_lines()]
    left.legend(handles=handles, loc="center right")
    return save_figure(figure, out)


def save_figure(figure: object, out: Path | str) -> Path:
    """Write a matplotlib figure to ``out``, whose folder is made if absent; returns ``out``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    assert isinstance(figure, Figure)
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=120)
    return path
