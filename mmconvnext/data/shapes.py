"""Made-up pictures of coloured shapes, in COCO's layout (instances) and ADE20K's (semantic maps).

Small enough to learn from random weights in minutes, and seeded: the same :class:`ShapesSpec`
always gives the same files. Shapes in one picture never overlap, so that a shape's polygon is
exactly its visible mask.
"""

from __future__ import annotations

import dataclasses
import json
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = ("circle", "square", "triangle")
# In the semantic maps 0 is "not labelled", as in ADE20K; background is a class of its own.
SEGMENTATION_CLASSES = ("background", *CLASSES)
PALETTE = ((90, 90, 90), (230, 80, 60), (60, 160, 230), (240, 190, 50))
SPEC_FILE = "shapes.json"
_CIRCLE_CORNERS = 24
_PLACING_TRIES = 40
_TILT = 0.3  # radians


@dataclasses.dataclass(frozen=True)
class ShapesSpec:
    """What a made-up data set consists of.

    Args:
        train: number of pictures to train on.
        val: number of held-out pictures.
        size: height and width of a picture in pixels, at least 32.
        max_shapes: a picture holds one to this many shapes.
        seed: the same seed gives the same pictures; every picture draws from a stream of its own.

    Raises:
        ValueError: a count below 1, a size below 32 or a negative seed.
    """

    train: int = 600
    val: int = 100
    size: int = 128
    max_shapes: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        lowest = {"train": 1, "val": 1, "size": 32, "max_shapes": 1, "seed": 0}
        for name, least in lowest.items():
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"ShapesSpec: {name} must be at least {least}, got {value}")


@dataclasses.dataclass(frozen=True)
class Shape:
    """One shape.

    Args:
        label: index into :data:`CLASSES`.
        corners: outline, ``(n, 2)`` x, y in pixels.
        color: RGB, 0 to 255.
    """

    label: int
    corners: np.ndarray
    color: tuple[int, int, int]


def make_coco_shapes(root: Path | str, spec: ShapesSpec) -> dict[str, Any]:
    """Write ``spec`` under ``root`` in COCO's layout, unless exactly that already lies there.

    Files: ``images/{train,val}/000000.png`` and ``annotations/instances_{train,val}.json`` with
    polygons, areas in square pixels and boxes as x, y, width, height. ``root`` is replaced as a
    whole once everything is written: an interrupted call leaves what was there before.

    Returns:
        ``{'train': {'images': …, 'instances': …, 'circle': …, …}, 'val': {…}}``: counts.

    Raises:
        FileExistsError: ``root`` holds something that was not made by this module.
    """
    return write_data(Path(root), spec, "coco", _write_coco_part)


def make_ade_shapes(root: Path | str, spec: ShapesSpec) -> dict[str, Any]:
    """Write ``spec`` under ``root`` in ADE20K's layout, unless exactly that already lies there.

    Files: ``images/{training,validation}/000000.png`` and, of the same names, the maps in
    ``annotations/{training,validation}``, one byte a pixel: 0 for not labelled (a patch of every
    picture), 1 for background, then :data:`CLASSES`. Load it with ``reduce_zero_label=True``.
    Replacement, return value and errors are those of :func:`make_coco_shapes`.
    """
    return write_data(Path(root), spec, "ade", _write_ade_part)


def draw_picture(
    spec: ShapesSpec, part: int, index: int, label: int | None = None
) -> tuple[np.ndarray, list[Shape]]:
    """Picture ``index`` of ``part`` (0 for training, 1 for held-out); with ``label``, all its
    shapes are of that class.

    Returns:
        The picture, uint8 RGB of shape ``(size, size, 3)``, and its shapes, none of which overlap.
    """
    rng = np.random.default_rng([spec.seed, part, index])
    shapes = _place_shapes(rng, spec, label)
    canvas = _background(rng, spec.size)
    for shape in shapes:
        canvas[shape_mask(shape, spec.size)] = shape.color
    noisy = canvas + rng.normal(0, 6, canvas.shape)
    return noisy.clip(0, 255).astype(np.uint8), shapes


def shape_mask(shape: Shape, size: int) -> np.ndarray:
    """Boolean mask ``(size, size)``: the pixels whose centre lies inside the (convex) outline."""
    centres = np.arange(size) + 0.5
    mask = np.ones((size, size), dtype=bool)
    for (x0, y0), (x1, y1) in zip(shape.corners, np.roll(shape.corners, -1, axis=0), strict=True):
        mask &= (x1 - x0) * (centres[:, None] - y0) - (y1 - y0) * (centres[None, :] - x0) >= 0
    return mask


def _place_shapes(rng: np.random.Generator, spec: ShapesSpec, label: int | None) -> list[Shape]:
    placed: list[tuple[float, float, float]] = []
    shapes = []
    for _ in range(int(rng.integers(1, spec.max_shapes + 1))):
        for _ in range(_PLACING_TRIES):
            radius = rng.uniform(0.10, 0.22) * spec.size
            x, y = rng.uniform(radius + 1, spec.size - radius - 1, size=2)
            # Circumscribed circles that keep apart keep whatever is inside them apart.
            if all(math.hypot(x - u, y - v) > radius + r + 1 for u, v, r in placed):
                placed.append((x, y, radius))
                shapes.append(_shape(rng, x, y, radius, label))
                break
    return shapes


def _shape(
    rng: np.random.Generator, x: float, y: float, radius: float, wanted: int | None
) -> Shape:
    drawn = int(rng.integers(len(CLASSES)))
    label = drawn if wanted is None else wanted
    corners = {"circle": _CIRCLE_CORNERS, "square": 4, "triangle": 3}[CLASSES[label]]
    # The first corner on top (a square's: top right), give or take a tilt.
    first = rng.uniform(-_TILT, _TILT) - math.pi / (4 if corners == 4 else 2)
    angles = first + np.arange(corners) * 2 * math.pi / corners
    outline = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)
    # One channel high, one low: bright enough to stand out from the greys behind.
    levels = rng.permutation([rng.uniform(190, 255), rng.uniform(0, 255), rng.uniform(0, 60)])
    red, green, blue = (int(level) for level in levels)
    return Shape(label, outline.round(2), (red, green, blue))


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A dark grey ramp of random direction, float RGB."""
    slope = rng.uniform(-20, 20, size=2)
    ramp = np.linspace(-0.5, 0.5, size)
    grey = rng.uniform(20, 60) + slope[0] * ramp[:, None] + slope[1] * ramp[None, :]
    return np.repeat(grey[:, :, None], 3, axis=2)


def write_data(
    root: Path, spec: ShapesSpec, layout: str, write_part: _PartWriter
) -> dict[str, Any]:
    """Write both parts of a data set under ``root``, as :func:`make_coco_shapes` says.

    Args:
        root: its folder.
        spec: what it consists of.
        layout: its name, for the record.
        write_part: called with a folder, ``spec``, the part's number and its name; returns counts.
    """
    wanted = {"layout": layout, **dataclasses.asdict(spec)}
    recorded = _recorded(root)
    if recorded is not None and recorded["spec"] == wanted:
        return recorded["stats"]
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}-") as scratch:
        fresh = Path(scratch) / "fresh"
        fresh.mkdir()
        stats = {
            name: write_part(fresh, spec, part, name) for part, name in enumerate(("train", "val"))
        }
        (fresh / SPEC_FILE).write_text(json.dumps({"spec": wanted, "stats": stats}, indent=1))
        if root.exists():
            root.rename(Path(scratch) / "old")
        fresh.rename(root)
    return stats


def _recorded(root: Path) -> dict[str, Any] | None:
    """What an earlier call wrote about ``root``; None where nothing lies there."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return None
    try:
        recorded: dict[str, Any] = json.loads((root / SPEC_FILE).read_text())
        if recorded["spec"] and recorded["stats"]:
            return recorded
    except (OSError, ValueError, TypeError, KeyError):
        pass
    raise FileExistsError(
        f"{root}: expected nothing or made-up shapes (with a readable {SPEC_FILE}), "
        "found something else; move it away or choose another folder"
    )


def _pictures(
    spec: ShapesSpec, part: int, folder: Path
) -> Iterator[tuple[str, np.ndarray, list[Shape]]]:
    from PIL import Image

    folder.mkdir(parents=True)
    for index in range(spec.val if part else spec.train):
        picture, shapes = draw_picture(spec, part, index)
        Image.fromarray(picture).save(folder / f"{index:06}.png", compress_level=1)
        yield f"{index:06}.png", picture, shapes


def count_shapes(labels: list[int], images: int) -> dict[str, int]:
    """The counts of a part, of its shapes' labels."""
    counts = Counter(labels)
    return {
        "images": images,
        "instances": len(labels),
        **{name: counts[label] for label, name in enumerate(CLASSES)},
    }


def _write_coco_part(root: Path, spec: ShapesSpec, part: int, name: str) -> dict[str, int]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for file_name, _, shapes in _pictures(spec, part, root / "images" / name):
        image_id = len(images) + 1
        images.append(
            {"id": image_id, "file_name": file_name, "height": spec.size, "width": spec.size}
        )
        for shape in shapes:
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **_coco(shape)})
    categories = [{"id": label + 1, "name": title} for label, title in enumerate(CLASSES)]
    file = root / "annotations" / f"instances_{name}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return count_shapes([annotation["category_id"] - 1 for annotation in annotations], len(images))


def _coco(shape: Shape) -> dict[str, Any]:
    x, y = shape.corners.T
    left, top = float(x.min()), float(y.min())
    area = 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))
    return {
        "category_id": shape.label + 1,
        "segmentation": [shape.corners.ravel().tolist()],
        "bbox": [left, top, round(float(x.max()) - left, 2), round(float(y.max()) - top, 2)],
        "area": round(area, 2),
        "iscrowd": 0,
    }


def _write_ade_part(root: Path, spec: ShapesSpec, part: int, name: str) -> dict[str, int]:
    from PIL import Image

    folder = {"train": "training", "val": "validation"}[name]
    maps = root / "annotations" / folder
    maps.mkdir(parents=True)
    labels: list[int] = []
    images = 0
    for file_name, _, shapes in _pictures(spec, part, root / "images" / folder):
        Image.fromarray(_semantic_map(spec, part, images, shapes)).save(maps / file_name)
        labels += [shape.label for shape in shapes]
        images += 1
    return count_shapes(labels, images)


def _semantic_map(spec: ShapesSpec, part: int, index: int, shapes: list[Shape]) -> np.ndarray:
    semantic = np.ones((spec.size, spec.size), dtype=np.uint8)
    for shape in shapes:
        semantic[shape_mask(shape, spec.size)] = shape.label + 2
    patch = spec.size // 8
    # A stream of its own, so that both layouts show the same pictures.
    rng = np.random.default_rng([spec.seed, part, index, 1])
    top, left = rng.integers(0, spec.size - patch + 1, size=2)
    semantic[top : top + patch, left : left + patch] = 0
    return semantic


_PartWriter = Callable[[Path, ShapesSpec, int, str], dict[str, int]]
