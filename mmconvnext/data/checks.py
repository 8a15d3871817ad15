"""Checks of a user's data set before anything runs: files, format, classes, absent pictures.

Knows neither mmdet nor mmseg: it takes paths and class names. Every problem is a :class:`DataError`
whose message is one line with the file, what is wrong and what to do.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

SOURCES = {
    "coco": "https://cocodataset.org/#download",
    "ade20k": "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
}
_SHOWN = 3


class DataError(ValueError):
    """The data cannot be used as they are; the message is one line."""


@dataclasses.dataclass(frozen=True)
class CocoContents:
    """What the checks need of a COCO annotation file: the pictures' file names and the categories'
    names."""

    file_names: list[str]
    categories: list[str]


def where_to_get(source: str | None) -> str:
    """The end of an error line: where the public data set ``source`` (a key of SOURCES) can be
    had."""
    point = "--data-root points to data that lie elsewhere"
    if source is None:
        return f"; {point}"
    return f"; `mmconvnext prepare-data {source} DIR` gets it ({SOURCES[source]}), or {point}"


def check_folder(folder: str, what: str, source: str | None = None) -> None:
    """Check that ``folder`` exists.

    Raises:
        DataError: it does not; the message says where the data ``source`` can be had.
    """
    if not Path(folder).is_dir():
        raise DataError(f"{what} {folder} does not exist{where_to_get(source)}")


def check_file(path: str, what: str, source: str | None = None) -> None:
    """Check that the file ``path`` exists; errors as in :func:`check_folder`."""
    if not Path(path).is_file():
        raise DataError(f"{what} {path} does not exist{where_to_get(source)}")


def read_coco(path: str, *, labelled: bool = True) -> CocoContents:
    """Read a COCO annotation file and check its form.

    Args:
        path: the JSON file.
        labelled: whether it must have annotations; a test set's need not.

    Raises:
        DataError: not JSON, or JSON without COCO's lists, or entries without the fields that
        loading needs.
    """
    try:
        with Path(path).open(encoding="utf-8") as file:
            content = json.load(file)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"annotation file {path} is not JSON: {error}") from error
    needed: dict[str, tuple[str, ...]] = {
        "images": ("id", "file_name"),
        "categories": ("id", "name"),
    }
    if labelled:
        needed["annotations"] = ("id", "image_id", "category_id")
    check_form(path, content, needed)
    return CocoContents(
        file_names=[image["file_name"] for image in content["images"]],
        categories=[category["name"] for category in content["categories"]],
    )


def check_form(path: str, content: Any, needed: dict[str, tuple[str, ...]]) -> None:
    """Check that the parsed file ``path`` has the lists ``needed``, and their entries the fields.

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
    if not content["images"]:
        raise DataError(f"annotation file {path} lists no images")


def check_categories(path: str, categories: Sequence[str], classes: Sequence[str]) -> None:
    """Check that the annotation file ``path`` has every class that the config's data set names.

    A class that the file lacks would shift the labels of those behind it, silently.
    """
    lacking = [name for name in classes if name not in set(categories)]
    if lacking:
        raise DataError(
            f"classes disagree: annotation file {path} has {_some(categories)}, it lacks "
            f"{_some(lacking)} of the "
            f"config's {len(classes)}; set metainfo=dict(classes=(…)) of the dataset to the "
            "file's names"
        )


def check_pictures(names: Iterable[str], folder: str, listed_in: str) -> None:
    """Check that the files ``names`` (relative to ``folder``) exist; reads each folder once, not
    each file.

    Raises:
        DataError: how many are absent, and the first three.
    """
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name in names:
        path = os.path.join(folder, name)  # noqa: PTH118  (100,000 Path objects take seconds)
        by_folder[os.path.dirname(path)].append(path)  # noqa: PTH120
    absent: list[str] = []
    total = 0
    for parent, paths in by_folder.items():
        present = _file_names(parent)
        total += len(paths)
        absent += [path for path in paths if os.path.basename(path) not in present]  # noqa: PTH119
    if absent:
        raise DataError(
            f"{len(absent)} of {total} images named in {listed_in} are not in {folder}: "
            f"{_some(sorted(absent))}"
        )


def check_pairs(pictures: str, masks: str | None, picture_suffix: str, mask_suffix: str) -> None:
    """Check a segmentation data set without a list: pictures with ``picture_suffix``, a mask of the
    same name each.

    Raises:
        DataError: no picture has the suffix, or pictures have no mask (how many, the first three).
    """
    names = _names_below(pictures, picture_suffix)
    if not names:
        raise DataError(
            f"folder {pictures} has no *{picture_suffix}, so there are no images to load"
        )
    if masks is None:
        return
    lacking = sorted(set(names) - set(_names_below(masks, mask_suffix)))
    if lacking:
        raise DataError(
            f"{len(lacking)} of {len(names)} images in {pictures} have no mask *{mask_suffix} "
            f"in {masks}: "
            f"{_some(lacking)}"
        )


def check_class_count(places: dict[str, int], classes: int, named_in: str) -> None:
    """Check that every head's number of classes (``places``: config key → number) is the data's.

    Raises:
        DataError: the first key that disagrees, and how many more do.
    """
    wrong = {key: number for key, number in places.items() if number != classes}
    if wrong:
        key, number = next(iter(wrong.items()))
        more = f" (and {len(wrong) - 1} more heads)" if len(wrong) > 1 else ""
        raise DataError(
            f"classes disagree: {key}={number}{more}, but {named_in} has {classes} classes; "
            f"set num_classes={classes}, or the dataset's metainfo=dict(classes=(…)) to the head's"
        )


def _file_names(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except OSError:
        return set()


def _names_below(folder: str, suffix: str) -> list[str]:
    """Relative names, without ``suffix``, of the files below ``folder`` that end in it."""
    names = []
    for parent, _, files in os.walk(folder):
        within = os.path.relpath(parent, folder)
        prefix = "" if within == "." else f"{within}/"
        names += [
            f"{prefix}{file.removesuffix(suffix)}"
            for file in files
            if file.endswith(suffix) and not file.startswith(".")
        ]
    return names


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{shown}, …" if len(names) > _SHOWN else shown
