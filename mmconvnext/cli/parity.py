"""``parity``: training by the recipes beside mmdet's and mmseg's own ConvNeXt configs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmconvnext.cli.errors import OneLineParser, report_errors
from mmconvnext.cli.files import finished_file
from mmconvnext.cli.options import positive

if TYPE_CHECKING:
    from mmconvnext.benchmarks.parity import Comparison

NAMES = ("mask_rcnn", "upernet")
ITERATIONS = 30
HEADINGS = (
    "iteration",
    "loss, ours",
    "loss, stock",
    "largest relative difference",
    "of",
    "of stock from itself, nudged",
)


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status (0 agrees, 1 failed or does not agree, 2 bad input,
    130 interrupted)."""
    argv = sys.argv[1:] if argv is None else argv
    return report_errors(
        "mmconvnext parity", lambda: parity(parser().parse_args(argv)), debug="--debug" in argv
    )


def parser() -> OneLineParser:
    """The command's options."""
    options = OneLineParser(
        prog="mmconvnext parity",
        description="Train Mask R-CNN-T and UperNet-T by the recipes and by mmdet's and mmseg's "
        "own configs, from the same weights on the same pictures, and compare the losses.",
    )
    options.add_argument(
        "names", nargs="*", metavar="NAME", help=f"{' or '.join(NAMES)} (default: both)"
    )
    options.add_argument(
        "--iterations",
        type=positive,
        default=ITERATIONS,
        metavar="N",
        help=f"of two pictures each (default: {ITERATIONS})",
    )
    options.add_argument(
        "--single",
        action="store_true",
        help="in single precision, where rounding decides sooner",
    )
    options.add_argument("--page", type=Path, metavar="FILE.md", help="write the tables there")
    options.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return options


def parity(args: argparse.Namespace) -> None:
    """Train, print, write.

    Raises:
        UsageError: there is no such pair.
        RuntimeError: a loss differs by more than it may.
    """
    for name in args.names:
        if name not in NAMES:
            parser().error(f"unknown name {name!r}; one of {', '.join(NAMES)}")
    from rich.console import Console

    from mmconvnext.benchmarks.parity import compare

    found: list[Comparison] = []
    for name in args.names or NAMES:
        for warm_up in (True, False):
            settings = {"warm_up": warm_up, "single": args.single}
            found.append(compare(name, args.iterations, **settings))
            Console().print(f"{found[-1].title}: {summary(found[-1])}", soft_wrap=True)
            if args.page is not None:
                with finished_file(args.page) as file:
                    file.write_text("\n".join(page(found)) + "\n", encoding="utf-8")
    if wrong := [one for one in found if not one.agrees()]:
        raise RuntimeError("; ".join(f"{one.title}: {summary(one)}" for one in wrong))


def summary(found: Comparison) -> str:
    """What came out, in a line."""
    from mmconvnext.benchmarks.parity import TOLERANCE

    verdict = "agrees" if found.agrees() else "DOES NOT AGREE"
    batches, rates = (
        "equal" if same else "NOT EQUAL" for same in (found.same_batches, found.same_rates)
    )
    return (
        f"{verdict} in the {found.judged()} of {len(found.stock)} iterations that rounding does "
        f"not decide; losses differ by at most {found.largest():.1e} relative there ({TOLERANCE:g} "
        f"may be); pictures {batches}, learning rates {rates}; the weights' moves differ by "
        f"{found.apart / found.moved:.1e} of their length; stock's backbone is {found.network}'s"
    )


def page(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """Lines of Markdown."""
    from mmconvnext.benchmarks.record import installed_versions

    yield from ("# Beside stock mmdet and mmseg", "", _HEAD, "")
    versions = ", ".join(f"{name} {number}" for name, number in installed_versions().items())
    yield f"Packages: {versions}."
    for found in comparisons:
        yield from ("", f"## {found.title}", "", f"{_sentence(summary(found))}.", "")
        yield f"| {' | '.join(HEADINGS)} |"
        yield f"|{' --- |' * len(HEADINGS)}"
        rows = zip(found.ours, found.stock, found.differences(), found.rounding(), strict=True)
        for number, (ours, stock, apart, rounding) in enumerate(rows, 1):
            worst = max(apart, key=lambda name: apart[name])
            cells = (number, f"{ours['loss']:.6f}", f"{stock['loss']:.6f}", f"{apart[worst]:.1e}")
            yield f"| {' | '.join(map(str, cells))} | `{worst}` | {rounding:.1e} |"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


_HEAD = """\
Written by `make parity`. Our recipes and OpenMMLab's own ConvNeXt configs train from the same
weights, with the same seed, on the same made-up photographs: every loss of every iteration is
compared. Ours has this package's network, training pipeline, UPerHead and learning-rate
constructor; stock has mmpretrain's, mmdet's and mmseg's. mmcv's operators are this package's on
both sides where mmcv has no compiled ones.

For both sides alike: one process on a CPU, batches of two, pictures, crops and anchors of an
eighth of their size, an eighth of Mask R-CNN's regions, BatchNorm for SyncBatchNorm, random
initial weights, no evaluation. One setting of stock's is changed: its warm-up, which is not the
authors', is ours. At the recipes' warm-up weights hardly move in so few iterations: those headed
"the full learning rate at once" leave it out.

In double precision, for the sides add up in different orders, and training makes more of every
difference. How much more is shown by stock beside itself, once with each first weight moved by up
to eight roundings at random: the last column. Up to where that reaches a hundredth of what may be,
ours is judged; after it rounding decides, and the numbers are only shown. In single precision
(`mmconvnext parity --single`) Mask R-CNN's losses parted by 6e-4 in the second iteration, and from
the third on regions were assigned to other objects: seen once, without the control."""
