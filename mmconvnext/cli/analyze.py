"""``analyze``: parameters and operations of a config's model, part by part."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from typing import TYPE_CHECKING, Any

from mmconvnext.cli.errors import OneLineParser, UsageError, report_errors
from mmconvnext.cli.options import add_config_options, positive

if TYPE_CHECKING:
    from mmengine.config import Config

    from mmconvnext.evaluation.complexity import Complexity

CLASSIFICATION_SHAPE = (224, 224)
DETECTION_SHAPE = (800, 1280)  # at which the detection tables of the field are counted


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status (0 done, 1 failed, 2 bad input, 130 interrupted)."""
    argv = sys.argv[1:] if argv is None else argv
    return report_errors(
        "mmconvnext analyze", lambda: analyze(parser().parse_args(argv)), debug="--debug" in argv
    )


def parser() -> OneLineParser:
    """The command's options."""
    options = OneLineParser(
        prog="mmconvnext analyze",
        description="Count a model's parameters and operations, part by part.",
    )
    add_config_options(options)
    options.add_argument(
        "--shape",
        nargs=2,
        type=positive,
        metavar=("H", "W"),
        help="input in pixels (default: 800 1280 for detectors, the size that the test pipeline "
        "scales to for segmentors)",
    )
    options.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return options


def analyze(args: argparse.Namespace) -> None:
    """Count, then print.

    Raises:
        UsageError: no such config, or the model does not take an input of that shape.
    """
    from mmconvnext.cli.configs import load_config

    cfg = load_config(args.config, args.cfg_options)
    if cfg.get("model") is None:
        raise UsageError(f"config {cfg.filename} has no model: nothing to count")
    found = complexity_of(cfg, tuple(args.shape) if args.shape else published_shape(cfg))
    if args.json:
        print(json.dumps(as_dict(found, args.config), indent=2))
    else:
        _print_table(found)


def published_shape(cfg: Config) -> tuple[int, int]:
    """Height and width at which a model of ``cfg``'s kind is usually counted."""
    if str(cfg.model.get("type")).endswith("ImageClassifier"):
        return CLASSIFICATION_SHAPE
    if cfg.get("default_scope") != "mmseg":
        return DETECTION_SHAPE
    for step in cfg.get("test_pipeline") or ():
        if step.get("type") == "Resize" and step.get("scale"):
            return min(step["scale"]), max(step["scale"])
    return tuple((cfg.model.get("data_preprocessor") or {}).get("size") or (512, 512))


def complexity_of(cfg: Config, shape: tuple[int, int]) -> Complexity:
    """Count ``cfg``'s model, on the meta device if it runs there.

    Raises:
        UsageError: it does not take an input of that shape.
    """
    from mmconvnext.cli.models import build_on, build_without_memory
    from mmconvnext.evaluation.complexity import count_complexity

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about training, which does not follow
        model = build_without_memory(cfg)
        try:
            try:
                return count_complexity(model, shape)
            except (RuntimeError, NotImplementedError):  # it looks at numbers
                return count_complexity(build_on("cpu", cfg), shape)
        except ValueError as error:
            raise UsageError(f"--shape {shape[0]} {shape[1]}: {error}") from error


def as_dict(found: Complexity, config: str) -> dict[str, Any]:
    """What ``--json`` prints: parameters as numbers, operations in units of 10^9."""
    return {
        "config": config,
        "shape": list(found.shape),
        "rois": found.rois or None,
        "params": found.params,
        "gflops": found.macs / 1e9,
        "computed_gflops": (found.macs if found.computed_macs is None else found.computed_macs)
        / 1e9,
        "parts": [
            {"part": part.name, "params": part.params, "gflops": part.macs / 1e9}
            for part in found.parts
        ],
    }


def _print_table(found: Complexity) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("part", "parameters (M)", "GFLOPs", show_footer=True)
    for column in table.columns[1:]:
        column.justify = "right"
    for part in found.parts:
        flops = f"{part.macs / 1e9:,.2f}" if part.macs else "-"  # an auxiliary head, say
        table.add_row(part.name, f"{part.params / 1e6:,.2f}", flops)
    totals = ("all", f"{found.params / 1e6:,.2f}", f"{found.macs / 1e9:,.2f}")
    for column, total in zip(table.columns, totals, strict=True):
        column.footer = total
    height, width = found.shape
    rois = f"; RoIs: {found.rois}" if found.rois else ""
    console = Console()
    console.print(table)
    console.print(
        f"Input {width}x{height}{rois}. GFLOPs are 10^9 multiply-accumulates of convolutions and "
        "matrix products; -: inference has none there.",
        highlight=False,
    )
    if found.computed_macs is not None:
        console.print(
            "These are the published network's; its fast head gives the same numbers with "
            f"{found.computed_macs / 1e9:,.2f} GFLOPs in all.",
            highlight=False,
        )
