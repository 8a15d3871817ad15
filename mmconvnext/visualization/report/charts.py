"""The charts of a report, as plain data for axes.js and charts.js."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmconvnext.optim import LayerRate
from mmconvnext.visualization.curves import Curve
from mmconvnext.visualization.report.evaluation import Evaluation
from mmconvnext.visualization.report.layers import contents
from mmconvnext.visualization.report.page import text
from mmconvnext.visualization.report.runs import Run

MOST_POINTS = 1500  # of a name's curves in all runs together; longer ones are averaged to as many

_EXACT = ("rate", "MB")  # units of what has no noise to smooth
# title, unit, does a training curve's name belong there
_GROUPS: tuple[tuple[str, str, Callable[[str], bool]], ...] = (
    ("Loss, total", "loss", lambda name: name == "loss"),
    ("Losses", "loss", lambda name: "loss" in name),
    ("Learning rate", "rate", lambda name: name in ("lr", "base_lr") or name.startswith("lr/")),
    ("Accuracy in training", "%", lambda name: bool(re.search(r"(^|[._])acc(_seg)?$", name))),
    ("Time per iteration", "s", lambda name: name in ("time", "data_time")),
    ("GPU memory", "MB", lambda name: name == "memory"),
    ("Gradient norm", "norm", lambda name: name == "grad_norm"),
)


class Charts:
    """Collects charts; each is added under a number that its place in the page refers to."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.charts: list[dict[str, Any]] = []
        self.runs = runs
        self.most_points = max(MOST_POINTS // len(runs), 2)

    def add(self, kind: str, title: str, **settings: Any) -> str:
        """The HTML of a chart's place."""
        self.charts.append({"kind": kind, "title": title, **settings})
        place = f'<div class="chart" data-chart="{len(self.charts) - 1}"></div>'
        return f"<div><h3>{text(title)}</h3>{place}</div>"

    def data(self) -> dict[str, Any]:
        """What the page's scripts read."""
        of_runs = [
            {
                "name": run.name,
                "per_epoch": run.iters_per_epoch,
                "elapsed": [
                    [step, round(seconds, 1)]
                    for step, seconds in _sampled(run.elapsed, self.most_points)
                ],
            }
            for run in self.runs
        ]
        return {"runs": of_runs, "charts": self.charts}


def training_charts(charts: Charts) -> list[str]:
    """Of everything that training logged: one run's curves of a kind together, several runs' curves
    of a name together."""
    names = list(dict.fromkeys(name for run in charts.runs for name in run.train))
    grouped: dict[tuple[str, str], list[str]] = {group[:2]: [] for group in _GROUPS}
    for name in names:
        kind = next((group[:2] for group in _GROUPS if group[2](name)), (name, "value"))
        grouped.setdefault(kind, []).append(name)
    groups = [(*kind, members) for kind, members in grouped.items()]
    return _charts_of(charts, [run.train for run in charts.runs], groups, True)


def validation_charts(charts: Charts) -> list[str]:
    """Of the validations' figures: those with one beginning (bbox_mAP, bbox_mAP_50) together."""
    metrics = [run.metrics for run in charts.runs]
    grouped: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for curves in metrics for name in curves):
        last = name.rpartition("/")[2]
        family = last.split("_")[0] if "_" in last else "Validation"
        grouped.setdefault(family, []).append(name)
    groups = []
    for family, members in grouped.items():
        largest = max(v for curves in metrics for name in members for _, v in curves.get(name, []))
        title = family if family == "Validation" else f"Validation: {family}"
        groups.append((title, "AP" if largest <= 1 else "%", members))
    return _charts_of(charts, metrics, groups, False)


def _charts_of(
    charts: Charts,
    curves: Sequence[Mapping[str, Curve]],
    groups: Sequence[tuple[str, str, list[str]]],
    smooth: bool,
) -> list[str]:
    runs = charts.runs
    if len(runs) > 1:
        groups = [
            (title if len(members) == 1 else name, unit, [name])
            for title, unit, members in groups
            for name in members
        ]
    found = []
    for title, unit, members in groups:
        series = [
            {
                "label": name if len(runs) == 1 else run.name,
                "color": color if len(runs) == 1 else index,
                "run": index,
                "points": [
                    [step, _rounded(value)]
                    for step, value in _thinned(of_run[name], charts.most_points)
                ],
            }
            for index, (run, of_run) in enumerate(zip(runs, curves, strict=True))
            for color, name in enumerate(members)
            if name in of_run
        ]
        if series:
            noisy = smooth and unit not in _EXACT
            found.append(charts.add("lines", title, unit=unit, series=series, smooth=noisy))
    return found


def rates_chart(charts: Charts, rates: Sequence[LayerRate], title: str) -> str:
    """Each layer's rate as a multiple of the optimizer's."""
    layers: dict[int, LayerRate] = {}
    names: dict[int, tuple[str, ...]] = {}
    for entry in rates:
        if entry.layer is not None:
            layers.setdefault(entry.layer, entry)
            names[entry.layer] = names.get(entry.layer, ()) + entry.names
    notes = [f"layer {n}: x{layers[n].scale:.3g}; {contents(names[n])}" for n in sorted(layers)]
    return charts.add(
        "bars",
        title,
        labels=[str(layer) for layer in sorted(layers)],
        values=[layers[layer].scale for layer in sorted(layers)],
        notes=notes,
        x="layer, stem to head",
        unit="multiple of the rate",
    )


def confusion_chart(charts: Charts, evaluation: Evaluation) -> str:
    """The confusion matrix, as the cells that are not empty."""
    cells = [
        [truth, predicted, count, round(count / max(sum(row), 1), 4)]
        for truth, row in enumerate(evaluation.confusion)
        for predicted, count in enumerate(row)
        if count
    ]
    title = "Confusion matrix"
    return charts.add("matrix", title, labels=evaluation.labels, cells=cells, unit=evaluation.unit)


def _thinned(points: Curve, most: int) -> Curve:
    """At most ``most`` points, each the mean of as many neighbours; the last stays the last."""
    size = math.ceil(len(points) / most)
    if size <= 1:
        return points
    parts = [points[at : at + size] for at in range(0, len(points), size)]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]


def _sampled(points: Curve, most: int) -> Curve:
    """At most about ``most`` of the points, the last among them."""
    size = math.ceil(len(points) / most)
    return [*points[: -1 : max(size, 1)], *points[-1:]]


def _rounded(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None
