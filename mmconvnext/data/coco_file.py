"""Reads a COCO annotation file and tells what is wrong with it, as findings."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmconvnext.data import checks
from mmconvnext.data.checks import DataError
from mmconvnext.data.report import Finding, about_names

# The 80 categories in the order of the official files, which gives the labels.
_COCO_CLASSES = """
    person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light,
    fire hydrant, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant,
    bear, zebra, giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard,
    sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle,
    wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot,
    hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop,
    mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock,
    vase, scissors, teddy bear, hair drier, toothbrush
"""
COCO_CLASSES = tuple(" ".join(name.split()) for name in _COCO_CLASSES.split(","))
# Their ids in the official files: 1 to 90, but for ten that are not in use.
COCO_IDS = tuple(i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83))
_FIELDS = {
    "images": ("id", "file_name"),
    "annotations": ("id", "image_id", "category_id"),
    "categories": ("id", "name"),
}


@dataclasses.dataclass(frozen=True)
class CocoFile:
    """What an inspection needs of an annotation file.

    Args:
        sizes: file name → width and height, or None where the file does not say.
        classes: the categories' names in the file's order.
        objects: number of annotations.
        findings: what there is to say about the file.
    """

    sizes: dict[str, tuple[int, int] | None]
    classes: tuple[str, ...]
    objects: int
    findings: tuple[Finding, ...]

    @property
    def summary(self) -> str:
        """Its counts, in words."""
        return (
            f"{len(self.sizes):,} images, {self.objects:,} objects, {len(self.classes):,} classes"
        )


def read_coco_file(path: Path) -> CocoFile:
    """Read an annotation file.

    Raises:
        DataError: it cannot be read, is not whole, or is not COCO's format.
    """
    try:
        with path.open(encoding="utf-8") as file:
            content = json.load(file)
    except (ValueError, OSError, RecursionError) as error:
        raise DataError(
            f"annotation file {path} cannot be read, it may have been cut off: {error}"
        ) from error
    checks.check_form(str(path), content, _FIELDS, firm=_FIELDS)
    images, categories = content["images"], content["categories"]
    return CocoFile(
        sizes={str(image["file_name"]): _size(image) for image in images},
        classes=tuple(str(category["name"]) for category in categories),
        objects=len(content["annotations"]),
        findings=(
            *_double("ids of images", (image["id"] for image in images)),
            *_double("file names", (image["file_name"] for image in images)),
            *_double("ids of categories", (entry["id"] for entry in categories)),
            *_double("names of categories", (entry["name"] for entry in categories)),
            *_double("ids of annotations", (entry["id"] for entry in content["annotations"])),
            *_links(content),
        ),
    )


def class_findings(classes: tuple[str, ...], official: bool) -> list[Finding]:
    """What the list of classes has to do with COCO's.

    Args:
        classes: names in the file's order.
        official: whether the data set bears COCO's own file names, so that the recipes take its
            classes for COCO's.
    """
    if classes == COCO_CLASSES:
        return []
    if sorted(classes) == sorted(COCO_CLASSES):
        return [
            Finding(
                "damaged",
                "the categories are COCO's 80 in another order, which gives other labels; "
                "sort them by id",
            )
        ]
    if not official:
        return [Finding("note", f"the classes are not COCO's 80 but {len(classes):,} of its own")]
    lacking = [name for name in COCO_CLASSES if name not in classes]
    other = [name for name in classes if name not in COCO_CLASSES]
    gone = ("one of COCO's classes is absent", "{n} of COCO's classes are absent")
    foreign = ("one class is not COCO's", "{n} classes are not COCO's")
    return [
        *about_names("damaged", *gone, lacking),
        *about_names("damaged", *foreign, other),
    ]


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    width, height = image.get("width"), image.get("height")
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None


def _double(what: str, values: Iterable[Any]) -> list[Finding]:
    doubles = [str(value) for value, times in Counter(map(str, values)).items() if times > 1]
    return about_names(
        "damaged", f"one of the {what} is there twice", f"{{n}} of the {what} are doubles", doubles
    )


def _links(content: dict[str, Any]) -> list[Finding]:
    """Whether annotations, images and categories refer to each other."""
    images = {image["id"]: str(image["file_name"]) for image in content["images"]}
    categories = {category["id"] for category in content["categories"]}
    annotations = content["annotations"]
    astray = [str(entry["id"]) for entry in annotations if entry["image_id"] not in images]
    unknown = [str(entry["id"]) for entry in annotations if entry["category_id"] not in categories]
    annotated = {entry["image_id"] for entry in annotations}
    empty = [name for number, name in images.items() if number not in annotated]
    return [
        *about_names(
            "damaged",
            "one annotation belongs to no image of the file, by its id",
            "{n} annotations belong to no image of the file, by their ids",
            astray,
        ),
        *about_names(
            "damaged",
            "one annotation has a category that the file does not list, by its id",
            "{n} annotations have a category that the file does not list, by their ids",
            unknown,
        ),
        *about_names(
            "note", "one image has no annotations", "{n} images have no annotations", empty
        ),
    ]
