"""``export``: a trained model as an ONNX file or an archive of torch.export, compared with it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmconvnext.cli.errors import OneLineParser, UsageError, report_errors
from mmconvnext.cli.options import (
    add_config_options,
    add_weights_options,
    positive,
)
from mmconvnext.cli.predicting import without_config_warnings
from mmconvnext.cli.signals import interrupted_by_sigterm

if TYPE_CHECKING:
    from mmconvnext.export.comparing import Difference
    from mmconvnext.export.exporting import Export
    from mmconvnext.export.graphs import Graph

SUFFIXES = {"onnx": ".onnx", "exported": ".pt2"}


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status: 0 done, 1 failed or the file differs from the model, 2 bad input,
        130 interrupted.
    """
    argv = sys.argv[1:] if argv is None else argv

    def run() -> None:
        args = parser().parse_args(argv)
        with interrupted_by_sigterm(), without_config_warnings():
            export(args)

    return report_errors("mmconvnext export", run, debug="--debug" in argv)


def parser() -> OneLineParser:
    """The command's options."""
    options = OneLineParser(
        prog="mmconvnext export",
        description="Write a trained model as a file that runs without this package, and compare "
        "what it finds with what PyTorch finds.",
    )
    add_config_options(options)
    options.add_argument("checkpoint", metavar="CHECKPOINT", help="the trained weights")
    options.add_argument(
        "--to", choices=list(SUFFIXES), default="onnx", help="the format (default: onnx)"
    )
    options.add_argument(
        "-o", "--out", type=Path, required=True, metavar="FILE", help="where to (.onnx, .pt2)"
    )
    options.add_argument(
        "--part",
        choices=("model", "backbone"),
        default="model",
        help="the whole model, or its backbone's feature maps (default: model)",
    )
    options.add_argument(
        "--preprocessing",
        choices=("inside", "outside"),
        default="inside",
        help="whether the file resizes and normalises pictures itself (default: inside)",
    )
    options.add_argument(
        "--size",
        type=_size,
        metavar="HEIGHTxWIDTH",
        help="take one picture of this size only (default: any)",
    )
    options.add_argument(
        "--opset",
        type=positive,
        default=20,
        metavar="N",
        help="version of ONNX' operators, 18 or newer (default: %(default)s)",
    )
    options.add_argument(
        "--compare-with",
        nargs="+",
        type=Path,
        default=[],
        metavar="PICTURE",
        help="pictures on which file and model have to agree (default: the config's test "
        "pictures, or drawn ones)",
    )
    options.add_argument("--force", action="store_true", help="replace FILE if it exists")
    options.add_argument(
        "--data-root", metavar="DIR", help="use the data in DIR instead of the config's folder"
    )
    add_weights_options(options)
    return options


def export(args: argparse.Namespace) -> None:
    """Check the input, export, compare, and print what came of it.

    Raises:
        UsageError, DataError, CheckpointError: bad input, or a model that cannot be exported.
        DiffersError: the file finds something else than the model, and was removed.
    """
    check_out(args)
    from mmconvnext import Predictor
    from mmconvnext.cli.configs import load_config
    from mmconvnext.cli.overrides import set_data_root
    from mmconvnext.export.errors import ExportError
    from mmconvnext.export.exporting import Export, check_packages
    from mmconvnext.export.exporting import export as write
    from mmconvnext.export.pictures import pictures_to_compare
    from mmconvnext.inference.pictures import PictureError

    wanted = Export(args.to, args.part, args.preprocessing, args.size, args.opset)
    try:
        check_packages(args.to)
    except ExportError as error:
        raise UsageError(str(error)) from error
    cfg = load_config(args.config, args.cfg_options)
    if args.data_root is not None:
        set_data_root(cfg, str(Path(args.data_root).expanduser()))
    try:
        pictures = pictures_to_compare(cfg, args.compare_with, args.size)
    except PictureError as error:
        raise UsageError(f"--compare-with: {error}") from error
    predictor = Predictor(
        cfg,
        args.checkpoint,
        device="cpu",
        ema=args.ema,
        trust_checkpoint=args.trust_checkpoint,
    )
    try:
        graph, metadata, difference = write(predictor, cfg, args.out, wanted, pictures)
    except ExportError as error:
        raise UsageError(str(error)) from error
    _report(args.out, wanted, graph, metadata, difference, len(pictures))


def check_out(args: argparse.Namespace) -> None:
    """Check what can be known of FILE before the work.

    Raises:
        UsageError: another suffix, the file exists, or its folder cannot be written to.
    """
    out, suffix = args.out.expanduser(), SUFFIXES[args.to]
    if out.suffix != suffix:
        raise UsageError(f"-o {args.out}: --to {args.to} writes a file ending in {suffix}")
    if out.exists() and not args.force:
        raise UsageError(f"-o {args.out}: exists; name another file, or replace it with --force")
    folder = next(folder for folder in out.absolute().parents if folder.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UsageError(f"-o {args.out}: {folder} is no folder that can be written to")
    if args.to == "onnx" and args.opset < 18:
        raise UsageError(f"--opset {args.opset}: 18 is the oldest that PyTorch writes")
    args.out = out


def _report(
    out: Path,
    wanted: Export,
    graph: Graph,
    metadata: dict[str, Any],
    difference: Difference,
    pictures: int,
) -> None:
    from mmconvnext.cli.running import tell

    runtime = "ONNX Runtime" if wanted.to == "onnx" else "torch.export's archive"
    what = {"detection": "detections", "segmentation": "pixels"}.get(metadata["task"], "numbers")
    tell(f"{runtime} and PyTorch on {pictures} pictures: {difference.count:,} {what} compared")
    for name, (value, limit) in difference.worst.items():
        tell(f"  {name} {value:.3g} at worst (allowed: {limit:g})")
    if not difference.count:
        tell("  nothing was found in them: name pictures of the model's classes: --compare-with")
    test = metadata.get("test_cfg", {})
    if test.get("mode") == "slide":
        height, width = test["crop_size"]
        tell(
            f"the config tests in windows of {width}x{height}; the file takes a picture as a whole,"
            " windows are up to who runs it"
        )
    size = out.stat().st_size / 2**20
    tell(f"{out}: {size:,.1f} MiB; {graph.input_name} -> {', '.join(graph.outputs)}")


def _size(text: str) -> tuple[int, int]:
    height, cross, width = text.lower().partition("x")
    if not cross or not height.isdecimal() or not width.isdecimal() or not int(height) * int(width):
        raise argparse.ArgumentTypeError(f"must be HEIGHTxWIDTH in pixels, not {text!r}")
    return int(height), int(width)


if __name__ == "__main__":
    sys.exit(main())
