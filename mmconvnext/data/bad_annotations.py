"""Finds what of a COCO annotation file would end a training or teach it something wrong.

What the format's convention has an answer for is no problem here: objects without area, outside of
their picture or of classes that nobody asked for are left out by mmdet, an object whose polygons
all have fewer than three points becomes a region that counts nowhere, crowds and pictures without
objects are what they are.
"""

from __future__ import annotations

import dataclasses
from math import isfinite
from typing import Any

import numpy as np

from mmconvnext.data.fast.run_lengths import run_lengths
from mmconvnext.data.fields import is_id


@dataclasses.dataclass(frozen=True)
class Bad:
    """One thing that cannot be used.

    Args:
        where: the file that it is in.
        what: which thing: ``annotation 5``, ``image 3 (a.jpg)``; empty: the file itself.
        reason: what is wrong with it, on one line.
    """

    where: str
    what: str
    reason: str

    def __str__(self) -> str:
        return " ".join(filter(None, (self.where, self.what and f"{self.what}:", self.reason)))


@dataclasses.dataclass
class BadEntries:
    """Entries of an annotation file to do without.

    Args:
        images: places in the file's ``images``, and what is wrong with each.
        annotations: the same of its ``annotations``.
    """

    images: dict[int, str] = dataclasses.field(default_factory=dict)
    annotations: dict[int, str] = dataclasses.field(default_factory=dict)

    def described(self, path: str, content: dict[str, Any]) -> list[Bad]:
        """All of them, by their ids in the annotation file ``path``."""
        images, annotations = content["images"], content.get("annotations") or []
        return [
            *(Bad(path, image_name(images[n]), reason) for n, reason in self.images.items()),
            *(
                Bad(path, f"annotation {annotations[n]['id']} of image {_owner(annotations[n])}", r)
                for n, r in self.annotations.items()
            ),
        ]

    def left_out_of(self, content: dict[str, Any]) -> dict[str, Any]:
        """``content`` without them and without the annotations of bad images."""
        images, annotations = content["images"], content.get("annotations")
        gone = {images[number]["id"] for number in self.images if is_id(images[number]["id"])}
        kept = {"images": [image for n, image in enumerate(images) if n not in self.images]}
        if annotations is not None:
            kept["annotations"] = [
                entry
                for n, entry in enumerate(annotations)
                if n not in self.annotations and _owner(entry) not in gone
            ]
        return {**content, **kept}


def image_name(image: dict[str, Any]) -> str:
    """How errors call an entry of ``images``."""
    return f"image {image['id']} ({image['file_name']})"


def find_bad_entries(content: dict[str, Any], *, masks: bool) -> BadEntries:
    """What of the parsed annotation file ``content``, whose form was checked, cannot be used.

    Args:
        content: has the lists ``images`` and ``annotations`` (which may be absent), their
            entries ids.
        masks: whether the outlines of objects are read.
    """
    bad = BadEntries()
    sizes: dict[Any, tuple[int, int]] = {}
    ids = [image["id"] for image in content["images"]]
    doubles = _doubles(ids)
    for number, image in enumerate(content["images"]):
        reason = _image_problem(image, doubles)
        if reason:
            bad.images[number] = reason
        else:
            sizes[image["id"]] = (image["width"], image["height"])
    seen: set[Any] = set()
    for number, entry in enumerate(content.get("annotations") or []):
        size = sizes.get(_owner(entry))
        reason = _id_problem(entry, seen)
        if not reason and size is not None:
            reason = _object_problem(entry, size, masks)
        if reason:
            bad.annotations[number] = reason
        if is_id(entry["id"]):
            seen.add(entry["id"])
    return bad


def _owner(entry: dict[str, Any]) -> Any:
    owner = entry.get("image_id")
    return owner if is_id(owner) else None


def _doubles(ids: list[Any]) -> set[Any]:
    seen: set[Any] = set()
    return {i for i in ids if is_id(i) and (i in seen or seen.add(i))}  # type: ignore[func-returns-value]


def _image_problem(image: dict[str, Any], doubles: set[Any]) -> str:
    if not is_id(image["id"]):
        return f"the id {image['id']!r} is neither a number nor a word"
    if image["id"] in doubles:
        return "several images have this id, so that their objects cannot be told apart"
    for key in ("width", "height"):
        value = image.get(key)
        if not isinstance(value, (int, float)) or value < 1 or value % 1:
            return f"expected a {key} in whole pixels, found {value!r}"
    return ""


def _id_problem(entry: dict[str, Any], seen: set[Any]) -> str:
    """Of every entry: mmdet looks up what even those without an image belong to."""
    for key in ("image_id", "category_id"):
        if not is_id(entry[key]):
            return f"{key} is {_short(entry[key])}, neither a number nor a word"
    if not is_id(entry["id"]) or entry["id"] in seen:
        return f"the id {entry['id']!r} is there twice or is no id"
    return ""


def _object_problem(entry: dict[str, Any], size: tuple[int, int], masks: bool) -> str:
    box, area = entry.get("bbox"), entry.get("area")
    if not isinstance(box, list) or len(box) != 4 or not _finite(box):
        return f"expected bbox=[x, y, width, height], four numbers, found {_short(box)}"
    if not _finite([area]):
        return f"expected an area in square pixels, found {area!r}"
    if entry.get("iscrowd", 0) not in (0, 1):
        return f"expected iscrowd=0 or 1, found {_short(entry['iscrowd'])}"
    return _outline_problem(entry.get("segmentation"), size) if masks else ""


def _outline_problem(outline: Any, size: tuple[int, int]) -> str:
    if not outline:
        return "has no 'segmentation', and the config needs masks"
    if isinstance(outline, dict):
        return _run_length_problem(outline, size)
    if not isinstance(outline, list) or not all(isinstance(part, list) for part in outline):
        return f"expected a list of polygons, each a list of numbers, found {_short(outline)}"
    if not all(map(_finite, outline)):
        return "a polygon has something in it that is no finite number"
    return ""


def _run_length_problem(outline: dict[str, Any], size: tuple[int, int]) -> str:
    width, height = size
    if outline.get("size") != [height, width]:
        return (
            f"its run lengths are of size {outline.get('size')!r}, the image is "
            f"{[height, width]} (height, width)"
        )
    counts = outline.get("counts")
    try:
        lengths = run_lengths(counts) if isinstance(counts, str) else np.array(counts)
    except (ValueError, IndexError):
        return "its run lengths cannot be read"
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu":
        return f"expected run lengths as text or whole numbers, found {_short(counts)}"
    total = int(lengths.sum())
    if (lengths < 0).any() or total != width * height:
        return f"its run lengths cover {total} pixels, the image has {width * height}"
    return ""


def _finite(values: list[Any]) -> bool:
    try:
        return all(map(isfinite, values))
    except (TypeError, OverflowError):
        return False


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
