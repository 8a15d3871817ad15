"""Many pictures on one page."""

from __future__ import annotations

import math
from collections.abc import Iterable

from PIL import Image, ImageDraw

from mmconvnext.visualization.overlay import label_font

_LARGEST, _NARROWEST, _GAP, _LINE = 240, 130, 8, 18  # pixels
_LETTER = 7.5  # pixels that a name's letter takes


def contact_sheet(
    pictures: Iterable[tuple[str, Image.Image]], columns: int = 6, side: int = _LARGEST
) -> Image.Image:
    """A page of thumbnails with their names below.

    Args:
        pictures: names and pictures, one in memory at a time.
        columns: thumbnails side by side.
        side: pixels of a thumbnail's longer side, at most.

    Raises:
        ValueError: no pictures.
    """
    small = [(name, _thumbnail(picture, side)) for name, picture in pictures]
    if not small:
        raise ValueError("contact_sheet: expected at least one picture, found none")
    columns = min(columns, len(small))
    rows = math.ceil(len(small) / columns)
    wide = max(_NARROWEST, *(picture.width for _, picture in small)) + _GAP
    high = max(picture.height for _, picture in small) + _LINE + _GAP
    page = Image.new("RGB", (columns * wide + _GAP, rows * high + _GAP), "white")
    draw = ImageDraw.Draw(page)
    for index, (name, picture) in enumerate(small):
        row, column = divmod(index, columns)
        left, top = _GAP + column * wide, _GAP + row * high
        x, y = (wide - _GAP - picture.width) // 2, (high - _GAP - _LINE - picture.height) // 2
        page.paste(picture, (left + x, top + y))
        middle = left + (wide - _GAP) / 2, top + high - _GAP - _LINE / 2
        shown = _shortened(name, int((wide - _GAP) / _LETTER))
        draw.text(middle, shown, fill="black", font=label_font(12), anchor="mm")
    return page


def _thumbnail(picture: Image.Image, side: int) -> Image.Image:
    small = picture.convert("RGB")
    small.thumbnail((side, side))
    return small


def _shortened(name: str, letters: int) -> str:
    """The end of a name is what tells it from others."""
    return name if len(name) <= letters else f"…{name[1 - letters :]}"
