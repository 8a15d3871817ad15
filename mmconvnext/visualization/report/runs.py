"""Reading what mmengine leaves in a work directory: curves, config, log, tests.

Nothing in the folder is executed: a dumped config is parsed as plain values.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmconvnext.visualization.curves import Curve, read_entries
from mmconvnext.visualization.report.config_text import parse_config, setting
from mmconvnext.visualization.report.logs import LogFacts, read_log

_STAMP = re.compile(r"\d{8}_\d{6}")
_SCALARS = Path("vis_data") / "scalars.json"
_NO_CURVE = ("step", "iter", "epoch")
_OF_CLASS = "_precision"  # mmdet's classwise figures: coco/dog_precision
_FAVOURITES = ("coco/bbox_mAP", "mIoU")


@dataclass(frozen=True)
class Start:
    """One start of training in the folder: ``stamp`` is its folder's name, iterations are those it
    logged, and those up to ``used`` are still shown (a later start did the others again)."""

    stamp: str
    first: int
    last: int
    used: int


@dataclass
class Run:
    """A work directory.

    Args:
        name: the folder's, short and unique among the runs of a report.
        folder: where it lies.
        starts: of training, in their order.
        train: curves over the iterations, as logged while training.
        val: the same of the validations.
        iters_per_epoch: None where training does not go by epochs.
        elapsed: iteration and seconds of training until then, validations not counted.
        config_text: as dumped, of the last start.
        config: its settings, None where the text is no dump of plain values.
        facts: of the logs, each from the last one that tells it.
        tests: time stamp and figures of each test run in the folder.
    """

    name: str
    folder: Path
    starts: list[Start] = field(default_factory=list)
    train: dict[str, Curve] = field(default_factory=dict)
    val: dict[str, Curve] = field(default_factory=dict)
    iters_per_epoch: float | None = None
    elapsed: Curve = field(default_factory=list)
    config_text: str = ""
    config: dict[str, Any] | None = None
    facts: LogFacts = field(default_factory=LogFacts)
    tests: list[tuple[str, dict[str, float]]] = field(default_factory=list)

    @property
    def last_iter(self) -> int:
        """The last iteration that was logged."""
        return max((points[-1][0] for points in self.train.values()), default=0)

    @property
    def max_iters(self) -> int | None:
        """How long training is to go, None where the config does not tell."""
        iters, epochs = (setting(self.config, f"train_cfg.max_{unit}") for unit in _UNITS)
        if isinstance(iters, int):
            return iters
        if isinstance(epochs, int) and self.iters_per_epoch:
            return round(epochs * self.iters_per_epoch)
        return None

    @property
    def main_metric(self) -> str | None:
        """The validations' figure that a checkpoint was chosen by, or the usual one."""
        asked = setting(self.config, "default_hooks.checkpoint.save_best")
        names = [asked] if isinstance(asked, str) else []
        return next(
            (name for name in (*names, *_FAVOURITES, *self.metrics) if name in self.val), None
        )

    @property
    def metrics(self) -> dict[str, Curve]:
        """The validations' figures of all classes together."""
        return {
            name: points
            for name, points in self.val.items()
            if name not in ("time", "data_time") and not name.endswith(_OF_CLASS)
        }

    @property
    def class_precisions(self) -> dict[str, float]:
        """Each class's average precision in the last validation that had one."""
        return {
            name.partition("/")[2].removesuffix(_OF_CLASS): points[-1][1]
            for name, points in self.val.items()
            if name.endswith(_OF_CLASS)
        }


_UNITS = ("iters", "epochs")


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs in ``folders``, a work directory each.

    Raises:
        ValueError: a folder that holds no run, or a file in it that is not mmengine's.
        OSError: it cannot be read.
    """
    names = _short_names(folders)
    return [read_run(folder, name) for folder, name in zip(folders, names, strict=True)]


def read_run(folder: Path, name: str) -> Run:
    """The run in ``folder``; errors as of :func:`read_runs`."""
    run = Run(name, folder)
    for place in _stamped_folders(folder):
        facts = _facts(place)
        _keep(run, facts)
        if (place / _SCALARS).is_file():
            _join(run, place, facts)
        tested = place / f"{place.name}.json"
        if tested.is_file():
            run.tests.append((place.name, _figures(tested)))
    if not run.starts and not run.tests:
        raise ValueError(
            f"{folder}: expected {_SCALARS} with entries, found none: nothing to report"
        )
    run.elapsed = _elapsed(run.train.get("time", []))
    if (dumped := config_file(folder)) is not None:
        run.config_text = dumped.read_text(encoding="utf-8", errors="replace")
        run.config = parse_config(run.config_text)
    return run


def _stamped_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected a work directory of a run, found no folder")
    if (folder / _SCALARS).is_file():
        return [folder]
    stamped = sorted(p for p in folder.iterdir() if p.is_dir() and _STAMP.fullmatch(p.name))
    if stamped:
        return stamped
    below = sorted({p.parents[2] for p in folder.glob(f"*/*/{_SCALARS}")})
    hint = f"; runs below it: {', '.join(map(str, below[:5]))}" if below else ""
    raise ValueError(
        f"{folder}: expected a work directory with folders like 20260131_120000, found none{hint}"
    )


def _facts(place: Path) -> LogFacts:
    log = place / f"{place.name}.log"
    return read_log(log) if log.is_file() else LogFacts()


def _join(run: Run, place: Path, facts: LogFacts) -> None:
    """Append a start; what it did again replaces what was there."""
    entries = read_entries(place / _SCALARS)
    steps = [entry["step"] for entry in entries if "iter" in entry]
    if not steps:
        return
    per_epoch = facts.iters_per_epoch or _iters_per_epoch(entries)
    resumed = facts.resumed_at
    done = resumed if resumed is not None else steps[0] - 1
    for curves in (run.train, run.val):
        for name, points in list(curves.items()):
            curves[name] = [point for point in points if point[0] <= done]
            if not curves[name]:
                del curves[name]
    run.starts = [Start(s.stamp, s.first, s.last, min(s.used, done)) for s in run.starts] + [
        Start(place.name, steps[0], steps[-1], steps[-1])
    ]
    _add(run, entries, per_epoch)
    run.iters_per_epoch = per_epoch or run.iters_per_epoch


def _keep(run: Run, facts: LogFacts) -> None:
    """A later log's facts in place of an earlier one's, where it has some."""
    kept = {name: value for name, value in vars(facts).items() if value}
    run.facts = LogFacts(**{**vars(run.facts), **kept})


def _add(run: Run, entries: Sequence[Mapping[str, Any]], per_epoch: float | None) -> None:
    last: Mapping[str, Any] = {}
    for entry in entries:
        training = "iter" in entry
        if training:
            last = entry
        iteration = entry["step"] if training else _validated_at(entry["step"], last, per_epoch)
        curves = run.train if training else run.val
        for name, value in entry.items():
            if name in _NO_CURVE or isinstance(value, bool) or not isinstance(value, (int, float)):
                continue
            if value == -1 and name.startswith("coco/"):
                continue  # pycocotools' word for: no object of this size
            curves.setdefault(name, []).append((iteration, float(value)))


def _validated_at(step: int, last: Mapping[str, Any], per_epoch: float | None) -> int:
    """The iteration of a validation, whose ``step`` is one, or an epoch, or 0."""
    before = int(last.get("step", 0))
    if step >= before and step != last.get("epoch"):
        return step
    if step == last.get("epoch") and per_epoch:
        return max(before, round(step * per_epoch))
    return max(before, step)


def _iters_per_epoch(entries: Sequence[Mapping[str, Any]]) -> float | None:
    """From the curves alone: the last iteration that was logged in whole epochs."""
    ends: dict[int, int] = {}
    for entry in entries:
        if "iter" in entry and "epoch" in entry:
            ends[int(entry["epoch"])] = entry["step"]
    epochs = sorted(ends)
    if len(epochs) < 3:
        return None
    # The distance between ends is whole epochs, even where an epoch's last iterations go unlogged;
    # the newest epoch may not be over.
    return (ends[epochs[-2]] - ends[epochs[0]]) / (epochs[-2] - epochs[0])


def _elapsed(times: Curve) -> Curve:
    """Iterations times their seconds, summed up."""
    found, before, seconds = [(0, 0.0)], 0, 0.0
    for iteration, value in times:
        if math.isfinite(value):
            seconds += max(iteration - before, 0) * value
        before = iteration
        found.append((iteration, seconds))
    return found if times else []


def _figures(path: Path) -> dict[str, float]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {n: float(v) for n, v in content.items() if isinstance(v, (int, float))}
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: expected a JSON object of figures: {error}") from error


def config_file(folder: Path) -> Path | None:
    """The dumped config of the last start of training in ``folder``, else the newest there."""
    stamped = [place for place in _stamped_folders(folder) if (place / _SCALARS).is_file()]
    places = [place / "vis_data" / "config.py" for place in reversed(stamped)]
    places += sorted(folder.glob("*.py"), key=lambda path: path.stat().st_mtime, reverse=True)
    return next((place for place in places if place.is_file()), None)


def _short_names(folders: Sequence[Path]) -> list[str]:
    """The folders' last parts, as many as tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise ValueError(f"{folders[0]}: expected different folders, found one twice")
