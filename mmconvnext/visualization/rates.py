"""A picture of the learning rates: over the schedule, and over the network's depth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmconvnext.visualization.curves import save_figure

_POINTS = 2000  # of a curve: more than a picture has columns


def plot_rates(
    rates: np.ndarray,
    labels: Sequence[str],
    out: Path | str,
    *,
    epoch: int | None = None,
    title: str = "",
) -> Path:
    """Plot each layer's rate over the iterations, and its highest beside it.

    Args:
        rates: (iterations, layers), the lowest layer first.
        labels: names of the layers.
        out: picture file to write (.png, .svg, .pdf); its folder is made if absent.
        epoch: iterations in an epoch, for a second axis; None draws none.
        title: title of the picture.

    Returns:
        ``out``.

    Raises:
        ValueError: not one label a layer, or a suffix that matplotlib does not know.
    """
    import matplotlib
    from matplotlib.figure import Figure

    iterations, layers = rates.shape
    if layers != len(labels):
        raise ValueError(f"plot_rates: expected {layers} labels, found {len(labels)}")
    colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, layers))
    figure = Figure(figsize=(10, 1.8 + 0.25 * max(layers, 10)), layout="constrained")
    over, depth = figure.subplots(1, 2, width_ratios=[3, 1])
    kept = _kept(rates)
    for column in range(layers):
        over.plot(kept, rates[kept, column], color=colors[column], linewidth=1.2)
    over.set(xlabel="iteration", ylabel="learning rate", xlim=(0, max(iterations - 1, 1)))
    if (rates.max(axis=0) > 0).all():
        over.set_yscale("log")
        top = rates.max()
        # Warm-ups start, and schedules end, near 0: decades in which there is nothing to see.
        over.set_ylim(max(rates[rates > 0].min(), rates.max(axis=0).min() * 1e-2), top * 1.4)
    if epoch is not None:
        above = over.secondary_xaxis(
            "top", functions=(lambda i: np.asarray(i) / epoch, lambda e: np.asarray(e) * epoch)
        )
        above.set_xlabel("epoch")
    highest = rates.max(axis=0)
    depth.barh(range(layers), highest, color=colors)
    depth.set_yticks(range(layers), labels)
    depth.set(xlabel="highest rate", xlim=(0, highest.max() * 1.35 or 1))
    for row, value in enumerate(highest):
        depth.text(value, row, f" {value:.2e}", va="center", fontsize=8)
    figure.suptitle(title)
    return save_figure(figure, out)


def _kept(rates: np.ndarray) -> np.ndarray:
    """Iterations to draw: evenly spread, and those around each step of a schedule."""
    iterations = len(rates)
    spread = np.linspace(0, iterations - 1, min(iterations, _POINTS)).round().astype(int)
    if iterations <= _POINTS:
        return spread
    column = rates[:, -1]
    change = np.abs(np.diff(column)) > 0.02 * column.max()
    steps = np.flatnonzero(change)[:_POINTS]
    return np.unique(np.concatenate([spread, steps, steps + 1]))
