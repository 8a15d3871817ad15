"""What a data set consists of: objects or pixels of each class, sizes, pictures without objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

SIZES = ("small", "medium", "large")
# COCO's: an object is small below 32 x 32 pixels of area, large from 96 x 96 on.
_SMALL, _LARGE = 32**2, 96**2
_IGNORED = 255
_NAMED = 10  # classes in a line
_SHAPES = 3  # sizes in a line


@dataclass
class Statistics:
    """Counts over a data set, before augmentation.

    Args:
        classes: names, by label.
        pictures: how many there are.
        used: how many of them the data set gives out; others are filtered.
        empty: how many have no object, or no labelled pixel.
        objects: of each label, by size.
        holding: of each label, the pictures that hold it.
        ignored: objects marked as crowds or to be ignored.
        pixels: of each label.
        unlabelled: pixels without a class.
        shapes: (width, height) of the pictures that say so.
        looked_at: pictures whose masks were read; None where annotations lists all.
    """

    classes: tuple[str, ...]
    pictures: int = 0
    used: int = 0
    empty: int = 0
    objects: dict[int, Counter[str]] = field(default_factory=dict)
    holding: Counter[int] = field(default_factory=Counter)
    ignored: int = 0
    pixels: Counter[int] = field(default_factory=Counter)
    unlabelled: int = 0
    shapes: list[tuple[int, int]] = field(default_factory=list)
    looked_at: int | None = None

    @property
    def is_segmentation(self) -> bool:
        """Whether pixels were counted, not objects."""
        return self.looked_at is not None

    @property
    def number_of_objects(self) -> int:
        """Objects of all classes."""
        return sum(sum(sizes.values()) for sizes in self.objects.values())


def count_objects(datasets: Iterable[Any], classes: Sequence[str]) -> Statistics:
    """Count what detection data sets list, pictures included that training leaves out.

    Args:
        datasets: of mmdet, without wrappers.
        classes: names, by label.
    """
    found = Statistics(tuple(classes), objects={label: Counter() for label in range(len(classes))})
    for dataset in datasets:
        found.used += len(dataset)
        for info in dataset.load_data_list():  # the whole file: the data set itself has filtered it
            found.pictures += 1
            if info.get("width") and info.get("height"):
                found.shapes.append((info["width"], info["height"]))
            objects = [one for one in info.get("instances", ()) if not one.get("ignore_flag")]
            found.ignored += len(info.get("instances", ())) - len(objects)
            found.empty += not objects
            found.holding.update({one["bbox_label"] for one in objects})
            for one in objects:
                found.objects[one["bbox_label"]][size_of(one)] += 1
    return found


def size_of(instance: Mapping[str, Any]) -> str:
    """COCO's small, medium or large, by the mask's area where there is one, by the box's else."""
    area = _mask_area(instance.get("mask"))
    if area is None:
        left, top, right, bottom = instance["bbox"]
        area = (right - left) * (bottom - top)
    return SIZES[int(area >= _SMALL) + int(area >= _LARGE)]


def _mask_area(mask: Any) -> float | None:
    """Pixels of a mask as annotated: polygons, or run lengths."""
    if isinstance(mask, Mapping):
        from pycocotools import mask as coder

        if isinstance(mask["counts"], list):
            mask = coder.frPyObjects(dict(mask), *mask["size"])
        return float(coder.area(mask))
    if not isinstance(mask, list) or not mask:
        return None
    total = 0.0
    for polygon in mask:
        x, y = np.asarray(polygon, float).reshape(-1, 2).T
        total += abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2  # the shoelace formula
    return total


def count_pixels(
    datasets: Iterable[Any],
    classes: Sequence[str],
    *,
    most: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Statistics:
    """Count the pixels of segmentation data sets' masks, evenly spread over all pictures.

    Args:
        datasets: of mmseg, without wrappers.
        classes: names, by label.
        most: masks to read at most.
        progress: called with the numbers of masks read and to read.
    """
    places = [(dataset, index) for dataset in datasets for index in range(len(dataset))]
    found = Statistics(tuple(classes), pictures=len(places), used=len(places))
    kept = np.unique(np.linspace(0, len(places) - 1, min(most, len(places))).round().astype(int))
    for done, place in enumerate(kept.tolist(), 1):
        dataset, index = places[place]
        labels = _labels(dataset, index)
        found.shapes.append((labels.shape[1], labels.shape[0]))
        values, numbers = np.unique(labels, return_counts=True)
        of_class = {int(v): int(n) for v, n in zip(values, numbers, strict=True)}
        found.unlabelled += sum(n for v, n in of_class.items() if v >= len(classes))
        of_class = {value: n for value, n in of_class.items() if value < len(classes)}
        found.pixels.update(of_class)
        found.holding.update(of_class.keys())
        found.empty += not of_class
        progress(done, len(kept))
    found.looked_at = len(kept)
    return found


def _labels(dataset: Any, index: int) -> np.ndarray:
    """The class of each pixel of a picture, by the pipeline's own step."""
    info = dataset.get_data_info(index)
    for step in dataset.pipeline.transforms:
        if type(step).__name__ == "LoadAnnotations":
            labels: np.ndarray = step(dict(info))["gt_seg_map"]
            return labels
    from PIL import Image

    with Image.open(Path(info["seg_map_path"])) as image:
        labels = np.array(image)
    if info.get("reduce_zero_label"):
        labels = np.where(labels == 0, _IGNORED, labels - 1)
    return labels


def class_rows(found: Statistics) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """The table of classes, the most frequent first.

    Returns:
        Headings, and rows as long: name, then counts (int) and shares (float, of 1).
    """
    if found.is_segmentation:
        total = found.pixels.total() or 1
        order = sorted(range(len(found.classes)), key=lambda label: -found.pixels[label])
        return ("class", "pixels", "pictures"), [
            (found.classes[label], found.pixels[label] / total, found.holding[label])
            for label in order
        ]
    total = found.number_of_objects or 1
    order = sorted(range(len(found.classes)), key=lambda label: -found.objects[label].total())
    rows = []
    for label in order:
        sizes = found.objects[label]
        rows.append(
            (
                found.classes[label],
                sizes.total(),
                sizes.total() / total,
                found.holding[label],
                *(sizes[size] for size in SIZES),
            )
        )
    return ("class", "objects", "share", "pictures", *SIZES), rows


def summary(found: Statistics) -> list[str]:
    """What the table does not say, line by line."""
    lines = [_pictures(found)]
    if found.is_segmentation:
        pixels = found.pixels.total() + found.unlabelled
        lines.append(f"{found.unlabelled / max(pixels, 1):.1%} of the pixels have no class")
        absent = [name for i, name in enumerate(found.classes) if not found.pixels[i]]
    else:
        by_size = sum(found.objects.values(), Counter())
        sizes = ", ".join(f"{by_size[size]:,} {size}" for size in SIZES)
        lines.append(
            f"{found.number_of_objects:,} objects: {sizes} (COCO's sizes: below 32x32 pixels of "
            f"area, below 96x96, more); {found.ignored:,} more to be ignored"
        )
        absent = [name for i, name in enumerate(found.classes) if not found.objects[i]]
    if absent:
        more = f" and {len(absent) - _NAMED:,} more" if len(absent) > _NAMED else ""
        lines.append(f"{len(absent):,} classes do not occur: {', '.join(absent[:_NAMED])}{more}")
    if found.shapes:
        lines.append(_shapes(found.shapes))
    return lines


def _pictures(found: Statistics) -> str:
    what = "without a labelled pixel" if found.is_segmentation else "without objects"
    line = f"{found.pictures:,} pictures, {found.empty:,} of them {what}"
    if found.used != found.pictures:
        line += f"; the data set's filters leave {found.used:,}"
    if found.looked_at is not None and found.looked_at < found.pictures:
        line += f"; counted in {found.looked_at:,} masks, evenly spread"
    return line


def _shapes(shapes: Sequence[tuple[int, int]]) -> str:
    common = Counter(shapes).most_common(_SHAPES)
    told = ", ".join(f"{w}x{h} ({n:,})" for (w, h), n in common)
    sides = [f(shape) for f in (min, max) for shape in (min(shapes, key=f), max(shapes, key=f))]
    return (
        f"picture sizes: {told}{', …' if len(set(shapes)) > _SHAPES else ''}; shorter side "
        f"{sides[0]:,} to {sides[1]:,}, longer side {sides[2]:,} to {sides[3]:,} pixels"
    )
