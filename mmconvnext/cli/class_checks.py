"""Checks of data sets with a folder for each class."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from mmconvnext.data.checks import DataError

if TYPE_CHECKING:
    from mmconvnext.cli.bad_data import DataCheck
    from mmconvnext.cli.datasets import DataSet

KIND = "ClassFolders"


def folder_of(dataset: DataSet) -> str:
    """Its folder of class folders."""
    return dataset.path((dataset.default("data_prefix") or {}).get("img_path", ""))


def check_class_folders(dataset: DataSet, data: DataCheck | None) -> tuple[str, ...]:
    """Check that every class has pictures, and with ``data`` each picture as well.

    Returns:
        The classes, by number.

    Raises:
        DataError: what is missing or empty.
    """
    from mmconvnext.classification.class_folders import find_pictures

    listed = dataset.cfg.get("ann_file") or ""
    folder = folder_of(dataset)
    classes, pictures = find_pictures(
        folder, dataset.path(listed) if listed else "", f"{dataset.place}: folder of classes"
    )
    if data is not None:
        data.check_pictures(dataset, [path for path, _ in pictures], folder)
    return tuple(classes)


def check_same_classes(trained: list[DataSet], validated: list[DataSet]) -> None:
    """Check that class folders to train on and to validate with have the same names: they are
    numbered in their order, so that one more would shift the labels of those behind it.

    Raises:
        DataError: the first name that disagrees.
    """
    from mmconvnext.classification.class_folders import find_classes

    first, *others = [
        (folder_of(dataset), find_classes(folder_of(dataset)))
        for dataset in (*trained, *validated)
        if dataset.loads_like(KIND)
    ] or [("", [])]
    for folder, classes in others:
        for one, other in zip_longest(first[1], classes):
            if one != other:
                name, has, lacks = min(
                    (name, has, lacks)
                    for name, has, lacks in ((one, first[0], folder), (other, folder, first[0]))
                    if name is not None
                )
                raise DataError(
                    f"classes disagree: {has} has the folder {name}, {lacks} has not: both need "
                    "the same, in whose order the classes are numbered"
                )
