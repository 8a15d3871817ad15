"""Finds the annotation files of a data set in COCO's format, and the folders of their images."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

from mmconvnext.data.archives import ARCHIVES
from mmconvnext.data.listing import visible_names

_LOOKED_AT = 100  # of a file's images, to find their folder
_SPLIT_WORD = re.compile("train|val|test")


@dataclasses.dataclass(frozen=True)
class Split:
    """An annotation file and its images.

    Args:
        annotations: path of the annotation file below the data set's folder.
        images: path of the folder with its images; None where it depends on what the file lists.
        official: number of images of COCO's own split; 0 for another data set.
    """

    annotations: str
    images: str | None = None
    official: int = 0


OFFICIAL = (
    Split("annotations/instances_train2017.json", "train2017", 118_287),
    Split("annotations/instances_val2017.json", "val2017", 5_000),
)
# Where other data sets keep their annotation files; the first pattern that finds any counts.
_PATTERNS = ("annotations/instances_*.json", "annotations/*.json")
# There any other JSON file may lie too: only those count that have COCO's lists.
_LOOSE_PATTERNS = ("*.json", "*/*.json")


def splits_of(root: Path) -> tuple[Split, ...]:
    """COCO's own splits where ``root`` bears its names or nothing at all, else those that are
    found, which may be none."""
    if _is_official(root):
        return OFFICIAL
    for pattern in (*_PATTERNS, *_LOOSE_PATTERNS):
        files = sorted(root.glob(pattern))
        if pattern in _LOOSE_PATTERNS:
            files = [file for file in files if _has_images(file)]
        if files:
            return tuple(Split(file.relative_to(root).as_posix()) for file in files)
    return ()


def image_folder(root: Path, annotations: str, names: Iterable[str]) -> str:
    """The folder, below ``root``, that has most of the images ``names`` of an annotation file.

    Where none has any, the first of the usual ones with files in it, else ``images/`` and the
    file's own name.
    """
    file = Path(annotations)
    name = file.stem.removeprefix("instances_")
    usual = [f"images/{name}", name, "images", file.parent.as_posix(), "."]
    folders = [root / folder for folder in usual]
    others = [path for top in (root, root / "images") for path in _folders(top)]
    folders += [path for path in others if not _is_other_split(path.name, name)]
    present = [folder for folder in dict.fromkeys(folders) if folder.is_dir()]
    looked_at = list(names)[:_LOOKED_AT]

    def hits(folder: Path) -> int:
        # Unlike Path's, it has an answer for names that no file can have, too.
        return sum(os.path.isfile(folder / name) for name in looked_at)  # noqa: PTH113

    best = max(present, key=hits, default=root / usual[0])  # the first of equals
    if not hits(best):
        filled = [folder for folder in folders[:3] if _has_files(folder)]
        best = filled[0] if filled else root / usual[0]
    return best.relative_to(root).as_posix()


def _has_images(file: Path) -> bool:
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, OSError, RecursionError):
        return False
    return isinstance(content, dict) and isinstance(content.get("images"), list)


def _is_official(root: Path) -> bool:
    archives = {archive.name for archive in ARCHIVES["coco"]}
    known = archives | {f"{archive}.part" for archive in archives}
    names = set(visible_names(root))
    inside = [*names, *visible_names(root / "images"), *visible_names(root / "annotations")]
    return names <= known or any(
        Path(name).stem.endswith(("train2017", "val2017", "test2017", "unlabeled2017"))
        for name in inside
        if name not in known
    )


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(path.is_file() for path in folder.iterdir())


def _is_other_split(folder: str, name: str) -> bool:
    """Splits often number their images alike: those of train are no stand-in for those of val."""
    own, other = _SPLIT_WORD.match(name), _SPLIT_WORD.match(folder)
    return bool(own and other and own[0] != other[0])


def _folders(top: Path) -> list[Path]:
    return [top / name for name in visible_names(top) if (top / name).is_dir()]
