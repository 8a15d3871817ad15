"""Many pictures on one page."""

from __future__ import annotations

import math
from collections.abc import Iterable

from PIL import Image, ImageDraw

from mmconvnext.visualization.overlay import label_font

_CELL, _GAP, _LINE = 240, 8, 18  # pixels
_LETTERS = 34  # of a name, so that it fits under a picture of _CELL


def contact_sheet(
    pictures: Iterable[tuple[str, Image.Image]], columns: int = 6, side: int = _CELL
) -> Image.Image:
    """A page of thumbnails with their names below.

    Args:
        pictures: names and pictures, one in memory at a time.
        columns: thumbnails side by side.
        side: pixels of a thumbnail's longer side.

    Raises:
        ValueError: no pictures.
    """
    cells = [_cell(name, picture, side) for name, picture in pictures]
    if not cells:
        raise ValueError("contact_sheet: expected at least one picture, found none")
    columns = min(columns, len(cells))
    rows = math.ceil(len(cells) / columns)
    wide, high = side + _GAP, side + _LINE + _GAP
    page = Image.new("RGB", (columns * wide + _GAP, rows * high + _GAP), "white")
    for index, cell in enumerate(cells):
        row, column = divmod(index, columns)
        page.paste(cell, (_GAP + column * wide, _GAP + row * high))
    return page


def _cell(name: str, picture: Image.Image, side: int) -> Image.Image:
    small = picture.convert("RGB")
    small.thumbnail((side, side))
    cell = Image.new("RGB", (side, side + _LINE), "white")
    cell.paste(small, ((side - small.width) // 2, (side - small.height) // 2))
    letters = _LETTERS * side // _CELL
    shown = name if len(name) <= letters else f"…{name[1 - letters :]}"
    draw = ImageDraw.Draw(cell)
    draw.text((side / 2, side + _LINE / 2), shown, fill="black", font=label_font(12), anchor="mm")
    return cell
