"""Pictures that lie in a folder for each class, as ImageNet's do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset
from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

from mmconvnext.data.checks import DataError, some
from mmconvnext.data.presence import check_folder
from mmconvnext.registry import DATASETS


@DATASETS.register_module()
class ClassFolders(BaseDataset):
    """``data_root/data_prefix/CLASS/…/PICTURE``: torchvision's ``ImageFolder``, as a data set of
    mmengine: its wrappers, pipelines and samplers work.

    Classes are numbered in the order of their folders' names.

    Args:
        data_root: folder of the data.
        data_prefix: ``dict(img_path=…)``, the folder of the class folders, below it.
        ann_file: a text file with a path relative to that folder a line: only these pictures are
            used, and the numbers of the classes stay. Default: all.
        settings: mmengine's ``pipeline``, ``indices``, ``test_mode`` and others.

    Raises:
        DataError: a folder is missing, or one of a class is empty.
    """

    def load_data_list(self) -> list[dict[str, Any]]:
        """Path and class of every picture."""
        folder = self.data_prefix["img_path"]
        classes, pictures = find_pictures(folder, self.ann_file)
        self._metainfo.setdefault("classes", tuple(classes))
        return [{"img_path": path, "gt_label": label} for path, label in pictures]


def find_classes(folder: str, what: str = "folder") -> list[str]:
    """Names of the class folders in ``folder``, by number.

    Args:
        folder: to look in.
        what: it is called in an error.

    Raises:
        DataError: it does not exist, or has no folders.
    """
    check_folder(folder, what, key="data_prefix")
    with os.scandir(folder) as entries:
        classes = sorted(entry.name for entry in entries if entry.is_dir())
    if not classes:
        raise DataError(
            f"{what} {folder} has no folders, so there are no classes: expected one folder a "
            "class, with its pictures"
        )
    return classes


def find_pictures(
    folder: str, ann_file: str = "", what: str = "folder"
) -> tuple[list[str], list[tuple[str, int]]]:
    """The classes in ``folder``, and path and class of every picture, those of a class together.

    Args:
        folder: of the class folders.
        ann_file: only the pictures that this file lists; as ClassFolders takes it.
        what: the folder is called in an error.

    Raises:
        DataError: what is missing or empty.
    """
    classes = find_classes(folder, what)
    numbers = {name: number for number, name in enumerate(classes)}
    if ann_file:
        return classes, _listed(folder, ann_file, numbers)
    pictures = make_dataset(folder, numbers, IMG_EXTENSIONS, allow_empty=True)
    full = {label for _, label in pictures}
    empty = [name for name, label in numbers.items() if label not in full]
    if empty:
        raise DataError(
            f"{what} {folder}: {len(empty)} of {len(classes)} class folders have no pictures "
            f"({', '.join(IMG_EXTENSIONS)}): {some(empty)}; remove or fill them"
        )
    return classes, pictures


def _listed(folder: str, ann_file: str, numbers: dict[str, int]) -> list[tuple[str, int]]:
    lines: Sequence[str] = Path(ann_file).read_text(encoding="utf-8").splitlines()
    names = [line for line in lines if line.strip()]
    unknown = [name for name in names if name.partition("/")[0] not in numbers]
    if unknown:
        raise DataError(
            f"{ann_file}: {some(unknown)}: expected CLASS/PICTURE a line, CLASS one of the folders "
            f"in {folder}: {some(list(numbers))}"
        )
    if not names:
        raise DataError(f"{ann_file} lists no pictures")
    return [(f"{folder}/{name}", numbers[name.partition("/")[0]]) for name in names]
