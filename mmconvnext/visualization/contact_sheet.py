"""Many pictures on one page."""

from __future__ import annotations

import math
from collections.abc import Iterable

from PIL import Image, ImageDraw

from mmconvnext.visualization.overlay import label_font

_CELL, _GAP, _LINE = 240, 8, 18  # pixels
_LETTERS = 34  # of a name, so that it fits under its picture


def contact_sheet(pictures: Iterable[tuple[str, Image.Image]], columns: int = 6) -> Image.Image:
    """A page of thumbnails with their names below.

    Args:
        pictures: names and pictures, one in memory at a time.
        columns: thumbnails side by side.

    Raises:
        ValueError: no pictures.
    """
    cells = [_cell(name, picture) for name, picture in pictures]
    if not cells:
        raise ValueError("contact_sheet: expected at least one picture, found none")
    columns = min(columns, len(cells))
    rows = math.ceil(len(cells) / columns)
    wide, high = _CELL + _GAP, _CELL + _LINE + _GAP
    page = Image.new("RGB", (columns * wide + _GAP, rows * high + _GAP), "white")
    for index, cell in enumerate(cells):
        row, column = divmod(index, columns)
        page.paste(cell, (_GAP + column * wide, _GAP + row * high))
    return page


def _cell(name: str, picture: Image.Image) -> Image.Image:
    small = picture.convert("RGB")
    small.thumbnail((_CELL, _CELL))
    cell = Image.new("RGB", (_CELL, _CELL + _LINE), "white")
    cell.paste(small, ((_CELL - small.width) // 2, (_CELL - small.height) // 2))
    shown = name if len(name) <= _LETTERS else f"…{name[1 - _LETTERS :]}"
    draw = ImageDraw.Draw(cell)
    draw.text((_CELL / 2, _CELL + _LINE / 2), shown, fill="black", font=label_font(12), anchor="mm")
    return cell
