"""``road``: train the networks between ResNet and ConvNeXt on one's own data, on equal terms."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING

from mmconvnext.cli.errors import OneLineParser, UsageError, report_errors
from mmconvnext.cli.options import add_overrides_option, natural, positive

if TYPE_CHECKING:
    from mmengine.config import Config

    from mmconvnext.cli.road_runs import Run


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status (0 done, 1 failed, 2 bad input, 130 interrupted)."""
    argv = sys.argv[1:] if argv is None else argv
    return report_errors(
        "mmconvnext road", lambda: road(parser().parse_args(argv)), debug="--debug" in argv
    )


def parser() -> OneLineParser:
    """The command's options."""
    options = OneLineParser(
        prog="mmconvnext road",
        description="Train the networks on the paper's road from ResNet to ConvNeXt with equal "
        "settings, and draw which change helped on your data. Started again, it goes on where it "
        "stopped. Without CONFIG: list the stops beside the paper's figures.",
    )
    options.add_argument(
        "config", nargs="?", metavar="CONFIG", help="with a RoadNet, such as configs/road/*.py"
    )
    options.add_argument(
        "--demo", action="store_true", help="a small road on made-up pictures, in minutes"
    )
    options.add_argument(
        "--steps", nargs="+", metavar="WORD", help="the stops to train (default: all)"
    )
    options.add_argument(
        "--seeds",
        nargs="+",
        type=natural,
        default=[0],
        metavar="N",
        help="train each stop once with each (default: 0); the spread tells what is chance",
    )
    options.add_argument(
        "--metric",
        metavar="WORD",
        help="the validation's figure to draw (default: coco/bbox_mAP, mIoU or the first)",
    )
    options.add_argument(
        "--weights",
        metavar="FILE",
        help="what each stop starts from; {step} in it stands for the stop's name",
    )
    options.add_argument(
        "--data-root", metavar="DIR", help="use the data in DIR instead of the config's folder"
    )
    options.add_argument("--max-iters", type=positive, metavar="N", help="train N iterations each")
    add_overrides_option(options, "override settings of the config, for all stops")
    options.add_argument(
        "--work-dir", type=Path, metavar="DIR", help="(default: ./work_dirs/CONFIG's name)"
    )
    options.add_argument(
        "--jobs", type=positive, default=1, metavar="N", help="trainings at a time (default: 1)"
    )
    options.add_argument(
        "--gpus", type=positive, default=1, metavar="N", help="of each training (torchrun)"
    )
    options.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return options


def road(args: argparse.Namespace) -> None:
    """Train what is not trained yet, then print and draw; or list the stops.

    Raises:
        UsageError, AdaptError: bad input; nothing was written.
        RuntimeError: a training failed; the finished ones are kept.
    """
    from mmconvnext.cli import road_runs, road_table

    if args.demo:
        _make_demo(args)
    elif args.config is None:
        road_table.print_stops()
        return
    steps = _steps(args.steps)
    cfg, work_dir = _config(args)
    runs = road_runs.plan(cfg, steps, args.seeds, work_dir, weights=args.weights)
    costs = road_table.costs_of(cfg, steps)
    _train(runs, args)
    results = road_runs.results(runs, args.metric)
    table = road_table.rows(results, costs)
    road_table.print_results(table, results.metric)
    for file in road_table.write(table, results.metric, work_dir):
        print(f"mmconvnext: {file}")


def _steps(wanted: Sequence[str] | None) -> list[str]:
    """In the order of the road."""
    from mmconvnext.backbones.road_stops import STEPS

    for step in wanted or ():
        if step not in STEPS:
            raise UsageError(f"--steps: no stop {step!r}; there are {', '.join(STEPS)}")
    return [step for step in STEPS if wanted is None or step in wanted]


def _make_demo(args: argparse.Namespace) -> None:
    """Make the pictures, and fill in what trains on them."""
    from mmconvnext.cli.demo import PICTURES
    from mmconvnext.compat.config_root import config_root
    from mmconvnext.data.shapes import make_ade_shapes

    if args.config is not None or args.data_root is not None:
        raise UsageError("--demo has a config and data of its own: leave out CONFIG, --data-root")
    args.config = str(config_root() / "demo" / "upernet_road_shapes.py")
    args.work_dir = args.work_dir or Path("work_dirs/road_demo")
    data = args.work_dir / "data"
    try:
        make_ade_shapes(data, PICTURES)
    except FileExistsError as error:
        raise UsageError(str(error)) from error
    args.data_root = str(data)


def _config(args: argparse.Namespace) -> tuple[Config, Path]:
    from mmconvnext.cli.configs import config_name, load_config
    from mmconvnext.cli.overrides import set_data_root
    from mmconvnext.cli.schedule import set_max_iters

    cfg = load_config(args.config, args.cfg_options)
    if args.data_root is not None:
        set_data_root(cfg, str(Path(args.data_root).expanduser()))
    if args.max_iters is not None:
        set_max_iters(cfg, args.max_iters)
    work_dir = args.work_dir or Path("work_dirs") / config_name(args.config)
    if work_dir.exists() and not work_dir.is_dir():
        raise UsageError(f"--work-dir {work_dir}: is a file, a folder is needed")
    return cfg, work_dir


def _train(runs: Sequence[Run], args: argparse.Namespace) -> None:
    from mmconvnext.cli.road_runs import train

    left = [run for run in runs if not run.finished]
    if len(left) < len(runs):
        _tell(f"{len(runs) - len(left)} of {len(runs)} trainings are finished already")
    started = time.monotonic()
    pool, running = ThreadPoolExecutor(args.jobs), set[subprocess.Popen]()
    shared = {"gpus": args.gpus, "jobs": args.jobs, "running": running}
    try:
        futures = {pool.submit(train, run, **shared): run for run in left}
        for count, future in enumerate(as_completed(futures), start=1):
            future.result()
            pace = (time.monotonic() - started) / count
            rest = f", about {pace * (len(left) - count) / 60:.0f} min left"
            _tell(f"{count}/{len(left)} {futures[future]}{rest if count < len(left) else ''}")
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in list(running):
            process.terminate()  # it saves a checkpoint, from which it goes on the next time
        pool.shutdown()


def _tell(line: str) -> None:
    print(f"mmconvnext: {line}", flush=True)
