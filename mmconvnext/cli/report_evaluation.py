"""``report --evaluate``: one test of a run's checkpoint, for what its logs do not hold."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.config import Config

from mmconvnext.cli import device, overrides, preflight, running
from mmconvnext.cli.configs import load_config
from mmconvnext.cli.errors import UsageError
from mmconvnext.cli.files import finished_file
from mmconvnext.visualization.report.evaluation import FILE, Evaluation
from mmconvnext.visualization.report.runs import config_file

if TYPE_CHECKING:
    from mmconvnext.visualization.report.collecting import Collector

_KINDS = {"bbox": "box", "segm": "mask"}
_SPLIT = "@"  # between a COCO metric's prefix and what it measures


def evaluate(folder: Path, args: argparse.Namespace) -> Evaluation:
    """Test the run in ``folder`` and keep the outcome there.

    Args:
        folder: its work directory.
        args: the command's ``checkpoint``, ``data_root``, ``device``, ``trust_checkpoint``.

    Raises:
        UsageError, DataError, CheckpointError: no config, no checkpoint, or no data.
    """
    from mmconvnext.checkpoints.trust import trusting

    source = config_file(folder)
    if source is None:
        raise UsageError(f"{folder}: expected the dumped config of a run, found none")
    checkpoint = Path(args.checkpoint) if args.checkpoint else pick_checkpoint(folder)
    cfg = load_config(str(source), {})
    # Apart from the run's own files: an evaluation dumps its config and writes a log.
    cfg.work_dir = str(folder / "report_evaluation")
    shared = {"launcher": "none", "local_rank": 0, "work_dir": cfg.work_dir, "seed": None}
    overrides.apply_shared(cfg, argparse.Namespace(data_root=args.data_root, **shared))
    cfg.load_from, cfg.resume = str(checkpoint), False
    place = device.pick_device(args.device, "none")
    running.tell(device.fit_to_device(cfg, place))
    with trusting(args.trust_checkpoint):
        preflight.check_testing(cfg)
        split_metrics(cfg)
        running.tell(f"evaluating {checkpoint}")
        with device.running_on(place, cfg):
            collector, figures = _test(cfg)
    found = _evaluation(collector, figures, checkpoint.name)
    with finished_file(folder / FILE) as unfinished:
        unfinished.write_text(found.to_json(), encoding="utf-8")
    return found


def pick_checkpoint(folder: Path) -> Path:
    """The best checkpoint in a work directory, else the last, else the newest.

    Raises:
        UsageError: there is none.
    """

    def age(path: Path) -> float:
        return path.stat().st_mtime

    if best := sorted(folder.glob("best_*.pth"), key=age):
        return best[-1]
    pointer = folder / "last_checkpoint"
    if pointer.is_file():
        last = Path(pointer.read_text(encoding="utf-8").strip())
        for path in (last, folder / last.name):  # the folder may have been moved
            if path.is_file():
                return path
    if others := sorted(folder.glob("*.pth"), key=age):
        return others[-1]
    raise UsageError(f"{folder}: expected a checkpoint (*.pth), found none; name it: --checkpoint")


def split_metrics(cfg: Config) -> None:
    """Let each COCO metric of the test give figures of each class, in place.

    Of boxes and masks in one metric a class's figures have the same name: two metrics, then.
    """
    given = cfg.test_evaluator
    split: list[Any] = []
    for evaluator in given if isinstance(given, (list, tuple)) else [given]:
        kinds = evaluator.get("metric", "bbox")
        if not str(evaluator.get("type", "")).rpartition(".")[2].endswith("CocoMetric"):
            split.append(evaluator)
            continue
        for kind in [kinds] if isinstance(kinds, str) else kinds:
            prefix = f"{evaluator.get('prefix') or 'coco'}{_SPLIT}{kind}"
            split.append({**evaluator, "metric": kind, "prefix": prefix, "classwise": True})
    cfg.test_evaluator = split


def _test(cfg: Config) -> tuple[Collector, dict[str, float]]:
    from mmconvnext.visualization.report.collecting import Collector

    runner = running.build_runner(cfg)
    dataset = runner.test_dataloader.dataset
    if not dataset.metainfo.get("classes"):
        raise UsageError(f"config {cfg.filename}: its test data set names no classes")
    collector = Collector(dataset)
    runner.test_loop  # noqa: B018  (makes the evaluator)
    runner.test_evaluator.metrics.append(collector)
    return collector, {name: float(value) for name, value in runner.test().items()}


def _evaluation(collector: Collector, figures: Mapping[str, float], checkpoint: str) -> Evaluation:
    from mmconvnext.visualization.report import collecting

    figures_of = collecting.object_figures if collector.detects else collecting.pixel_figures
    columns: dict[str, list[Any]] = {**figures_of(collector)}
    metrics: dict[str, float] = {}
    precisions: dict[str, dict[str, float]] = {}
    for name, value in figures.items():
        prefix, _, rest = name.partition("/")
        scope, split, kind = prefix.partition(_SPLIT)
        if split and rest.endswith("_precision"):
            column = precisions.setdefault(f"{_KINDS.get(kind, kind)} AP", {})
            column[rest.removesuffix("_precision")] = value
        else:
            metrics[f"{scope}/{rest}" if split else name] = value
    classes = collector.classes
    columns |= {title: [of.get(name) for name in classes] for title, of in precisions.items()}
    rule, score = collecting.RULES[collector.detects]
    return Evaluation(
        checkpoint=checkpoint,
        made=time.strftime("%Y-%m-%d %H:%M"),
        pictures=collector.pictures,
        # NaN, and pycocotools' -1: no object of this size
        metrics={name: value for name, value in metrics.items() if value >= 0},
        classes=classes,
        class_columns=list(columns),
        class_rows=[list(map(_plain, row)) for row in zip(*columns.values(), strict=True)],
        labels=collector.labels,
        confusion=collector.confusion.tolist(),
        unit="objects" if collector.detects else "pixels",
        score=score,
        rule=rule,
        best=collector.shown("best"),
        worst=collector.shown("worst"),
    )


def _plain(value: float | None) -> float | None:
    """None for what JSON has no number for."""
    return None if value is None or value != value else round(float(value), 4)
