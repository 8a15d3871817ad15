"""The staircase of the ConvNeXt paper's figure 2: what each change of a network brings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Step(NamedTuple):
    """A bar: its name, its height with the spread over the seeds, and what the model costs."""

    name: str
    value: float
    spread: float | None
    gflops: float
    aside: bool  # hatched: the road does not go on from there


def plot_staircase(steps: Sequence[Step], out: Path | str, *, metric: str) -> Path:
    """Draw a bar for each step, the first at the top, its GFLOPs as a star on an axis of its own.

    Args:
        steps: in their order.
        out: a file of any kind that matplotlib writes.
        metric: what the bars show.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.6 + 0.36 * len(steps)), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(steps))
    bars = axes.barh(
        places,
        [step.value for step in steps],
        xerr=[step.spread or 0.0 for step in steps] if any(s.spread for s in steps) else None,
        color=["#9aa5b1", *["#5b8db8"] * (len(steps) - 1)],
        height=0.7,
        capsize=3,
    )
    for bar, step in zip(bars, steps, strict=True):
        if step.aside:
            bar.set_hatch("///")
            bar.set_facecolor("#c9d6e2")
        axes.annotate(
            f"{step.value:.3g}",
            (bar.get_width(), bar.get_y() + bar.get_height() / 2),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    axes.set_yticks(places, [step.name for step in steps])
    axes.invert_yaxis()
    axes.set_xlim(*_limits([step.value for step in steps]))
    axes.set_xlabel(metric)
    costs = axes.twiny()
    costs.plot([step.gflops for step in steps], places, "*", color="#d1495b", markersize=9)
    costs.set_xlim(0, 1.25 * max(step.gflops for step in steps))
    costs.set_xlabel("GFLOPs (stars)", color="#d1495b")
    for side in (axes, costs):
        side.spines["right"].set_visible(False)
    figure.savefig(out, dpi=150)
    return Path(out)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Where bars begin and end: not at zero, or their differences would hardly be seen."""
    low, high = min(values), max(values)
    room = max(high - low, 0.05 * abs(high), 1e-6)
    return max(0.0, low - room) if low >= 0 else low - room, high + 0.25 * room
