"""``demo``: the main job on made-up pictures: make them, train, test, show what came out.

Training and testing are the ordinary commands, run as a user would run them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmconvnext.cli.errors import DONE, FAILED, OneLineParser, UsageError, report_errors
from mmconvnext.cli.options import add_plain_option, natural, positive
from mmconvnext.data import shapes

PICTURES = shapes.ShapesSpec(size=96)
PICTURES_SHOWN = 12


@dataclasses.dataclass(frozen=True)
class Task:
    """What differs between the demo of detection and that of segmentation.

    Args:
        config: file of the recipe, in configs/demo.
        data: folder of the pictures, below data in the work directory.
        make_data: writes the pictures.
        classes: class names, by label.
        palette: RGB colours, by label.
        promised: title, name in the results and least value of each figure.
        scale: the results' values times this are fractions of 1.
    """

    config: str
    data: str
    make_data: Callable[[Path, shapes.ShapesSpec], dict[str, Any]]
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    promised: tuple[tuple[str, str, float], ...]
    scale: float


TASKS = {
    "detection": Task(
        config="cascade_convnext_shapes.py",
        data="coco",
        make_data=shapes.make_coco_shapes,
        classes=shapes.CLASSES,
        palette=shapes.PALETTE[1:],
        promised=(("box AP", "coco/bbox_mAP", 0.5), ("mask AP", "coco/segm_mAP", 0.5)),
        scale=1.0,
    ),
    "segmentation": Task(
        config="upernet_convnext_shapes.py",
        data="ade",
        make_data=shapes.make_ade_shapes,
        classes=shapes.SEGMENTATION_CLASSES,
        palette=shapes.PALETTE,
        promised=(("mIoU", "mIoU", 0.6),),
        scale=0.01,
    ),
}


def main(argv: list[str] | None = None) -> int:
    """Run the demo.

    Returns:
        The exit status: 0 done, 1 failed or below the promise, 2 bad input, 130 interrupted.
    """
    argv = sys.argv[1:] if argv is None else argv
    status = DONE

    def run() -> None:
        nonlocal status
        status = demo(parser().parse_args(argv))

    return report_errors("mmconvnext demo", run, debug="--debug" in argv) or status


def parser() -> OneLineParser:
    """The command's options."""
    options = OneLineParser(
        prog="mmconvnext demo",
        description="Train and test on made-up pictures, in minutes on two CPU cores.",
    )
    options.add_argument(
        "--task", choices=list(TASKS), default="detection", help="which (default: detection)"
    )
    options.add_argument(
        "--work-dir",
        type=Path,
        default=Path("work_dirs/demo"),
        metavar="DIR",
        help="where data and results go (default: %(default)s)",
    )
    options.add_argument("--seed", type=natural, default=0, help="of the training (default: 0)")
    options.add_argument(
        "--max-iters",
        type=positive,
        metavar="N",
        help="only N iterations: a trial of the machinery, its accuracy is not judged",
    )
    add_plain_option(options)
    options.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return options


def demo(args: argparse.Namespace) -> int:
    """Make the data, train, test, draw, and print what came out.

    Returns:
        0, or 1 where a figure is below the promise, or the status of the command that failed.

    Raises:
        UsageError: something else lies where the data are to go.
    """
    task, started = TASKS[args.task], time.monotonic()
    data, results = args.work_dir / "data" / task.data, args.work_dir / args.task
    try:
        stats = task.make_data(data, PICTURES)
    except FileExistsError as error:
        raise UsageError(str(error)) from error
    _say(f"{stats['train']['images']} pictures to train on, {stats['val']['images']} held out")
    status = _train(task, args, data, results / "train")
    if status == DONE:
        status = _test(task, args, data, results)
    if status != DONE:
        return status
    metrics = _metrics(task, results / "test")
    drawings = _draw(task, args.work_dir, args.task, results)
    judged = args.max_iters is None
    _print_table(task, metrics, time.monotonic() - started, drawings, judged)
    kept = all(metrics[title] >= least for title, _, least in task.promised)
    return DONE if kept or not judged else FAILED


def _train(task: Task, args: argparse.Namespace, data: Path, work_dir: Path) -> int:
    length = ["--max-iters", str(args.max_iters)] if args.max_iters else []
    seed = ["--seed", str(args.seed)]
    return _run("train.py", task, data, work_dir, *seed, *length, *_plain(args))


def _test(task: Task, args: argparse.Namespace, data: Path, results: Path) -> int:
    checkpoint = (results / "train" / "last_checkpoint").read_text().strip()
    out = str(results / "predictions.pkl")
    options = "--out", out, *_plain(args)
    return _run("test.py", task, data, results / "test", *options, checkpoint=checkpoint)


def _plain(args: argparse.Namespace) -> list[str]:
    return ["--plain"] if args.plain else []


def _run(
    tool: str, task: Task, data: Path, work_dir: Path, *options: str, checkpoint: str | None = None
) -> int:
    """Run a tool of this package as its own process, on this one's terminal; returns its status."""
    from mmconvnext.compat.config_root import config_root

    configs = config_root()
    command = [str(configs.parent / "tools" / tool), str(configs / "demo" / task.config)]
    command += [checkpoint] if checkpoint else []
    command += ["--data-root", str(data), "--work-dir", str(work_dir), *options]
    _say(f"python -W ignore {' '.join(map(_short, command))}")
    return subprocess.run([sys.executable, "-W", "ignore", *command], check=False).returncode


def _metrics(task: Task, work_dir: Path) -> dict[str, float]:
    """The promised figures as fractions of 1, by title."""
    values = json.loads(_newest(work_dir, "*/*.json").read_text(encoding="utf-8"))
    return {title: values[name] * task.scale for title, name, _ in task.promised}


def _newest(work_dir: Path, pattern: str) -> Path:
    # mmengine names a run's folder after the time of its start.
    return max(work_dir.glob(pattern))


def _draw(task: Task, work_dir: Path, name: str, results: Path) -> dict[str, Path]:
    import pickle

    from mmconvnext.visualization import panel_of, plot_curves, save_grid

    with (results / "predictions.pkl").open("rb") as file:
        predictions = pickle.load(file)  # written by the test a moment ago
    grid = save_grid(
        [panel_of(prediction) for prediction in predictions[:PICTURES_SHOWN]],
        work_dir / f"{name}_predictions.png",
        classes=task.classes,
        palette=task.palette,
    )
    curves = plot_curves(
        _newest(results / "train", "*/vis_data/scalars.json"),
        work_dir / f"{name}_curves.png",
        metrics=[name for _, name, _ in task.promised],
        title=task.config.removesuffix(".py"),
        scale=task.scale,
    )
    return {"predictions": grid, "loss and accuracy": curves, "logs and weights": results}


def _print_table(
    task: Task, metrics: dict[str, float], seconds: float, places: dict[str, Path], judged: bool
) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("demo", "result", "promised")
    table.columns[1].overflow = "fold"  # a path has to stay whole
    for title, _, least in task.promised:
        promise = f"at least {least:.2f}" if judged else "not judged"
        missed = judged and metrics[title] < least
        table.add_row(title, f"{metrics[title]:.3f}", promise, style="bold red" if missed else "")
    table.add_row("time", f"{seconds // 60:.0f} min {seconds % 60:.0f} s", "")
    for title, place in places.items():
        table.add_row(title, _short(str(place)), "")
    Console().print(table)


def _say(line: str) -> None:
    print(f"mmconvnext: {line}", flush=True)


def _short(path: str) -> str:
    """``path`` as seen from the current folder where it lies inside."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


if __name__ == "__main__":
    sys.exit(main())
