"""Predictions painted over a picture, to be read on any background.

mmdet's and mmseg's visualizers go through matplotlib (half a second a picture), cover objects with
masks of 80 % and let names run out of the picture, as torchvision's drawing functions do. Here
Pillow draws: a name stands on a plate of its class's colour, in black or white, whichever differs
more, and stays inside the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmconvnext.visualization.grid import Color

_Rectangle = tuple[float, float, float, float]
_SHADE = 0.5  # of the mask's colour
_BRIGHTNESS = (0.299, 0.587, 0.114)  # of red, green, blue; ITU-R BT.601
_LEAST_AREA = 0.005  # of the picture, for a region to be named


def paint_objects(
    picture: np.ndarray,
    boxes: np.ndarray,
    names: Sequence[str],
    colors: Sequence[Color],
    masks: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """A picture with objects painted on it: masks shaded, boxes outlined, names on plates.

    Args:
        picture: (H, W, 3) uint8 RGB; stays as it is.
        boxes: (N, 4), left, top, right, bottom in pixels; the first is painted on top.
        names: what stands at each box.
        colors: of each box.
        masks: one (H, W) bool for each box, or none at all; taken one by one, and painted with that
            of the smallest box on top.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    painted = picture.copy()
    areas = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).tolist()
    # Small things on large ones: a driver, not the bus alone.
    for index in sorted(range(len(masks)), key=lambda i: (areas[i], i), reverse=True):
        _shade(painted, picture, masks[index], colors[index])
    image = Image.fromarray(painted)
    draw = ImageDraw.Draw(image)
    line, font = _line_width(image), label_font(_font_size(image))
    objects = list(zip(boxes.tolist(), names, colors, strict=True))
    for box, _, color in objects[::-1]:
        left, top, right, bottom = _inside(box, image)
        draw.rectangle((left, top, right, bottom), outline=color, width=line)
    plates = _spread([_around(_inside(box, image), name, font) for box, name, _ in objects], image)
    for (_, name, color), place in list(zip(objects, plates, strict=True))[::-1]:
        _write(draw, name, place, color, font)  # after all boxes, or lines would cross out names
    return np.asarray(image)


def paint_classes(
    picture: np.ndarray, classes: np.ndarray, names: Sequence[str], palette: Sequence[Color]
) -> np.ndarray:
    """A picture with each pixel shaded in its class's colour, classes named where they are widest.

    Args:
        picture: (H, W, 3) uint8 RGB; stays as it is.
        classes: (H, W), indices into ``names`` and ``palette``; others are left as they are.
        names: class names.
        palette: RGB colours 0 to 255.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    painted = picture.copy()
    found = [label for label in np.unique(classes).tolist() if 0 <= label < len(names)]
    for label in found:
        _shade(painted, picture, classes == label, palette[label])
    image = Image.fromarray(painted)
    draw, font = ImageDraw.Draw(image), label_font(_font_size(image))
    for label in found:
        mask = classes == label
        if mask.mean() >= _LEAST_AREA:
            (x, y), (width, height) = _widest(mask), _plate(names[label], font)
            (place,) = _spread([[(x - width / 2, y - height / 2, width, height)]], image)
            _write(draw, names[label], place, palette[label], font)
    return np.asarray(image)


def _shade(painted: np.ndarray, picture: np.ndarray, mask: np.ndarray, color: Color) -> None:
    """Put ``picture``'s brightness, in shades of ``color``, into ``painted`` where ``mask`` is:
    mixed with colours of its own, a class's would pass for another's."""
    brightness = picture[mask] @ np.array(_BRIGHTNESS, np.float32)
    mixed = (1 - _SHADE) * brightness[:, None] + _SHADE * np.asarray(color, np.float32)
    painted[mask] = mixed.round().astype(np.uint8)


def _widest(mask: np.ndarray) -> tuple[float, float]:
    """The middle of the largest disc that fits into ``mask``: x, y."""
    import cv2

    # A border of "outside", since the picture's edge ends a region as well.
    room = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 3)
    y, x = np.unravel_index(int(room.argmax()), room.shape)
    return float(x - 1), float(y - 1)


def _plate(text: str, font: Any) -> tuple[float, float]:
    """Width and height of the plate that ``text`` stands on."""
    left, top, right, bottom = font.getbbox(text)
    margin = 2 * _margin(font)
    return right - left + margin, bottom - top + margin


def _margin(font: Any) -> int:
    return max(1, font.size // 6)


def _around(box: _Rectangle, text: str, font: Any) -> list[_Rectangle]:
    """Where the plate of a box could be, best first."""
    left, top, right, bottom = box
    width, height = _plate(text, font)
    places = (
        (left, top - height),
        (left, top),
        (left, bottom),
        (right - width, top - height),
        (right - width, bottom),
        (left, bottom - height),
    )
    return [(x, y, width, height) for x, y in places]


def _spread(candidates: Sequence[Sequence[_Rectangle]], image: Image.Image) -> list[_Rectangle]:
    """A place inside the picture for each plate, clear of the earlier ones' if one is; x, y, width,
    height."""
    chosen: list[_Rectangle] = []
    for places in candidates:
        inside = [
            (
                max(0.0, min(x, image.width - width)),
                max(0.0, min(y, image.height - height)),
                width,
                height,
            )
            for x, y, width, height in places
        ]
        free = (place for place in inside if not any(_overlap(place, other) for other in chosen))
        chosen.append(next(free, inside[0]))
    return chosen


def _overlap(one: _Rectangle, other: _Rectangle) -> bool:
    return (
        one[0] < other[0] + other[2]
        and other[0] < one[0] + one[2]
        and one[1] < other[1] + other[3]
        and other[1] < one[1] + one[3]
    )


def _write(draw: Any, text: str, place: _Rectangle, color: Color, font: Any) -> None:
    """Write ``text`` on a plate of ``color``."""
    x, y, width, height = place
    left, top, *_ = font.getbbox(text)
    margin = _margin(font)
    draw.rectangle((x, y, x + width - 1, y + height - 1), fill=color)
    draw.text((x + margin - left, y + margin - top), text, fill=_readable_on(color), font=font)


def _readable_on(color: Color) -> Color:
    """Black or white: which has the higher contrast (WCAG 2's relative luminance)."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (value / 255 for value in color)
    )
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return (0, 0, 0) if luminance > 0.179 else (255, 255, 255)


def _inside(box: Sequence[float], image: Image.Image) -> _Rectangle:
    width, height = image.size
    left, top = max(0.0, min(box[0], width - 1)), max(0.0, min(box[1], height - 1))
    return left, top, max(left, min(box[2], width - 1)), max(top, min(box[3], height - 1))


def _line_width(image: Image.Image) -> int:
    return max(1, round(min(image.size) / 240))


def _font_size(image: Image.Image) -> int:
    return max(10, round(min(image.size) / 34))


@cache
def label_font(size: int) -> Any:
    """DejaVu Sans, which comes with matplotlib and knows more letters than Pillow's own."""
    import matplotlib

    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(file), size)
