"""Strategies of annotation files in COCO's format: sound ones, and what may stand in them."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st
from mm_configs import places, put

CLASSES = ("circle", "square", "triangle")
IMAGES, SIDE = 4, 64
Draw = Callable[[Any], Any]

_coordinates = st.integers(0, SIDE) | st.floats(0, SIDE, width=32)


@st.composite
def _outlines(draw: Draw) -> Any:
    if draw(st.booleans()):
        left, top = draw(st.integers(0, 40)), draw(st.integers(0, 40))
        return [[left, top, left + 20, top, left + 20, top + 20]]
    empty, full = draw(st.integers(0, 2000)), draw(st.integers(0, 2000))
    return {"size": [SIDE, SIDE], "counts": [empty, full, SIDE * SIDE - empty - full]}


@st.composite
def _annotations(draw: Draw, number: int, ids: list[int]) -> dict[str, Any]:
    left, top = draw(st.floats(0, 60, width=16)), draw(st.floats(0, 60, width=16))
    width, height = draw(st.floats(1, 64, width=16)), draw(st.floats(1, 64, width=16))
    outline = draw(_outlines())
    return {
        "id": number,
        "image_id": draw(st.integers(1, IMAGES)),
        "category_id": draw(st.sampled_from(ids)),
        "bbox": [left, top, width, height],
        "area": width * height,
        "iscrowd": int(isinstance(outline, dict)),
        "segmentation": outline,
    }


@st.composite
def sound(draw: Draw) -> dict[str, Any]:
    """A file of the made-up pictures."""
    ids = sorted(draw(st.sets(st.integers(0, 90), min_size=3, max_size=3)))
    count = draw(st.integers(1, 4))
    images = [
        {"id": i, "file_name": f"{i - 1:06d}.png", "width": SIDE, "height": SIDE}
        for i in range(1, IMAGES + 1)
    ]
    return {
        "images": images,
        "annotations": [draw(_annotations(100 + number, ids)) for number in range(count)],
        "categories": [{"id": i, "name": name} for i, name in zip(ids, CLASSES, strict=True)],
    }


_WORDS = st.sampled_from(["", "circle", "1", "000000.png", "../x", "\0", "y" * 5000])
_NUMBERS = st.sampled_from(
    [-1, 0, 1, 2, 0.5, 1e300, 10**30, 2**63, True, float("nan"), float("inf"), -float("inf")]
)
_BOXES = st.sampled_from([[1, 2, 3, 4], [0, 0, 0, 0], [-5, -5, 1e9, 1e9], [1], [], ["a"], [None]])
_POLYGONS = st.sampled_from(
    [[[]], [[1]], [[1, 2, 3, 4]], [[1, 2, 3, 4, 5]], [[1, 2, 3, "4", 5, 6]], [{}], [[1e300] * 6]]
)
_RUN_LENGTHS = st.fixed_dictionaries(
    {},
    optional={
        "size": st.sampled_from([[SIDE, SIDE], [SIDE], ["a", 2], [10**9, 10**9], [-1, -4096], 1]),
        "counts": st.sampled_from(
            [[SIDE * SIDE], [-1, 4097], [4096.0], [10**18], [], "abc", "", "\0", None, [[1]]]
        ),
    },
)
ABSURD = st.none() | _WORDS | _NUMBERS | _BOXES | _POLYGONS | _RUN_LENGTHS


@st.composite
def absurd(draw: Draw) -> Any:
    """A file with up to three parts replaced, gone, or doubled."""
    content = deepcopy(draw(sound()))
    for _ in range(draw(st.integers(1, 3))):
        ways = places(content)
        if not ways:
            break
        way = draw(st.sampled_from(ways))
        how = draw(st.sampled_from(["replace", "replace", "lose", "double"]))
        if how == "double":
            content = _doubled(content, way)
        else:
            content = put(content, way, draw(ABSURD), gone=how == "lose")
    return content


def _doubled(content: Any, way: tuple[Any, ...]) -> Any:
    """With an entry of the lists there twice."""
    entries = [n for n, step in enumerate(way) if isinstance(step, int)]
    if not entries:
        return content
    parent = way[: entries[0]]
    node = content
    for step in parent:
        node = node[step]
    return put(content, parent, [*node, node[way[entries[0]]]], gone=False)
