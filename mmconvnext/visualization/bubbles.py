"""Accuracy over operations, each network a bubble: its area is parameters (ConvNeXt, figure 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmconvnext.visualization.curves import save_figure

_AREA = 3.0  # square points for a million parameters


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
    for axes, (title, bubbles) in zip(
        figure.subplots(1, len(drawn), squeeze=False)[0], drawn.items(), strict=True
    ):
        _draw(axes, bubbles, colours)
        axes.set(title=title, xlabel="GFLOPs", ylabel=accuracies[title])
    _add_legend(figure, colours, ring)
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
        left = _has_neighbour(bubble, bubbles)
        radius = (_AREA * bubble.params / 3.14) ** 0.5 + 3
        axes.annotate(
            bubble.name,
            (bubble.gflops, bubble.accuracy),
            xytext=(-radius if left else radius, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize=8,
        )
    axes.margins(x=0.28, y=0.12)
    axes.grid(alpha=0.25)


def _has_neighbour(bubble: Bubble, bubbles: Sequence[Bubble]) -> bool:
    """Whether another's place is where the name would stand: to the right, as high."""
    costs = [other.gflops for other in bubbles]
    heights = [other.accuracy for other in bubbles]
    wide, high = max(costs) - min(costs), max(heights) - min(heights)
    return any(
        0 < other.gflops - bubble.gflops < 0.35 * wide
        and abs(other.accuracy - bubble.accuracy) < 0.08 * high
        for other in bubbles
    )


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
