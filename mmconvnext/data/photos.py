"""Made-up photographs of everyday size, annotated in COCO's and ADE20K's layouts, for timing and
for comparing pipelines: nothing can be learnt from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

CATEGORIES = ("person", "bicycle", "car", "motorcycle")  # the first of COCO's
_OUTLINE = 30  # corners of an object
_JPEG_QUALITY = 90


def make_coco_photos(root: Path, pictures: int, size: tuple[int, int] = (480, 640)) -> None:
    """Write ``train2017/*.jpg`` and ``annotations/instances_train2017.json`` under ``root``.

    Of every four pictures one has a crowd (compressed run lengths), one an object of three parts
    and one uncompressed run lengths; the fourth has nothing at all. Else there are about eight
    polygons a picture, some over the edge, one of a few pixels.

    Args:
        root: an existing folder.
        pictures: how many; number ``i`` is drawn from seed ``i``.
        size: height and width in pixels.
    """
    (root / "train2017").mkdir()
    (root / "annotations").mkdir()
    height, width = size
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(pictures):
        rng = np.random.default_rng(number)
        name = f"{number:012}.jpg"
        _write_jpeg(root / "train2017" / name, _photo(rng, size))
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        for annotation in _objects(rng, size, number % 4):
            own = {"id": len(annotations) + 1, "image_id": number}
            annotations.append({**own, **annotation})
    categories = [{"id": place + 1, "name": name} for place, name in enumerate(CATEGORIES)]
    contents = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(contents))


def make_ade_photos(root: Path, pictures: int, size: tuple[int, int] = (480, 640)) -> None:
    """Write ``images/training/*.jpg`` and ``annotations/training/*.png`` under ``root``.

    Labels are 0 (not labelled) to 150. Arguments as for :func:`make_coco_photos`.
    """
    photos, maps = root / "images" / "training", root / "annotations" / "training"
    photos.mkdir(parents=True)
    maps.mkdir(parents=True)
    for number in range(pictures):
        rng = np.random.default_rng(number)
        _write_jpeg(photos / f"{number:06}.jpg", _photo(rng, size))
        labels = np.full(size, number % 3, np.uint8)
        for _ in range(8):
            outline = _outline(rng, size).reshape(-1, 1, 2).astype(np.int32)
            cv2.fillPoly(labels, [outline], int(rng.choice([0, 1, 7, 149, 150])))
        _write(maps / f"{number:06}.png", ".png", labels)


def _photo(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Soft patches of colour and fine noise: about as many bytes in JPEG as a photograph."""
    height, width = size
    coarse = rng.integers(0, 256, (height // 32, width // 32, 3)).astype(np.float32)
    soft = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    noisy: np.ndarray = soft + rng.normal(0, 8, soft.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def _outline(rng: np.random.Generator, size: tuple[int, int], radius: float = 0) -> np.ndarray:
    """A star-shaped polygon, ``(corners, 2)`` x, y in pixels, within the picture."""
    height, width = size
    radius = radius or rng.uniform(0.05, 0.35) * height
    angles = np.sort(rng.uniform(0, 2 * np.pi, _OUTLINE))
    reach = radius * rng.uniform(0.5, 1, _OUTLINE)
    centre = rng.uniform(0, (width, height))
    corners = centre + reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return corners.clip(0, (width, height)).round(2)


def _objects(rng: np.random.Generator, size: tuple[int, int], kind: int) -> list[dict[str, Any]]:
    if kind == 3:
        return []
    outlines = [_outline(rng, size) for _ in range(7)] + [_outline(rng, size, radius=2)]
    found = [_annotation(rng, [outline]) for outline in outlines]
    if kind == 0:
        parts = [_outline(rng, size) for _ in range(2)]
        found.append({**_annotation(rng, parts), "iscrowd": 1})
        found[-1]["segmentation"] = _run_lengths(parts, size, compressed=True)
    elif kind == 1:
        found.append(_annotation(rng, [_outline(rng, size) for _ in range(3)]))
    else:
        found[0]["segmentation"] = _run_lengths(outlines[:1], size, compressed=False)
    return found


def _annotation(rng: np.random.Generator, parts: list[np.ndarray]) -> dict[str, Any]:
    low, high = np.concatenate(parts).min(0), np.concatenate(parts).max(0)
    wide, tall = (high - low).round(2)
    return {
        "category_id": int(rng.integers(len(CATEGORIES))) + 1,
        "segmentation": [part.ravel().tolist() for part in parts],
        "bbox": [float(low[0]), float(low[1]), float(wide), float(tall)],
        "area": float(wide * tall),
        "iscrowd": 0,
    }


def _run_lengths(
    parts: list[np.ndarray], size: tuple[int, int], compressed: bool
) -> dict[str, Any]:
    import pycocotools.mask as coco_mask

    outlines = coco_mask.frPyObjects([part.ravel().tolist() for part in parts], *size)
    runs = coco_mask.merge(outlines)
    if compressed:
        return {"size": list(size), "counts": runs["counts"].decode()}
    pixels = coco_mask.decode(runs).ravel(order="F")
    changes = np.flatnonzero(np.diff(pixels)) + 1
    starts = np.concatenate([[0], changes, [pixels.size]])
    lengths = np.diff(starts).tolist()
    return {"size": list(size), "counts": [0, *lengths] if pixels[0] else lengths}


def _write_jpeg(path: Path, picture: np.ndarray) -> None:
    _write(path, ".jpg", picture, cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY)


def _write(path: Path, kind: str, picture: np.ndarray, *options: int) -> None:
    path.write_bytes(cv2.imencode(kind, picture, options)[1].tobytes())
