"""Predictions as files: COCO's result format, maps in ADE20K's way."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmconvnext.checkpoints.writing import write_whole
from mmconvnext.inference.predictions import Detections, Segmentation


def coco_results(found: Detections, category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Objects in COCO's result format, without their picture's id.

    Args:
        found: the objects of one picture.
        category_ids: by label.

    Returns:
        A dict each: category_id, bbox (left, top, width, height), score, and where there are masks
        segmentation. Numbers have the digits that single precision has.
    """
    corners = found.boxes.astype(np.float32)
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    results: list[dict[str, Any]] = [
        {"category_id": category_ids[label], "bbox": _short(box), "score": _short([score])[0]}
        for label, box, score in zip(found.labels, boxes, found.scores, strict=True)
    ]
    for result, rle in zip(results, found.rles or (), strict=False):
        result["segmentation"] = {"size": list(rle["size"]), "counts": counts_of(rle)}
    return results


def counts_of(rle: Mapping[str, Any]) -> str:
    """COCO's compressed run lengths as text, which JSON and tables can hold."""
    counts = rle["counts"]
    return str(counts.decode("ascii") if isinstance(counts, bytes) else counts)


def map_values(count: int, zero_is_ignored: bool) -> list[int]:
    """What a map's file has for each of ``count`` labels."""
    return [label + zero_is_ignored for label in range(count)]


def map_image(found: Segmentation, zero_is_ignored: bool) -> Image.Image:
    """A grey picture with :func:`map_values`; of 16 bits if 8 do not hold them."""
    values = found.classes + int(zero_is_ignored)
    kind = np.uint8 if len(found.class_names) + zero_is_ignored <= 256 else np.uint16
    return Image.fromarray(values.astype(kind))


def write_map(path: Path, found: Segmentation, zero_is_ignored: bool) -> None:
    """Write :func:`map_image` as a PNG.

    Raises:
        OSError: it cannot be written.
    """
    image = map_image(found, zero_is_ignored)
    write_whole(path, lambda file: image.save(file, format="PNG"))


def write_images(
    path: Path,
    entries: Iterable[Mapping[str, Any]],
    categories: Sequence[Mapping[str, Any]],
    info: Mapping[str, Any],
) -> None:
    """Write a COCO file of the pictures, without annotations; ``entries`` pass one by one."""
    head = f'{{"info": {json.dumps(info)},\n"categories": {json.dumps(categories)},\n"images": ['
    images = (
        {"id": entry["image_id"], "file_name": entry["name"], **_image(entry)} for entry in entries
    )
    _write_list(path, head, images, "]}\n")


def write_detections(path: Path, entries: Iterable[Mapping[str, Any]]) -> None:
    """Write COCO's result file; ``entries`` pass one by one."""
    results = (
        {"image_id": entry["image_id"], **result}
        for entry in entries
        for result in entry["results"]
    )
    _write_list(path, "[", results, "]\n")


def _image(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {k: entry[k] for k in ("width", "height", "video", "frame", "map") if k in entry}


def _write_list(path: Path, head: str, items: Iterator[Mapping[str, Any]], tail: str) -> None:
    def write(file: Path) -> None:
        with file.open("w", encoding="utf-8") as opened:
            opened.write(head)
            for number, item in enumerate(items):
                opened.write((",\n" if number else "\n") + json.dumps(item))
            opened.write(tail)

    write_whole(path, write)


def _short(values: Any) -> list[float]:
    """As few digits as tell a float32 from its neighbours."""
    return [float(str(np.float32(value))) for value in values]
