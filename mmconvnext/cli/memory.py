"""``memory``: which batch, with which ``recompute``, fits which GPU."""

from __future__ import annotations

import argparse
import json
import math
import sys
import warnings
from collections.abc import Iterator
from textwrap import fill
from typing import TYPE_CHECKING, Any

from mmconvnext.cli.errors import OneLineParser, UsageError, describe, report_errors
from mmconvnext.cli.options import add_overrides_option, positive

if TYPE_CHECKING:
    from mmengine.config import Config

    from mmconvnext.evaluation.training_memory import TrainingMemory

GPUS = [16, 24, 40, 80]  # GiB
RECIPES = (
    *(f"detection/cascade_convnext_{name}_coco.py" for name in ("t", "s", "b")),
    *(f"detection/cascade_convnext_{name}_in22k_coco.py" for name in ("l", "xl")),
    *(f"segmentation/upernet_convnext_{name}_ade20k_512.py" for name in ("t", "s", "b")),
    *(f"segmentation/upernet_convnext_{name}_in22k_ade20k_640.py" for name in ("l", "xl")),
)
BATCH = 2  # pictures on each GPU in the published recipes
_PAD = 32  # pixels: detectors' pictures are padded to multiples of it
NOTE = (
    "Kept: what autograd keeps of each picture for the backward pass, counted to the byte on fake "
    "CUDA tensors, drop path and the losses of detectors left out, two-stage heads with as many "
    "RoIs as they are trained with. Batch: the most pictures for which that and 15 % (the backward "
    "pass's own maps, fragmentation), parameters, gradients and AdamW's two moments (16 bytes a "
    "parameter), and 1 GiB (CUDA, libraries' workspaces) fit; '-': none. 16 bits: autocast to "
    "bfloat16 or float16. On a CPU Cascade Mask R-CNN-T's real losses kept 0.8 % more than "
    "counted; nobody has compared the batches with a GPU yet."
)
PAGE_HEAD = """\
# Which batch fits which GPU

Written by `mmconvnext memory --markdown > docs/memory.md`. For any other config of mmdet or mmseg:
`mmconvnext memory CONFIG`.

"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status (0 done, 1 failed, 2 bad input, 130 interrupted)."""
    argv = sys.argv[1:] if argv is None else argv
    return report_errors(
        "mmconvnext memory", lambda: memory(parser().parse_args(argv)), debug="--debug" in argv
    )


def parser() -> OneLineParser:
    """The command's options."""
    options = OneLineParser(
        prog="mmconvnext memory",
        description="Tell which batch, with which recompute, fits which GPU in training.",
    )
    options.add_argument(
        "configs",
        nargs="*",
        metavar="CONFIG",
        help="config file, or package::path such as mmdet::… (default: the main recipes)",
    )
    add_overrides_option(
        options, "override settings of the configs, e.g. model.backbone.frozen_stages=1"
    )
    options.add_argument(
        "--shape",
        nargs=2,
        type=positive,
        metavar=("H", "W"),
        help="padded pictures, in pixels (default: the largest that the config trains on)",
    )
    options.add_argument(
        "--gpus",
        nargs="+",
        type=positive,
        default=GPUS,
        metavar="GIB",
        help=f"memory of GPUs (default: {' '.join(map(str, GPUS))})",
    )
    form = options.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON instead of tables")
    form.add_argument("--markdown", action="store_true", help="print Markdown, as docs/memory.md")
    options.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return options


def memory(args: argparse.Namespace) -> None:
    """Count, then print.

    Raises:
        UsageError: no such config, or its model does not take such pictures.
    """
    shape = tuple(args.shape) if args.shape else None
    names = args.configs or [f"mmconvnext::{recipe}" for recipe in RECIPES]
    found = ((name, memory_of(name, args.cfg_options, shape)) for name in names)
    if args.json:
        print(json.dumps([_as_dict(*each, args.gpus) for each in found], indent=2))
    elif args.markdown:
        results = list(found)
        print(PAGE_HEAD + fill(NOTE, 100))
        print("\n".join(_summary(results, args.gpus)))
        for each in results:
            print("\n".join(_markdown(*each, args.gpus)))
    else:
        for each in found:
            _print_table(*each, args.gpus)
        print(fill(NOTE, 100))


def memory_of(name: str, options: dict[str, Any], shape: tuple[int, int] | None) -> TrainingMemory:
    """Count what training the config ``name`` takes.

    Raises:
        UsageError: no such config, or its model does not take such pictures.
    """
    from mmconvnext.cli.configs import load_config
    from mmconvnext.cli.models import build_on
    from mmconvnext.evaluation.training_memory import count_training_memory

    cfg = load_config(name, options)
    if cfg.get("model") is None:
        raise UsageError(f"config {cfg.filename} has no model: nothing to count")
    shape = shape or training_shape(cfg)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about training, which does not follow
        try:
            model = build_on("meta", cfg)
            try:
                return count_training_memory(model, shape)
            except ValueError as error:
                raise UsageError(f"--shape {shape[0]} {shape[1]}: {error}") from error
        except (RuntimeError, NotImplementedError) as error:
            raise UsageError(
                f"config {name}: its model wants numbers to be built or run, and cannot be counted "
                f"without: {describe(error)}"
            ) from error


def training_shape(cfg: Config) -> tuple[int, int]:
    """Height and width of the largest padded pictures that ``cfg`` trains on."""
    from mmconvnext.adapt.walking import dicts

    for node, _ in dicts(cfg.model.get("data_preprocessor") or cfg.get("data_preprocessor") or {}):
        if node.get("size"):
            return tuple(node["size"])
    scales: list[Any] = []
    for node, _ in dicts((cfg.get("train_dataloader") or {}).get("dataset") or {}):
        if str(node.get("type")).rpartition(".")[2] in (
            "Resize",
            "RandomResize",
            "RandomChoiceResize",
        ):
            listed = node.get("scales") or node.get("scale") or ()
            scales += listed if listed and not isinstance(listed[0], int) else [listed]
    sides = max(((min(scale), max(scale)) for scale in scales if scale), default=(800, 1333))
    height, width = (math.ceil(side / _PAD) * _PAD for side in sides)
    return height, width


def _precision(autocast: bool) -> str:
    return "16 bits" if autocast else "fp32"


def _title(name: str, found: TrainingMemory) -> str:
    height, width = found.shape
    heads = "" if found.whole else "; backbone and neck only: its heads want real boxes"
    return f"{name}, {width}x{height}, {found.params / 1e6:.1f} M parameters{heads}"


def _header(gpus: list[int]) -> list[str]:
    batches = [f"{gpu} GiB" for gpu in gpus]
    return ["precision", "recompute", "kept a picture (GiB)", *batches]


def _rows(found: TrainingMemory, gpus: list[int]) -> Iterator[list[str]]:
    ours = len({kept.mode for kept in found.kept}) > 1
    for kept in found.kept:
        mode = str(kept.mode) if ours else "as configured"
        batches = [str(found.pictures(kept, gpu) or "-") for gpu in gpus]
        yield [_precision(kept.autocast), mode, f"{kept.each / 2**30:.2f}", *batches]


def _as_dict(name: str, found: TrainingMemory, gpus: list[int]) -> dict[str, Any]:
    return {
        "config": name,
        "shape": list(found.shape),
        "params": found.params,
        "weight_bytes": found.weights,
        "heads_counted": found.whole,
        "modes": [
            {
                "precision": _precision(kept.autocast),
                "recompute": kept.mode,
                "kept_bytes_per_picture": kept.each,
                "kept_bytes_besides": kept.whatever,
                "batch": {str(gpu): found.pictures(kept, gpu) for gpu in gpus},
            }
            for kept in found.kept
        ],
    }


def _summary(results: list[tuple[str, TrainingMemory]], gpus: list[int]) -> Iterator[str]:
    """For each config the fastest mode with which a batch fits, in fp32 and in 16 bits."""
    yield ""
    yield (
        f"The fastest `recompute` with which {BATCH} pictures fit, the recipes' batch on a GPU; "
        "in\nfp32 / in 16 bits; '-': none."
    )
    yield ""
    header = ["config", *(f"{gpu} GiB" for gpu in gpus)]
    rows = [[name, *(_fastest(found, gpu) for gpu in gpus)] for name, found in results]
    for row in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(row)} |"


def _fastest(found: TrainingMemory, gpu: int) -> str:
    """The modes come from the fastest to the slowest."""
    fitting: dict[bool, str] = {}
    for kept in found.kept:
        if found.pictures(kept, gpu) >= BATCH:
            fitting.setdefault(kept.autocast, str(kept.mode))
    return " / ".join(fitting.get(autocast, "-") for autocast in (False, True))


def _markdown(name: str, found: TrainingMemory, gpus: list[int]) -> Iterator[str]:
    header = _header(gpus)
    yield from ("", f"## {_title(name, found)}", "")
    for row in (header, ["---"] * len(header), *_rows(found, gpus)):
        yield f"| {' | '.join(row)} |"


def _print_table(name: str, found: TrainingMemory, gpus: list[int]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*_header(gpus), title=_title(name, found), title_justify="left")
    for column in table.columns[2:]:
        column.justify = "right"
    for row in _rows(found, gpus):
        table.add_row(*row)
    Console().print(table)
