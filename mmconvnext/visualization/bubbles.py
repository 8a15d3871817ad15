"""Accuracy over operations, each network a bubble: its area is parameters (ConvNeXt, figure 1)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmconvnext.visualization.curves import save_figure

_AREA = 3.0  # square points for a million parameters
_SIZE, _LETTER, _LINE = 8, 4.8, 10.0  # of the names, in points: font, mean width, height
Box = tuple[float, float, float, float]  # left, bottom, right, top


@dataclass(frozen=True)
class Bubble:
    """A network: its place, its size, its colour.

    Args:
        name: stands beside it.
        family: those of one have one colour.
        gflops: its place from left to right.
        accuracy: its place from bottom to top.
        params: in millions, its area.
        filled: or drawn as a ring.
    """

    name: str
    family: str
    gflops: float
    accuracy: float
    params: float
    filled: bool = True


def plot_bubbles(
    panels: Mapping[str, Sequence[Bubble]],
    accuracies: Mapping[str, str],
    out: Path | str,
    *,
    ring: str,
) -> Path:
    """Draw a panel for each detector or segmentor, side by side.

    Args:
        panels: title -> its networks; one without any is left out.
        accuracies: title -> what its accuracy is.
        out: picture file to write; its folder is made if absent.
        ring: what rings stand for.

    Returns:
        ``out``.

    Raises:
        ValueError: there is no network at all.
    """
    from matplotlib.figure import Figure

    drawn = {title: bubbles for title, bubbles in panels.items() if bubbles}
    if not drawn:
        raise ValueError("no network has a published accuracy: nothing to draw")
    families = dict.fromkeys(b.family for bubbles in drawn.values() for b in bubbles)
    colours = {family: f"C{i}" for i, family in enumerate(families)}
    figure = Figure(figsize=(6.5 * len(drawn), 5.5), layout="constrained")
    panes = dict(zip(drawn, figure.subplots(1, len(drawn), squeeze=False)[0], strict=True))
    for title, axes in panes.items():
        _draw(axes, drawn[title], colours)
        axes.set(title=title, xlabel="GFLOPs", ylabel=accuracies[title])
    _add_legend(figure, colours, ring)
    figure.draw_without_rendering()
    for title, axes in panes.items():
        _write_names(axes, drawn[title])
    return save_figure(figure, out)


def _draw(axes: Any, bubbles: Sequence[Bubble], colours: Mapping[str, str]) -> None:
    for bubble in bubbles:
        colour = colours[bubble.family]
        axes.scatter(
            bubble.gflops,
            bubble.accuracy,
            s=_AREA * bubble.params,
            facecolor=(colour, 0.55) if bubble.filled else "none",
            edgecolor=colour,
            linewidth=1.5,
        )
    axes.margins(x=0.28, y=0.12)
    axes.grid(alpha=0.25)


def _write_names(axes: Any, bubbles: Sequence[Bubble]) -> None:
    """Each beside its bubble, on the side where it covers least and stays inside; the axes' size
    has to be final."""
    scale = 72 / axes.figure.dpi  # of pixels, in points
    frame = tuple(axes.bbox.extents * scale)
    places = [axes.transData.transform((b.gflops, b.accuracy)) * scale for b in bubbles]
    radii = [(_AREA * bubble.params / math.pi) ** 0.5 for bubble in bubbles]
    taken = [
        (x - radius, y - radius, x + radius, y + radius)
        for (x, y), radius in zip(places, radii, strict=True)
    ]
    for bubble, (x, y), radius in zip(bubbles, places, radii, strict=True):
        width, away = _LETTER * len(bubble.name), radius + 3
        sides = (
            (away, 0.0, "left"),
            (-away, 0.0, "right"),
            (0.0, away + _LINE / 2, "center"),
            (0.0, -away - _LINE / 2, "center"),
        )
        boxes = []
        for right, up, align in sides:
            start = x + right - {"left": 0.0, "right": width, "center": width / 2}[align]
            boxes.append((start, y + up - _LINE / 2, start + width, y + up + _LINE / 2))
        covered = [
            sum(_overlap(box, other) for other in taken) + width * _LINE - _overlap(box, frame)
            for box in boxes
        ]
        best = covered.index(min(covered))
        taken.append(boxes[best])
        axes.annotate(
            bubble.name,
            (bubble.gflops, bubble.accuracy),
            xytext=sides[best][:2],
            textcoords="offset points",
            ha=sides[best][2],
            va="center",
            fontsize=_SIZE,
        )


def _overlap(one: Box, other: Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(wide, 0.0) * max(high, 0.0)


def _add_legend(figure: Any, colours: Mapping[str, str], ring: str) -> None:
    from matplotlib.lines import Line2D

    def mark(label: str, colour: str, face: str) -> Line2D:
        return Line2D(
            [], [], marker="o", linestyle="", color=colour, markerfacecolor=face, label=label
        )

    handles = [mark(family, colour, colour) for family, colour in colours.items()]
    handles.append(mark(ring, "0.3", "none"))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        title="area: parameters",
        frameon=False,
    )
