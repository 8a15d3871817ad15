"""``test``: evaluate a checkpoint."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from numbers import Real
from pathlib import Path
from typing import Any

from mmconvnext.cli.backbone import add_backbone_options
from mmconvnext.cli.errors import OneLineParser, UsageError, report_errors
from mmconvnext.cli.files import finished_file
from mmconvnext.cli.options import add_shared_options, add_speed_options
from mmconvnext.cli.processes import rank

_PAINTERS = {"mmdet": "DetLocalVisualizer", "mmseg": "SegLocalVisualizer"}


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status (0 done, 1 failed, 2 bad input, 130 interrupted)."""
    argv = sys.argv[1:] if argv is None else argv
    return report_errors(
        "mmconvnext test", lambda: test(parser().parse_args(argv)), debug="--debug" in argv
    )


def parser() -> OneLineParser:
    """The command's options."""
    options = OneLineParser(prog="mmconvnext test", description="Evaluate a checkpoint.")
    add_shared_options(options)
    add_backbone_options(options, required=False, trains=False)
    options.add_argument("checkpoint", metavar="CHECKPOINT", help="the trained weights")
    options.add_argument(
        "--out", type=Path, metavar="FILE.pkl", help="write the predictions to FILE.pkl"
    )
    options.add_argument(
        "--show-dir", type=Path, metavar="DIR", help="save painted pictures in DIR"
    )
    options.add_argument(
        "--tta",
        action="store_true",
        help="test several sizes of every picture, flipped and not, and merge what is found",
    )
    add_speed_options(options)
    return options


def test(args: argparse.Namespace) -> None:
    """Check everything that can be checked, then evaluate.

    Raises:
        UsageError, DataError, CheckpointError: bad input; nothing was written.
    """
    from mmconvnext.checkpoints.for_mmengine import averaged
    from mmconvnext.checkpoints.trust import trusting

    with trusting(args.trust_checkpoint), averaged(args.ema):
        _test(args)


def _test(args: argparse.Namespace) -> None:
    from mmconvnext.cli import device, overrides, preflight, running, tta
    from mmconvnext.cli.backbone import load_with_backbone
    from mmconvnext.hooks.bad_data import BadDataHook

    _check_targets(args.out, args.show_dir)
    place = device.pick_device(args.device, args.launcher)
    cfg, adapted = load_with_backbone(args)
    overrides.apply_shared(cfg, args)
    cfg.load_from, cfg.resume = args.checkpoint, False
    if args.show_dir is not None and not cfg.get("visualizer"):
        cfg.visualizer = {"type": _PAINTERS.get(cfg.get("default_scope"), "Visualizer")}
    changed = device.fit_to_device(cfg, place)
    data = preflight.check_testing(
        cfg, ema=args.ema, skip=args.on_bad_data == "skip", plain=args.plain
    )
    _check_compiler(args, place)
    views = tta.use_tta(cfg) if args.tta else ""
    left_out = data.write()
    for line in [*adapted, changed, views, *left_out]:
        running.tell(line)
    with device.running_on(place, cfg), _written(args.out) as unfinished:
        runner = running.build_runner(cfg, args.plain)
        if unfinished is not None:
            _dump_predictions(runner, unfinished, cfg.get("default_scope"))
        if args.show_dir is not None:
            from mmconvnext.cli.pictures import PaintHook

            runner.register_hook(PaintHook(args.show_dir.resolve()))
        if args.fuse or args.compile:
            from mmconvnext.hooks import FastTestHook

            runner.register_hook(FastTestHook(fuse=args.fuse, compiled=args.compile))
        runner.register_hook(BadDataHook())
        with running.leaving_terminal_sane(runner):
            metrics = runner.test()
    _print_metrics(metrics)
    for line in left_out:
        running.tell(line)


def _check_targets(out: Path | None, show_dir: Path | None) -> None:
    if out is not None and out.suffix not in (".pkl", ".pickle"):
        raise UsageError(f"--out {out}: the predictions are a pickle, name it .pkl or .pickle")
    if out is not None and out.is_dir():
        raise UsageError(f"--out {out}: is a folder, a file is needed")
    if show_dir is not None and show_dir.exists() and not show_dir.is_dir():
        raise UsageError(f"--show-dir {show_dir}: is a file, a folder is needed")


def _check_compiler(args: argparse.Namespace, device: str) -> None:
    if not args.compile:
        return
    from mmconvnext.inference import CompilerError, check_compiler

    try:
        check_compiler(device)
    except CompilerError as error:
        raise UsageError(f"--compile: {error}") from error


def _written(out: Path | None) -> AbstractContextManager[Path | None]:
    return nullcontext() if out is None else finished_file(out)


def _dump_predictions(runner: Any, path: Path, scope: str | None) -> None:
    from mmengine.registry import METRICS

    from mmconvnext.evaluation.dump import DumpClassMaps

    # mmdet's own encodes masks, which are far too large raw.
    kind: Any = "mmdet.DumpDetResults" if scope == "mmdet" else DumpClassMaps
    metric = METRICS.build({"type": kind, "out_file_path": str(path)})
    runner.test_evaluator.metrics.append(metric)


def _print_metrics(metrics: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from mmconvnext.cli.running import tell

    if not metrics:
        tell("no metrics: nothing was predicted, or the config's evaluators computed none")
        return
    table = Table("metric", "value")
    table.columns[1].justify = "right"
    for name, value in metrics.items():
        table.add_row(name, f"{value:.4g}" if isinstance(value, Real) else str(value))
    if rank() == 0:
        Console().print(table)
