"""Inspects a detection data set: COCO 2017 itself, a part of it, or another in its format."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from mmconvnext.data.archives import ARCHIVES
from mmconvnext.data.checks import DataError
from mmconvnext.data.coco_file import CocoFile, class_findings, read_coco_file
from mmconvnext.data.coco_layout import Split, image_folder, splits_of
from mmconvnext.data.decoding import decode_files
from mmconvnext.data.listing import files_below
from mmconvnext.data.report import (
    Finding,
    Part,
    Progress,
    Report,
    about_names,
    worth_an_archive,
)


@dataclasses.dataclass(frozen=True)
class _Images:
    """A split's images: the folder, what the file lists (None if it is unreadable), what of that
    is there (name → bytes), and what else is."""

    split: Split
    folder: Path
    listed: dict[str, tuple[int, int] | None] | None
    present: dict[str, int]
    unlisted: tuple[str, ...]

    @property
    def name(self) -> str:
        return "images" if self.split.images == "." else f"{self.split.images}/"


def inspect_coco(
    root: Path, *, workers: int = 0, always: bool = True, progress: Progress | None = None
) -> Report:
    """Look at the data set in ``root``; changes nothing.

    Args:
        root: the folder with ``train2017/``, ``val2017/`` and ``annotations/``, or with another
            data set's annotation files and images.
        workers: decode the images in so many processes; 0 for not decoding.
        always: decode even if an archive has to be got first.
        progress: called while decoding.
    """
    splits = splits_of(root)
    if not splits:
        return Report(root, "no data set in COCO's format", (_no_annotations(),))
    official = any(split.official for split in splits)
    parts: list[Part] = []
    contents: dict[Split, CocoFile | None] = {}
    for split in splits:
        content, part = _inspect_file(root, split)
        parts.append(part)
        if split.images is None:
            folder = image_folder(root, split.annotations, content.sizes if content else ())
            split = dataclasses.replace(split, images=folder)
        contents[split] = content
    images = [_list(root, split, contents) for split in contents]
    image_parts = [_inspect_images(listed, 0, None) for listed in images]
    if workers and (always or not any(part.archive for part in parts + image_parts)):
        image_parts = [_inspect_images(listed, workers, progress) for listed in images]
    parts += image_parts
    lists = {s.annotations: content.classes for s, content in contents.items() if content}
    title = "COCO 2017" if official else "a data set in COCO's format"
    classes = next(iter(lists.values()), ())
    return Report(root, title, tuple(_compare_classes(parts, lists)), classes, official)


def _no_annotations() -> Part:
    absent = Finding("missing", "there is no annotation file *.json, nor one a folder further down")
    return Part("annotations/*.json", "COCO's format", "nothing", (absent,))


def _inspect_file(root: Path, split: Split) -> tuple[CocoFile | None, Part]:
    name, path = split.annotations, root / split.annotations
    expected = "COCO's 80 classes" if split.official else "COCO's format"
    if not path.is_file():
        absent = Finding("missing", "the annotation file does not exist")
        return None, Part(name, expected, "nothing", (absent,), _archive("annotations"))
    try:
        content = read_coco_file(path)
    except DataError as error:
        hint = "; delete it and run again to have it downloaded" if split.official else ""
        damaged = Finding("damaged", f"{error}{hint}")
        return None, Part(name, expected, "unreadable", (damaged,))
    findings = [*content.findings, *class_findings(content.classes, bool(split.official))]
    return content, Part(name, expected, content.summary, tuple(findings))


def _list(root: Path, split: Split, contents: dict[Split, CocoFile | None]) -> _Images:
    """What lies in the folder of ``split``, seen with what the files list that share it."""
    folder = root / (split.images or "")
    found = files_below(str(folder))
    content = contents[split]
    if content is None:
        return _Images(split, folder, None, found, ())  # nothing says which should be there
    sharing = [other for s, other in contents.items() if s.images == split.images]
    listed_by_any = {name for other in sharing if other for name in other.sizes}
    first = next(s for s in contents if s.images == split.images)
    # Told once a folder, and only if every file that shares it could be read.
    tell = split is first and None not in sharing and split.images != "."
    unlisted = [name for name in found if name not in listed_by_any] if tell else []
    present = {name: found[name] for name in content.sizes if name in found}
    present |= _elsewhere(folder, [name for name in content.sizes if name not in found])
    return _Images(split, folder, content.sizes, present, tuple(unlisted))


def _elsewhere(folder: Path, names: list[str]) -> dict[str, int]:
    """Bytes of the files among ``names`` that a listing of ``folder`` does not show: names that
    lead out of it, other suffixes."""
    paths = {name: folder / name for name in names}
    # Unlike Path's, it has an answer for names that no file can have, too.
    there = {name: path for name, path in paths.items() if os.path.isfile(path)}  # noqa: PTH113
    return {name: path.stat().st_size for name, path in there.items()}


def _inspect_images(images: _Images, workers: int, progress: Progress | None) -> Part:
    split, listed = images.split, images.listed
    number = split.official if listed is None else len(listed)
    expected = f"{number:,} images" if number else "the images"
    if not images.folder.is_dir():
        return _no_folder(images, expected)
    absent = [name for name in listed or () if name not in images.present]
    findings = [
        *_absent(split, absent),
        *about_names(
            "damaged",
            "one file is empty",
            "{n} files are empty",
            [name for name, size in images.present.items() if not size],
        ),
        *about_names(
            "note",
            "one image is not in the annotation file",
            "{n} images are not in the annotation file",
            images.unlisted,
        ),
    ]
    if split.official and 0 < number < split.official and not absent:
        findings.append(Finding("note", f"{number:,} of the official {split.official:,} images"))
    if workers:
        findings += _decoded(images, workers, progress)
    nothing = not images.present and not images.unlisted
    many = worth_an_archive(len(absent), len(listed or ()), split.official)
    wanted = split.official and (nothing or many)
    archive = _archive(split.images) if wanted else ""
    found = f"{len(images.present):,} images"
    return Part(images.name, expected, found, tuple(findings), archive)


def _no_folder(images: _Images, expected: str) -> Part:
    split = images.split
    inside = images.folder.parent / "images" / images.folder.name
    if split.official and inside.is_dir():
        text = f"its images lie in images/{split.images}/; move or link that folder to ROOT itself"
        return Part(images.name, expected, "nothing", (Finding("missing", text),))
    absent = Finding("missing", "the folder with the images does not exist")
    archive = _archive(split.images) if split.official else ""
    return Part(images.name, expected, "nothing", (absent,), archive)


def _absent(split: Split, names: Sequence[str]) -> list[Finding]:
    single = f" (each is at http://images.cocodataset.org/{split.images}/)"
    hint = single if split.official else ""
    return about_names(
        "incomplete",
        f"one image that the annotation file lists is absent{hint}",
        f"{{n}} images that the annotation file lists are absent{hint}",
        names,
    )


def _decoded(images: _Images, workers: int, progress: Progress | None) -> list[Finding]:
    label = f"decoding {images.name}"
    names = [name for name, size in images.present.items() if size]
    results = decode_files(
        [str(images.folder / name) for name in names],
        workers=workers,
        progress=progress and (lambda done, total: progress(label, done, total)),
    )
    sizes = images.listed or {}
    pairs = list(zip(names, results, strict=True))
    broken = [name for name, result in pairs if result.error]
    other = [
        name
        for name, result in pairs
        if not result.error and (size := sizes.get(name)) and not result.fits(size)
    ]
    return [
        *about_names("damaged", "one image does not decode", "{n} images do not decode", broken),
        *about_names(
            "damaged",
            "one image has another size than the annotation file says",
            "{n} images have another size than the annotation file says",
            other,
        ),
    ]


def _compare_classes(parts: list[Part], class_lists: dict[str, tuple[str, ...]]) -> list[Part]:
    """Every annotation file of a data set has to number the classes alike."""
    if len(set(class_lists.values())) <= 1:
        return parts
    first = next(iter(class_lists))
    finding = Finding("damaged", f"the categories or their order are not those of {first}")
    return [
        dataclasses.replace(part, findings=(*part.findings, finding))
        if class_lists.get(part.name, class_lists[first]) != class_lists[first]
        else part
        for part in parts
    ]


def _archive(folder: str | None) -> str:
    return next((archive.name for archive in ARCHIVES["coco"] if archive.folder == folder), "")
