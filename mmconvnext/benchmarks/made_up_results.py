"""Made-up annotations and predictions, in the forms that mmdet's and mmseg's metrics take."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pycocotools import mask as rle

SIZE = (480, 640)  # height, width of every picture
_SIDES = 12  # of the polygons that are the masks
_LARGEST = 320.0


def coco_annotations(images: int, classes: int, per_image: int, seed: int = 0) -> dict[str, Any]:
    """A COCO annotation file's content: polygons of all sizes, one in fifty a crowd.

    Args:
        images: number of pictures, of SIZE; some have no annotation.
        classes: number of categories; their ids leave gaps, as COCO's do.
        per_image: annotations a picture, on average.
        seed: of everything.
    """
    rng = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    for image, count in enumerate(rng.poisson(per_image, images)):
        for box in _boxes(rng, int(count)):
            crowd = int(rng.random() < 0.02)
            coded = rle.frPyObjects([_polygon(box)], *SIZE)[0]
            region = {**coded, "counts": coded["counts"].decode()} if crowd else [_polygon(box)]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": 2 * int(rng.integers(classes)) + 1,
                    "bbox": [float(value) for value in box],
                    "area": float(rle.area(coded)),
                    "iscrowd": crowd,
                    "segmentation": region,
                }
            )
    return {
        "images": [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in range(images)],
        "annotations": annotations,
        "categories": [{"id": 2 * i + 1, "name": f"class {i}"} for i in range(classes)],
    }


def coco_predictions(
    truth: dict[str, Any], per_image: int, seed: int = 1
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """What mmdet's ``CocoMetric.process`` keeps of a detector's findings, masks included.

    Two thirds lie near an annotation, with its class in four cases of five; the others anywhere.

    Args:
        truth: of coco_annotations.
        per_image: detections a picture.
        seed: of everything.
    """
    rng = np.random.default_rng(seed)
    by_image: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in truth["images"]}
    for annotation in truth["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    classes = len(truth["categories"])
    results = []
    for image, there in by_image.items():
        boxes, labels = _boxes(rng, per_image), rng.integers(classes, size=per_image)
        near = rng.random(per_image) < (2 / 3 if there else 0)
        for index in np.flatnonzero(near):
            annotation = there[rng.integers(len(there))]
            boxes[index] = annotation["bbox"] + rng.normal(0, 0.08, 4) * annotation["bbox"][2]
            if rng.random() < 0.8:
                labels[index] = annotation["category_id"] // 2
        results.append((_picture(image), _findings(rng, image, boxes, labels, near)))
    return results


def class_maps(
    pictures: int, classes: int, size: tuple[int, int], seed: int = 0
) -> list[dict[str, Any]]:
    """Semantic segmentation's data samples: blocks of one class, a tenth of them not labelled.

    Args:
        pictures: their number.
        classes: number of classes; 255 is "not labelled".
        size: height and width of the maps.
        seed: of everything.
    """
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for _ in range(pictures):
        rough = torch.randint(classes, (1, 16, 16), generator=generator)
        labels = _enlarged(rough, size)
        wrong = _enlarged(torch.rand(1, 32, 32, generator=generator) < 0.3, size)
        ignored = _enlarged(torch.rand(1, 32, 32, generator=generator) < 0.1, size)
        predicted = torch.where(wrong, (labels + 1) % classes, labels)
        samples.append(
            {
                "pred_sem_seg": {"data": predicted},
                "gt_sem_seg": {"data": labels.masked_fill(ignored, 255)},
            }
        )
    return samples


def masks(count: int, size: tuple[int, int], seed: int = 0) -> torch.Tensor:
    """(count, H, W) boolean ellipses of all sizes, as a detector predicts them."""
    generator = torch.Generator().manual_seed(seed)
    y, x, b, a = (torch.rand(4, count, 1, 1, generator=generator) * 0.9 + 0.05).unbind(0)
    rows = torch.linspace(0, 1, size[0])[:, None]
    columns = torch.linspace(0, 1, size[1])[None]
    return ((rows - y) / (b / 3)) ** 2 + ((columns - x) / (a / 3)) ** 2 < 1


def _picture(image: int) -> dict[str, Any]:
    return {"img_id": image, "height": SIZE[0], "width": SIZE[1]}


def _findings(
    rng: np.random.Generator, image: int, boxes: Any, labels: Any, near: Any
) -> dict[str, Any]:
    scores = rng.random(len(boxes)) * np.where(near, 1.0, 0.6)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + np.maximum(boxes[:, 2:], 1)], axis=1)
    return {
        "img_id": image,
        "bboxes": corners.astype(np.float32),
        "scores": scores.astype(np.float32),
        "labels": labels,
        "masks": rle.frPyObjects([_polygon(box) for box in boxes], *SIZE),
    }


def _boxes(rng: np.random.Generator, count: int) -> Any:
    """(count, 4), x y width height inside a picture, as many small ones as large ones."""
    sides = np.exp(rng.uniform(np.log(8), np.log(_LARGEST), (count, 2)))
    corners = rng.random((count, 2)) * (np.array(SIZE[::-1]) - sides)
    return np.concatenate([corners, sides], axis=1)


def _polygon(box: Any) -> list[float]:
    """The ellipse in a box, as x1 y1 x2 y2 …"""
    x, y, width, height = box
    angles = np.arange(_SIDES) * (2 * np.pi / _SIDES)
    points = np.stack(
        [x + width / 2 * (1 + np.cos(angles)), y + height / 2 * (1 + np.sin(angles))], axis=1
    )
    return [float(value) for value in points.reshape(-1)]


def _enlarged(rough: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    rows = torch.arange(size[0]) * rough.shape[1] // size[0]
    columns = torch.arange(size[1]) * rough.shape[2] // size[1]
    return rough[:, rows][:, :, columns]
