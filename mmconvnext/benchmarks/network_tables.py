"""Backbones side by side: as rows of text, as CSV, and as a page."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from io import StringIO

from mmconvnext.benchmarks.network_models import PROPOSALS
from mmconvnext.benchmarks.networks import NetworkRow
from mmconvnext.benchmarks.published import IMAGENET_22K, UPERNET
from mmconvnext.visualization.bubbles import Bubble

COLUMNS = (
    *("method", "network", "pretraining", "height", "width", "params_m", "gflops", "kept_gib"),
    *("images_per_second", "published_params_m", "published_gflops", "box_ap", "mask_ap"),
    *("miou_ms", "source", "note"),
)


def table(rows: Sequence[NetworkRow]) -> list[tuple[str, ...]]:
    """Headings, then the texts of a method's rows; columns that are empty are left out."""
    accuracy = ("mIoU",) if rows[0].method == UPERNET else ("box AP", "mask AP")
    measured = ("params (M)", "GFLOPs", "kept (GiB)", "img/s")
    lines = [("network", "pretraining", *measured, *accuracy, ""), *map(_cells, rows)]
    told = [i for i in range(len(lines[0])) if any(line[i] not in ("-", "") for line in lines[1:])]
    return [tuple(line[i] for i in told) for line in lines]


def _cells(row: NetworkRow) -> tuple[str, ...]:
    """A figure that was printed otherwise has the printed one behind it."""
    known = row.published
    params = _beside(row.params, 2, known.params if known else None)
    gflops = _beside(row.gflops, 1, known.gflops if known else None)
    names = ("miou_ms",) if row.method == UPERNET else ("box_ap", "mask_ap")
    accuracy = (_number(getattr(known, name, None), 1) for name in names)
    measured = (params, gflops, _number(row.kept_gib, 2), _number(row.images_per_second, 2))
    remark = row.note or (known.remark if known else "")
    return (row.network, known.pretraining if known else "-", *measured, *accuracy, remark)


def as_csv(rows: Sequence[NetworkRow]) -> str:
    """All rows with unrounded figures, under ``COLUMNS``; what is not known is empty."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        known = row.published
        measured = (row.params, row.gflops, row.kept_gib, row.images_per_second)
        names = ("params", "gflops", "box_ap", "mask_ap", "miou_ms", "source")
        writer.writerow(
            (row.method, row.network, known.pretraining if known else "")
            + (row.shape or ("", ""))
            + tuple("" if value is None else f"{value:.6g}" for value in measured)
            + tuple(getattr(known, name, None) for name in names)
            + (row.note or (known.remark if known else ""),)
        )
    return text.getvalue()


def page(
    rows: Sequence[NetworkRow],
    command: str,
    machine: str,
    rounds: int,
    size: int,
    picture: str = "",
) -> Iterator[str]:
    """Lines of Markdown.

    Args:
        rows: a table is made of those of each method.
        command: that was given.
        machine: and packages, that it ran on.
        rounds: how often each network was timed.
        size: of the picture that was timed.
        picture: where the drawn one is, seen from the page.
    """
    yield from ("# Networks side by side", "", f"Written by `{command}`: {machine}.", "")
    yield from _what_was_counted(rows)
    if any(row.images_per_second for row in rows):
        yield from ("", _what_was_timed(rounds, size))
    else:
        yield from ("", "Nothing was timed for this page.")
    if picture:
        yield from ("", f"![accuracy over GFLOPs]({picture})")
    for method in dict.fromkeys(row.method for row in rows):
        headings, *lines = table([row for row in rows if row.method == method])
        yield from ("", f"## {method}", "", f"| {' | '.join(headings)} |")
        yield f"|{' --- |' * len(headings)}"
        yield from (f"| {' | '.join(line)} |" for line in lines)


def bubbles(rows: Sequence[NetworkRow], method: str) -> list[Bubble]:
    """A method's rows that have an accuracy; rings where ImageNet-22K was learnt from."""
    return [
        Bubble(
            row.network,
            row.family,
            row.gflops,
            row.published.accuracy,
            row.params,
            filled=row.published.pretraining != IMAGENET_22K,
        )
        for row in rows
        if row.method == method and row.gflops and row.params
        if row.published is not None and row.published.accuracy is not None
    ]


def verdict(rows: Sequence[NetworkRow]) -> str:
    """How many rows have the printed parameters and operations, and which have not."""
    compared = [row for row in rows if row.equals is not None]
    others = [row for row in compared if not row.equals]
    told = (
        f"Parameters and GFLOPs equal the printed ones, rounded as they are, in "
        f"{len(compared) - len(others)} of {len(compared)} rows that a paper prints"
    )
    names = [f"{row.method} {row.network} at {_at(row)}" for row in others]
    return f"{told}; not in: {', '.join(names)}." if names else f"{told}."


def _what_was_counted(rows: Sequence[NetworkRow]) -> Iterator[str]:
    yield (
        "Every backbone is in the same detector or segmentor: the recipes' heads (four "
        "convolutions and one linear layer in each box head of Cascade Mask R-CNN, mmseg's own "
        "UPerHead). Weights are random. Accuracies are the papers', not measured here, mIoU at "
        "several scales and flipped; the sources are in `mmconvnext/benchmarks/published.py`."
    )
    yield ""
    yield (
        "GFLOPs are those of `mmconvnext analyze`, multiply-accumulates with attention's two "
        "products, and what mmcv's counter adds to them: biases of convolutions, batch and layer "
        "norms, ReLUs, pooling. One picture of 1280x800 with 1,000 boxes and 100 masks; in "
        "UperNet of 2048x512 or, for crops of 640, 2560x640."
    )
    yield ""
    yield f"{verdict(rows)} Where a paper prints another figure, it stands in brackets."
    yield ""
    yield (
        "Kept: for the backward pass of one picture of 1280x800, or one crop, in fp32, counted as "
        "by `mmconvnext memory` for a GPU; nothing recomputed, losses of detectors left out."
    )


def _what_was_timed(rounds: int, size: int) -> str:
    return (
        f"Images per second: one picture of {size}x{size}, predicting, in fp32; the median of "
        f"{rounds} measurement{'s' * (rounds > 1)}, all networks of a table in one process, in "
        f"turns. Detectors keep {PROPOSALS} proposals; with random weights no box passes, so no "
        "mask is computed."
    )


def _at(row: NetworkRow) -> str:
    height, width = row.shape or (0, 0)
    return f"{width}x{height}"


def _beside(found: float | None, digits: int, printed: int | None) -> str:
    text = _number(found, digits)
    other = found is not None and printed is not None and round(found) != printed
    return f"{text} ({printed:,})" if other else text


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
