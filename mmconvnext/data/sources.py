"""The pictures and videos that a user names: files, folders, patterns, COCO files."""

from __future__ import annotations

import dataclasses
import glob
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmconvnext.data.checks import DataError, check_form
from mmconvnext.data.listing import PICTURE_SUFFIXES, files_below

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")


@dataclasses.dataclass(frozen=True)
class Source:
    """A picture or a video.

    Args:
        path: the file.
        name: its path below the folder that all of the listing share, with "/"; unique there.
        image_id: what a COCO file calls it.
    """

    path: Path
    name: str
    image_id: int | None = None

    @property
    def is_video(self) -> bool:
        """Whether its name ends like a video's."""
        return self.name.lower().endswith(VIDEO_SUFFIXES)


@dataclasses.dataclass(frozen=True)
class Listing:
    """What the inputs have in them.

    Args:
        sources: each file once, in the inputs' order, folders sorted.
        categories: name → id in the COCO files among the inputs.
    """

    sources: tuple[Source, ...]
    categories: Mapping[str, int]


@dataclasses.dataclass
class _Found:
    """Files so far, and the folders below which their names are told apart."""

    ids: dict[Path, int | None] = dataclasses.field(default_factory=dict)
    folders: list[Path] = dataclasses.field(default_factory=list)
    categories: dict[str, int] = dataclasses.field(default_factory=dict)

    def add(self, folder: Path, paths: Iterable[Path]) -> None:
        """Add ``paths``, which were found below ``folder``."""
        self.folders.append(folder)
        for path in paths:
            self.ids.setdefault(path, None)


def list_sources(
    inputs: Sequence[str], *, picture_folders: Sequence[Path] = (), without: Path | None = None
) -> Listing:
    """List what ``inputs`` name.

    Args:
        inputs: pictures and videos; folders, with all below them; patterns such as ``a/**/*.jpg``;
            COCO files (``.json``), of which the pictures are listed.
        picture_folders: where a COCO file's pictures may lie, besides its own folder; the first
            folder that has the first picture is taken.
        without: a folder that is passed over.

    Raises:
        DataError: an input is not there or has nothing in it, or a COCO file is none, or two of
            them disagree.
    """
    found = _Found()
    for name in inputs:
        path = Path(os.path.abspath(Path(name).expanduser()))  # noqa: PTH100  (links stay)
        if path.is_dir():
            below = [path / file for file in files_below(str(path), _SUFFIXES)]
            found.add(path, _some(below, f"input {name}", "a folder without pictures or videos"))
        elif path.suffix.lower() == ".json" and path.is_file():
            _add_coco(found, path, picture_folders)
        elif path.is_file():
            found.add(path.parent, [path])
        else:
            _add_pattern(found, name, path)
    if without is not None:
        found.ids = {path: i for path, i in found.ids.items() if without not in path.parents}
        _some(list(found.ids), f"inputs {' '.join(inputs)}", f"only what lies in {without}")
    root = Path(os.path.commonpath(found.folders))
    sources = tuple(
        Source(path, path.relative_to(root).as_posix(), image_id)
        for path, image_id in found.ids.items()
    )
    return Listing(sources, found.categories)


_SUFFIXES = (*PICTURE_SUFFIXES, *VIDEO_SUFFIXES)


def _some(paths: list[Path], what: str, otherwise: str) -> list[Path]:
    if not paths:
        raise DataError(
            f"{what}: expected a picture, a video, a folder, a pattern or a COCO file, "
            f"found {otherwise}"
        )
    return paths


def _add_pattern(found: _Found, name: str, path: Path) -> None:
    matching: list[Path] = []
    if glob.has_magic(name):
        files = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207  (takes absolute ones)
        matching = [Path(file) for file in files if file.lower().endswith(_SUFFIXES)]
    _some(matching, f"input {name}", "nothing of that name")
    fixed = next(p for p in path.parents if not glob.has_magic(str(p)))
    found.add(fixed, matching)


def _add_coco(found: _Found, file: Path, picture_folders: Sequence[Path]) -> None:
    try:
        content = json.loads(file.read_bytes())
    except ValueError as error:
        raise DataError(f"input {file}: expected a COCO file, found no JSON: {error}") from error
    check_form(str(file), content, {"images": ("id", "file_name")})
    names = {str(image["file_name"]): image["id"] for image in content["images"]}
    if not names:
        raise DataError(f"input {file}: expected a COCO file with images, found none in it")
    folder = _picture_folder(file, next(iter(names)), picture_folders)
    taken = {image_id for image_id in found.ids.values() if image_id is not None}
    for name, image_id in names.items():
        if not isinstance(image_id, int) or image_id in taken:
            what = "used in another file" if image_id in taken else "no whole number"
            raise DataError(f"input {file}: image id {image_id!r} of {name} is {what}")
        path = Path(os.path.abspath(folder / name))  # noqa: PTH100  (links stay)
        found.ids[path] = image_id
        if folder not in path.parents:  # an absolute name, or one with ".."
            found.folders.append(path.parent)
    found.folders.append(folder)
    for name, number in _categories(file, content):
        if found.categories.setdefault(name, number) != number:
            raise DataError(f"input {file}: category {name!r} has another id in another file")


def _categories(file: Path, content: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    if content.get("categories"):
        check_form(str(file), content, {"categories": ("id", "name")})
        for category in content["categories"]:
            yield str(category["name"]), int(category["id"])


def _picture_folder(file: Path, first: str, folders: Sequence[Path]) -> Path:
    candidates = [Path(os.path.abspath(f)) for f in (*folders, file.parent)]  # noqa: PTH100
    for folder in candidates:
        if (folder / first).is_file():
            return folder
    raise DataError(
        f"input {file}: its first picture {first} is not in "
        f"{' or '.join(map(str, dict.fromkeys(candidates)))}; name the folder with --image-dir"
    )
