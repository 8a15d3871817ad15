"""The parts of the report's page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmconvnext.visualization.curves import Curve
from mmconvnext.visualization.report import page
from mmconvnext.visualization.report.charts import (
    Charts,
    confusion_chart,
    rates_chart,
    training_charts,
    validation_charts,
)
from mmconvnext.visualization.report.config_text import differences
from mmconvnext.visualization.report.evaluation import Evaluation, Shown
from mmconvnext.visualization.report.layers import contents, rates_of
from mmconvnext.visualization.report.page import Section
from mmconvnext.visualization.report.runs import Run

_HOW = "`mmconvnext report WORK_DIR --evaluate` evaluates the best checkpoint once and shows"
_MOST_CONFUSED = 20


def build_page(
    runs: Sequence[Run], evaluations: Sequence[Evaluation | None], *, title: str = ""
) -> str:
    """The report on ``runs`` as one HTML document.

    Args:
        runs: one or several, to be compared.
        evaluations: of each run, None where there was none.
        title: of the page; by default the runs' names.
    """
    charts = Charts(runs)
    names = ", ".join(run.name for run in runs)
    pairs = list(zip(runs, evaluations, strict=True))
    sections = [
        Section("Overview", _overview(runs)),
        Section("Best figures", _best(runs)),
        Section("Curves", _curves(charts, runs)),
        Section("Layer-wise rates", _each(runs, lambda run: _rates(charts, run))),
        Section("Classes", _joined(runs, [_classes(run, found) for run, found in pairs])),
        Section("Confusion", _joined(runs, [_confusion(charts, found) for _, found in pairs])),
        Section("Pictures", _joined(runs, [_pictures(found) for _, found in pairs])),
        Section("Config differences", _differences(runs)),
        Section("Config", _each(runs, _config)),
        Section("Environment", _each(runs, _environment)),
    ]
    return page.page(
        title or f"Training report: {names}",
        sections,
        subtitle="" if len(runs) > 1 else str(runs[0].folder),
        data=charts.data(),
        scripts=["axes.js", "charts.js"],
    )


def _each(runs: Sequence[Run], part: Callable[[Run], str]) -> str:
    return _joined(runs, [part(run) for run in runs])


def _joined(runs: Sequence[Run], parts: Sequence[str]) -> str:
    """Several runs' parts, each below its name."""
    if len(runs) == 1:
        return parts[0]
    return "".join(
        f"<h3>{page.text(run.name)}</h3>{part}" for run, part in zip(runs, parts, strict=True)
    )


def _overview(runs: Sequence[Run]) -> str:
    rows = [
        [
            run.name,
            f"{run.last_iter:,}" + (f" of {run.max_iters:,}" if run.max_iters else ""),
            _duration(run.elapsed[-1][1]) if run.elapsed else None,
            _last(run.train.get("loss")),
            f"{run.main_metric} {_best_of(run, run.main_metric)}" if run.main_metric else None,
            ", ".join(sorted(path.name for path in run.folder.glob("*.pth"))) or None,
        ]
        for run in runs
    ]
    columns = ["run", "iterations", "training time", "last loss", "best", "checkpoints"]
    found = page.table(columns, rows, caption="Training time is without validations")
    for run in runs:
        if len(run.starts) > 1:
            starts = [[s.stamp, s.first, s.last, min(s.last, s.used)] for s in run.starts]
            caption = f"{run.name}: starts; what a later one did again replaces what was there"
            columns = ["start", "first logged", "last logged", "shown up to"]
            found += page.table(columns, starts, caption=caption)
        if run.tests:
            names = list(dict.fromkeys(name for _, figures in run.tests for name in figures))
            tests = [[stamp, *(figures.get(n) for n in names)] for stamp, figures in run.tests]
            found += page.table(["test", *names], tests, caption=f"{run.name}: tests")
    return found


def _best(runs: Sequence[Run]) -> str:
    names = list(dict.fromkeys(name for run in runs for name in run.metrics))
    if not names:
        return page.note("No validation is logged.")
    rows = [[name, *(_best_of(run, name) for run in runs)] for name in names]
    return page.table(
        ["figure", *(run.name for run in runs)],
        rows,
        caption="Largest value of each validation figure, and the iteration it was reached at",
        filterable=len(rows) > 8,
    )


def _best_of(run: Run, name: str) -> str | None:
    points = [point for point in run.val.get(name, []) if math.isfinite(point[1])]
    if not points:
        return None
    iteration, value = max(points, key=lambda point: point[1])
    return f"{page.number(value)} at {iteration:,}"


def _curves(charts: Charts, runs: Sequence[Run]) -> str:
    total, *others = training_charts(charts) or [""]
    places = "".join([total, *validation_charts(charts), *others])
    if not places:
        return page.note("No curves are logged.")
    epochs = "" if any(run.iters_per_epoch for run in runs) else " disabled"
    controls = f"""<div class="controls" id="controls">
<label>x axis <select name="x">
<option value="iteration">iteration</option>
<option value="epoch"{epochs}>epoch</option>
<option value="time">training time</option>
</select></label>
<label>smoothing <input type="range" name="smooth" min="0" max="0.99" step="0.01">
<output></output></label>
<label><input type="checkbox" name="log"> log scale</label>
<span class="soft">Click on a legend to hide a curve everywhere.</span></div>"""
    return f'{controls}<div class="charts">{places}</div>'


def _rates(charts: Charts, run: Run) -> str:
    try:
        if run.config is None:
            raise ValueError("its config is no dump of plain values")
        rates = rates_of(run.config)
    except ValueError as error:
        return page.note(
            f"No layer-wise rates to show: {error}. `mmconvnext lr CONFIG` shows any config's."
        )
    rows = [
        [e.group, contents(e.names), e.parameters, e.scale, e.rate, e.weight_decay] for e in rates
    ]
    columns = ["group", "of the backbone", "parameters", "multiple", "rate", "weight decay"]
    caption = "Parameter groups of the backbone; neck and heads are in the last layer"
    table = page.table(columns, rows, caption=caption)
    return rates_chart(charts, rates, "Rate over the network's depth") + page.folded(
        "Groups as a table", table
    )


def _classes(run: Run, found: Evaluation | None) -> str:
    if found:
        source = f"{found.checkpoint}, {found.pictures} pictures, {found.made}"
        pairs = zip(found.classes, found.class_rows, strict=True)
        rows: list[list] = [[name, *figures] for name, figures in pairs]
        whole = page.table(["figure", "value"], list(found.metrics.items()), caption="All classes")
        return _class_table(found.class_columns, rows, source) + whole
    if run.facts.classes:
        rows = [[name, *figures] for name, figures in run.facts.classes.items()]
        return _class_table(run.facts.class_columns, rows, "last evaluation in the log, per cent")
    if run.class_precisions:
        rows = [[name, value] for name, value in run.class_precisions.items()]
        return _class_table(["AP"], rows, "last validation")
    return page.note(f"The run's logs have no figures of single classes. {_HOW} them.")


def _class_table(columns: Sequence[str], rows: list[list], source: str) -> str:
    caption = f"Figures of each class ({source})"
    return page.table(["class", *columns], rows, caption=caption, sortable=True, filterable=True)


def _confusion(charts: Charts, found: Evaluation | None) -> str:
    if found is None:
        return page.note(f"{_HOW} what was taken for what.")
    pairs: list[list[Any]] = [
        [found.labels[truth], found.labels[predicted], count, 100 * count / sum(row)]
        for truth, row in enumerate(found.confusion)
        for predicted, count in enumerate(row)
        if count and truth != predicted
    ]
    pairs.sort(key=lambda pair: -pair[2])
    table = page.table(
        ["truth", "predicted", found.unit, "% of the truth"],
        pairs[:_MOST_CONFUSED],
        caption=f"Most frequent confusions, of {len(pairs)}",
        sortable=True,
        filterable=True,
    )
    rule = f'<p class="soft">{page.text(found.rule)}</p>'
    return f'{rule}<div class="charts">{confusion_chart(charts, found)}<div>{table}</div></div>'


def _pictures(found: Evaluation | None) -> str:
    if found is None:
        return page.note(f"{_HOW} the best and worst pictures.")
    parts = [f'<p class="soft">{page.text(found.score)}</p>']
    for title, shown in (("Worst", found.worst), ("Best", found.best)):
        pairs = page.gallery([_pair(entry) for entry in shown])
        parts.append(f"<h3>{title}</h3>{pairs}" if shown else "")
    return "".join(parts)


def _pair(shown: Shown) -> str:
    name = Path(shown.path).name
    score = f"predicted, score {shown.score:.3f}"
    return page.pair(
        page.figure(shown.truth, alt=f"{name} with its ground truth", caption=f"{name}, truth"),
        page.figure(shown.prediction, alt=f"{name} as predicted", caption=score),
    )


def _differences(runs: Sequence[Run]) -> str:
    if len(runs) < 2:
        return ""
    parsed = [run.config for run in runs]
    configs = [config for config in parsed if config is not None]
    if len(configs) < len(runs):
        return page.note("Not every run's config is a dump of plain values: nothing to compare.")
    rows = [[path, *values] for path, values in differences(configs)]
    if not rows:
        return page.note("The configs are the same.")
    columns = ["setting", *(run.name for run in runs)]
    return page.table(columns, rows, caption="Settings that differ", filterable=len(rows) > 8)


def _config(run: Run) -> str:
    if not run.config_text:
        return page.note("No dumped config lies in the folder.")
    lines = run.config_text.count("\n")
    body = page.preformatted(run.config_text)
    return page.folded(f"Whole config, {lines} lines", body, searchable=True)


def _environment(run: Run) -> str:
    if not run.facts.environment:
        return page.note("The log tells no environment (mmengine logs it at log_level='INFO').")
    command = page.note(
        "The log has no command line: mmconvnext train writes it, mmengine does not."
    )
    if run.facts.command:
        command = page.preformatted(run.facts.command)
    return command + page.folded("Environment", page.preformatted(run.facts.environment))


def _last(points: Curve | None) -> float | None:
    return points[-1][1] if points else None


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{seconds / 60:.1f} min"
