"""``recipes``: the recipes with their published and measured figures."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from itertools import groupby
from textwrap import fill

from mmconvnext.checkpoints.zoo import DINOV3_REQUEST
from mmconvnext.cli.errors import OneLineParser, UsageError, report_errors
from mmconvnext.recipes import Recipe, load_recipes

NOTE = (
    "Published: the authors' figures; nobody has repeated the accuracies with this package yet. "
    "Measured: this package's own, with `mmconvnext analyze CONFIG`. Parameters in millions; "
    "GFLOPs are 10^9 multiply-accumulates for 1280x800 (COCO) and 2048x512 or 2560x640 (ADE20K)."
)
LICENCES = {
    "MIT": "https://github.com/facebookresearch/ConvNeXt/blob/main/LICENSE",
    "CC BY-NC 4.0": "https://github.com/facebookresearch/ConvNeXt-V2/blob/main/LICENSE",
    "DINOv3 License": "https://github.com/facebookresearch/dinov3/blob/main/LICENSE.md",
}
PAGE_HEAD = """\
# Model zoo

Written by `mmconvnext recipes --markdown > docs/model_zoo.md`; a test compares the two.

"""
PAGE_TAIL = f"""
AP on COCO's val2017 is box/mask, linked to the authors' trained model. mIoU on ADE20K's validation
set is single-scale/multi-scale and flipped. ConvNeXt V2's tables have multi-scale results only, and
its authors swept drop path, decay and (for UperNet) the rate without saying which values won: those
in these configs are chosen, as is everything but the weights in the DINOv3 recipes. Weights under
CC BY-NC 4.0 are not for commercial use. Meta sends the DINOv3 files after
[a request]({DINOV3_REQUEST}).
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status (0 done, 1 failed, 2 bad input, 130 interrupted)."""
    argv = sys.argv[1:] if argv is None else argv
    return report_errors(
        "mmconvnext recipes", lambda: recipes(parser().parse_args(argv)), debug="--debug" in argv
    )


def parser() -> OneLineParser:
    """The command's options."""
    options = OneLineParser(
        prog="mmconvnext recipes",
        description="List the recipes with their published and measured figures.",
    )
    options.add_argument(
        "--filter",
        nargs="+",
        default=[],
        metavar="WORD",
        help="only recipes with all these words, e.g. --filter cascade 22k",
    )
    form = options.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON instead of tables")
    form.add_argument("--markdown", action="store_true", help="print docs/model_zoo.md")
    options.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return options


def recipes(args: argparse.Namespace) -> None:
    """Print the recipes asked for.

    Raises:
        UsageError: there are none.
    """
    found = [recipe for recipe in load_recipes() if _has_words(recipe, args.filter)]
    if not found:
        raise UsageError(
            f"--filter {' '.join(args.filter)}: no recipe has all of these words; "
            "`mmconvnext recipes` lists all"
        )
    if args.json:
        print(json.dumps([recipe.as_dict() for recipe in found], indent=2))
    elif args.markdown:
        print(markdown(found), end="")
    else:
        _print_tables(found)


def markdown(found: list[Recipe]) -> str:
    """The page docs/model_zoo.md."""
    lines = [PAGE_HEAD + fill(NOTE, 100)]
    for title, group in _by_method(found):
        header = _header(group[0])
        lines += [
            "",
            f"## {title}",
            "",
            _markdown_row(header),
            _markdown_row(["---"] * len(header)),
        ]
        lines += [_markdown_row(_linked_cells(recipe)) for recipe in group]
    return "\n".join(lines) + "\n" + PAGE_TAIL


def _markdown_row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _linked_cells(recipe: Recipe) -> list[str]:
    network, pretraining, accuracy, *figures, weights, licence, config = _cells(recipe)
    if recipe.fine_tuned:
        accuracy = f"[{accuracy}]({recipe.fine_tuned})"
    if recipe.pretrained.address:
        weights = f"[{weights}]({recipe.pretrained.address})"
    licence = f"[{licence}]({LICENCES[licence]})"
    config = f"[{config.rpartition('/')[2]}](../configs/{config})"
    return [network, pretraining, accuracy, *figures, weights, licence, config]


def _header(recipe: Recipe) -> list[str]:
    return [
        "network",
        "pretraining",
        f"published {_accuracy(recipe)}",
        "published params",
        "published GFLOPs",
        "measured params",
        "measured GFLOPs",
        "weights",
        "licence",
        "config",
    ]


def _accuracy(recipe: Recipe) -> str:
    return "mIoU" if recipe.is_segmentation else "AP"


def _cells(recipe: Recipe) -> list[str]:
    published = [recipe.published_params, recipe.published_gflops]
    return [
        recipe.network,
        recipe.pretraining,
        recipe.published,
        *("-" if value is None else f"{value:g}" for value in published),
        f"{recipe.measured_params:.2f}",
        f"{recipe.measured_gflops:.2f}",
        recipe.weights,
        recipe.pretrained.licence,
        recipe.config,
    ]


def _by_method(found: list[Recipe]) -> Iterator[tuple[str, list[Recipe]]]:
    def title(recipe: Recipe) -> str:
        return f"{recipe.method} on {'ADE20K' if recipe.is_segmentation else 'COCO'}"

    for name, group in groupby(found, key=title):
        yield name, list(group)


def _has_words(recipe: Recipe, words: list[str]) -> bool:
    text = " ".join(str(value) for value in recipe.as_dict().values()).lower()
    return all(word.lower() in text for word in words)


def _print_tables(found: list[Recipe]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:  # a file or a pipe has no width to fit in
        console = Console(width=200)
    for title, group in _by_method(found):
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
        table.add_column("network\npretraining")
        for name in (
            f"published\n{_accuracy(group[0])}",
            "published\nM, GFLOPs",
            "measured\nM, GFLOPs",
        ):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("config\nweights, licence", overflow="fold")
        for recipe in group:
            network, pretraining, published, *figures, weights, licence, config = _cells(recipe)
            pairs = ("\n".join(figures[:2]), "\n".join(figures[2:]))
            where = f"configs/{config}\n{weights}, {licence}"
            table.add_row(f"{network}\n{pretraining}", published, *pairs, where)
        console.print(table)
    console.print(NOTE, highlight=False)
