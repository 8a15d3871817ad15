"""A self-contained HTML page on a data set: its pictures with their labels, and its counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from mmconvnext.data.statistics import Statistics, class_rows, summary
from mmconvnext.visualization.report.page import Section, figure, gallery, page, pair, table, text

Titled = tuple[str, np.ndarray]


def data_page(
    title: str,
    subtitle: str,
    samples: Iterable[Sequence[Titled]],
    found: Statistics,
) -> str:
    """The page as HTML; it asks the network for nothing.

    Args:
        title: of the page, plain text.
        subtitle: the line below it.
        samples: titles and painted pictures, (H, W, 3) uint8 RGB; of each sample one, or two that
            stay beside each other.
        found: counts of the data set.
    """
    pictures = gallery([_shown(*sample) for sample in samples])
    heads, rows = class_rows(found)
    shares = [[_in_per_cent(value) for value in row] for row in rows]
    counts = table(
        [f"{head}, %" if head in ("share", "pixels") else head for head in heads],
        shares,
        caption="Classes, before augmentation",
        sortable=True,
        filterable=True,
    )
    lines = "".join(f"<p>{text(line)}</p>" for line in summary(found))
    sections = [Section("Pictures", pictures), Section("Classes", lines + counts)]
    return page(title, sections, subtitle=subtitle)


def _shown(*pictures: Titled) -> str:
    figures = [figure(picture, alt=f"labels on {name}", caption=name) for name, picture in pictures]
    return pair(*figures) if len(figures) > 1 else figures[0]


def _in_per_cent(value: object) -> object:
    return round(100 * value, 2) if isinstance(value, float) else value
