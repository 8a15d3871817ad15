"""Ids as faster-coco-eval wants them, whole numbers: COCO files may have text, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Numbered(NamedTuple):
    """An annotation file's content, predictions and the pictures to look at."""

    dataset: dict[str, Any]
    predictions: Sequence[Any]
    image_ids: Sequence[Any]


def with_plain_ids(given: Numbered) -> Numbered:
    """``given`` itself if its ids are whole numbers, else a copy in which they are.

    Pictures are numbered in the order in which pycocotools goes through them, which decides between
    equal scores. Annotations of pictures that are not in the file are left out.
    """
    images, entries = given.dataset["images"], given.dataset.get("annotations") or []
    if all(type(entry["id"]) is int for entry in (*images, *entries)):
        return given
    ids = [image["id"] for image in images]
    ordered = sorted(ids, key=str if any(isinstance(i, str) for i in ids) else None)
    numbers = {i: number for number, i in enumerate(ordered, start=1)}
    dataset = {
        **given.dataset,
        "images": [{**image, "id": numbers[image["id"]]} for image in images],
        "annotations": [
            {**entry, "id": number, "image_id": numbers[entry["image_id"]]}
            for number, entry in enumerate(entries, start=1)
            if entry["image_id"] in numbers
        ],
    }
    predictions = [
        {**p, "img_id": numbers.get(p["img_id"], p["img_id"])} for p in given.predictions
    ]
    return Numbered(dataset, predictions, [numbers[i] for i in given.image_ids])
