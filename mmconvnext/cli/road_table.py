"""What ``road`` shows: the stops beside the paper's figures, and what was found on other data."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from mmconvnext.cli.files import finished_file

if TYPE_CHECKING:
    from mmengine.config import Config

    from mmconvnext.cli.road_runs import Results

HEADINGS = (
    "stop",
    "M, ResNet-50's",
    "GFLOPs",
    "paper",
    "IN-1K top-1",
    "M, ResNet-200's",
    "GFLOPs",
    "paper",
    "IN-1K top-1",
)


@dataclass(frozen=True)
class Row:
    """A stop: what was measured with each seed, and what the whole model costs.

    Args:
        change: of the mean, against the stop before it on the road among those trained.
        spread: standard deviation over the seeds; None with one.
    """

    step: str
    mean: float
    spread: float | None
    change: float | None
    params: float  # in millions
    gflops: float
    paper: float  # top-1 on ImageNet-1K


def stops() -> Iterator[tuple[str, ...]]:
    """A row of cells for each stop, as HEADINGS says: our counts beside the paper's figures."""
    from mmconvnext.backbones.road_stops import STEPS
    from mmconvnext.evaluation.road_costs import PUBLISHED, classifier_cost

    for step in STEPS:
        cells = [step]
        for regime, published in PUBLISHED.items():
            cost, paper = classifier_cost(step, regime), published[step]
            cells += [f"{cost.params / 1e6:.1f}", f"{cost.macs / 1e9:.2f}"]
            cells += [f"{paper.gflops:.2f}", f"{paper.top_1:.2f}"]
        yield tuple(cells)


def print_stops() -> None:
    """The stops, in a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*HEADINGS, title="From ResNet to ConvNeXt, at 224x224")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in stops():
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:  # a file or a pipe has no width to fit in
        console = Console(width=140)
    console.print(table)


def costs_of(cfg: Config, steps: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Parameters in millions and GFLOPs of the whole model at each stop."""
    from mmconvnext.adapt.road import with_road_step
    from mmconvnext.cli.analyze import complexity_of, published_shape

    found = {}
    for step in steps:
        complexity = complexity_of(with_road_step(cfg, step), published_shape(cfg))
        found[step] = (complexity.params / 1e6, complexity.macs / 1e9)
    return found


def rows(results: Results, costs: dict[str, tuple[float, float]]) -> list[Row]:
    """What was found, in the order of the road."""
    from mmconvnext.backbones.road_stops import before
    from mmconvnext.evaluation.road_costs import PUBLISHED

    means = {step: statistics.fmean(values) for step, values in results.by_step.items()}
    found = []
    for step, values in results.by_step.items():
        last = next((earlier for earlier in before(step) if earlier in means), None)
        found.append(
            Row(
                step=step,
                mean=means[step],
                spread=statistics.stdev(values) if len(values) > 1 else None,
                change=None if last is None else means[step] - means[last],
                params=costs[step][0],
                gflops=costs[step][1],
                paper=PUBLISHED["resnet50"][step].top_1,
            )
        )
    return found


def print_results(table: Sequence[Row], metric: str) -> None:
    """What was found, in a table."""
    from rich.console import Console
    from rich.table import Table

    shown = Table("stop", metric, "change", "M", "GFLOPs", "paper's top-1")
    for column in shown.columns[1:]:
        column.justify = "right"
    for row in table:
        spread = "" if row.spread is None else f" ± {row.spread:.4g}"
        change = "" if row.change is None else f"{row.change:+.4g}"
        costs = f"{row.params:.2f}", f"{row.gflops:.2f}"
        shown.add_row(row.step, f"{row.mean:.4g}{spread}", change, *costs, f"{row.paper:.2f}")
    Console().print(shown)


def write(table: Sequence[Row], metric: str, work_dir: Path) -> list[Path]:
    """``road.csv`` and ``road.png`` in ``work_dir``."""
    from mmconvnext.backbones.road_stops import TRIED
    from mmconvnext.visualization.staircase import Step, plot_staircase

    listed, drawn = work_dir / "road.csv", work_dir / "road.png"
    with finished_file(listed) as unfinished, unfinished.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in table)
    steps = [Step(row.step, row.mean, row.spread, row.gflops, row.step in TRIED) for row in table]
    with finished_file(drawn) as unfinished:
        plot_staircase(steps, unfinished, metric=metric)
    return [listed, drawn]
