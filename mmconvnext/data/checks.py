"""Checks of a user's data set before anything runs: annotation files, their format and classes.

Knows neither mmdet nor mmseg: it takes paths and class names. Every problem is a :class:`DataError`
whose message is one line with the file, what is wrong and what to do.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from mmconvnext.data.fields import is_id, misfit

_SHOWN = 3
# What everything else refers to. The others are looked at one by one, and may be left out.
_FIRM = {"images": ("file_name",), "categories": ("id", "name")}


class DataError(ValueError):
    """The data cannot be used as they are; the message is one line."""


@dataclasses.dataclass(frozen=True)
class CocoContents:
    """What the checks need of a COCO annotation file.

    Args:
        file_names: of the pictures.
        image_ids: of the pictures, in the same order.
        categories: names, in the file's order.
        counts: category name → number of annotations that belong to an image of the file.
        without_mask: number of annotations that have no ``segmentation``.
    """

    file_names: list[str]
    image_ids: list[Any]
    categories: list[str]
    counts: dict[str, int]
    without_mask: int


def read_coco(path: str, *, labelled: bool = True) -> CocoContents:
    """Read a COCO annotation file and check its form.

    Args:
        path: the JSON file.
        labelled: whether it must have annotations; a test set's need not.

    Raises:
        DataError: not JSON, or JSON without COCO's lists, or entries without the fields that
        loading needs.
    """
    return coco_contents(path, load_coco(path, labelled=labelled))


def load_coco(path: str, *, labelled: bool = True) -> dict[str, Any]:
    """The whole of a COCO annotation file, its form checked; arguments and errors as for
    :func:`read_coco`."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            content: dict[str, Any] = json.load(file)
    except (ValueError, RecursionError) as error:
        raise DataError(f"annotation file {path} is not JSON: {error}") from error
    needed: dict[str, tuple[str, ...]] = {
        "images": ("id", "file_name"),
        "categories": ("id", "name"),
    }
    if labelled or (isinstance(content, dict) and "annotations" in content):
        needed["annotations"] = ("id", "image_id", "category_id")
    check_form(path, content, needed)
    return content


def coco_contents(path: str, content: dict[str, Any]) -> CocoContents:
    """What the checks need of ``content``, which :func:`load_coco` read from ``path``.

    Raises:
        DataError: two categories have the same id.
    """
    listed = Counter(category["id"] for category in content["categories"])
    if doubles := [repr(number) for number, times in listed.items() if times > 1]:
        raise DataError(
            f"annotation file {path}: several categories have the id {some(doubles)}; give each "
            "its own, and their annotations"
        )
    annotations = content.get("annotations") or []
    names = {category["id"]: category["name"] for category in content["categories"]}
    ids = [_as_id(image["id"]) for image in content["images"]]
    known = set(ids)
    owned = [entry for entry in annotations if _as_id(entry.get("image_id")) in known]
    return CocoContents(
        file_names=[image["file_name"] for image in content["images"]],
        image_ids=ids,
        categories=[category["name"] for category in content["categories"]],
        counts=Counter(names.get(_as_id(entry.get("category_id")), "") for entry in owned),
        without_mask=sum(not entry.get("segmentation") for entry in annotations),
    )


def check_form(
    path: str,
    content: Any,
    needed: dict[str, tuple[str, ...]],
    firm: Mapping[str, tuple[str, ...]] = _FIRM,
) -> None:
    """Check that the parsed file ``path`` has the lists ``needed``, and their entries the fields;
    those that are in ``firm`` have to be names and ids, too.

    Raises:
        DataError: what is lacking.
    """
    if not isinstance(content, dict):
        found = f"a {type(content).__name__}"
        raise DataError(
            f"annotation file {path} is not COCO JSON: expected an object, found {found}"
        )
    for key, fields in needed.items():
        entries = content.get(key)
        if not isinstance(entries, list):
            found = ", ".join(map(repr, content)) or "nothing"
            raise DataError(
                f"annotation file {path} is not COCO JSON: no list {key!r} in it, only {found}"
            )
        for number, entry in enumerate(entries):
            lacking = [f for f in fields if not isinstance(entry, dict) or f not in entry]
            if lacking:
                raise DataError(
                    f"annotation file {path} is not COCO JSON: {key}[{number}] has no "
                    f"{lacking[0]!r}"
                )
            if wrong := misfit(entry, firm.get(key, ())):
                raise DataError(
                    f"annotation file {path} is not COCO JSON: {key}[{number}]: {wrong}"
                )
    if not content["images"]:
        raise DataError(f"annotation file {path} lists no images")


def check_categories(path: str, categories: Sequence[str], classes: Sequence[str]) -> None:
    """Check that the annotation file ``path`` has every class that the config's data set names, in
    the same order.

    mmdet numbers the classes in the file's order. One that the file lacks would shift the labels of
    those behind it, and another order would give them each other's names, both silently.
    """
    lacking = [name for name in classes if name not in set(categories)]
    if lacking:
        raise DataError(
            f"classes disagree: annotation file {path} has {some(categories)}, it lacks "
            f"{some(lacking)} of the "
            f"config's {len(classes)}; set metainfo=dict(classes=(…)) of the dataset to the "
            "file's names"
        )
    in_file = [name for name in categories if name in set(classes)]
    for number, (in_config, name) in enumerate(zip_longest(classes, in_file)):
        if in_config != name:
            raise DataError(
                f"classes disagree: of the dataset's metainfo.classes number {number} is "
                f"{in_config!r}, in annotation file {path} {name!r}; write them in the file's "
                "order, by which mmdet numbers them"
            )


def check_annotations(path: str, contents: CocoContents, classes: Sequence[str]) -> None:
    """Check that the annotation file ``path`` has something to learn: objects of ``classes``."""
    if not any(contents.counts.get(name) for name in classes):
        raise DataError(
            f"annotation file {path} has no annotation of {some(classes)}: nothing to train on"
        )


def check_outlines(path: str, contents: CocoContents) -> None:
    """Check that every object in the annotation file ``path`` has an outline to make a mask of."""
    if contents.without_mask:
        raise DataError(
            f"{contents.without_mask} of {sum(contents.counts.values())} annotations in {path} "
            "have no 'segmentation', and the config needs masks; for boxes alone take "
            "a detector without a mask head"
        )


def check_ground_truth(what: str, truth: CocoContents, path: str, listed: CocoContents) -> None:
    """Check that ``what``, the annotation file ``truth`` that results are compared with, has the
    pictures that a data set's annotation file ``path``, ``listed``, has.

    Results are matched by the pictures' ids, and those of most files count from 1: another data
    set's file would give figures, meaningless ones.
    """
    known = dict(zip(truth.image_ids, map(base_name, truth.file_names), strict=True))
    pairs = zip(listed.image_ids, listed.file_names, strict=True)
    absent = [name for number, name in pairs if known.get(number) != base_name(name)]
    if absent:
        raise DataError(
            f"{what} is of other data: {len(absent)} of {len(listed.file_names)} images of {path} "
            f"are not in it: {some(absent)}; set its ann_file to {path}"
        )


NAMED_IN_CONFIG = ", or the dataset's metainfo=dict(classes=(…)) to the head's"


def check_class_count(
    places: dict[str, int], classes: int, named_in: str, or_else: str = NAMED_IN_CONFIG
) -> None:
    """Check that every head's number of classes (``places``: config key → number) is the data's.

    Raises:
        DataError: the first key that disagrees, how many more do, and ``or_else`` what to do.
    """
    wrong = {key: number for key, number in places.items() if number != classes}
    if wrong:
        key, number = next(iter(wrong.items()))
        more = f" (and {len(wrong) - 1} more heads)" if len(wrong) > 1 else ""
        raise DataError(
            f"classes disagree: {key}={number}{more}, but {named_in} has {classes} classes; "
            f"set num_classes={classes}{or_else}"
        )


def _as_id(value: Any) -> Any:
    """``value``, or what is no entry's id for something that cannot be one."""
    return value if is_id(value) else None


def base_name(path: str) -> str:
    """The last part of ``path``."""
    return os.path.basename(path)  # noqa: PTH119  (100,000 Path objects take seconds)


def some(names: Sequence[str]) -> str:
    """The first three of ``names``, and whether there are more."""
    shown = ", ".join(names[:_SHOWN])
    return f"{shown}, …" if len(names) > _SHOWN else shown
