"""Inspects a segmentation data set: ADE20K itself, a part of it, or another in its layout."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from mmconvnext.data.archives import ARCHIVES
from mmconvnext.data.decoding import Decoded, decode_files
from mmconvnext.data.listing import files_below, visible_names
from mmconvnext.data.report import Finding, Part, Progress, Report, about_names, worth_an_archive

OFFICIAL = {"training": 20_210, "validation": 2_000}
_OFFICIAL_NAME = re.compile(r"ADE_(train|val)_\d{8}$")
_OFFICIAL_VALUES = range(151)  # 0 is "not labelled", then 150 classes
_IGNORED = 255  # by the losses
_TOP = ARCHIVES["ade20k"][0].folder


@dataclasses.dataclass(frozen=True)
class _Split:
    """The pictures and masks of one split: name without suffix → (relative name, bytes)."""

    name: str
    folder: Path
    pictures: dict[str, tuple[str, int]]
    masks: dict[str, tuple[str, int]]

    @property
    def official(self) -> bool:
        """Whether the names are ADE20K's."""
        return any(_OFFICIAL_NAME.fullmatch(stem) for stem in {**self.pictures, **self.masks})


def inspect_ade20k(
    root: Path, *, workers: int = 0, always: bool = True, progress: Progress | None = None
) -> Report:
    """Look at the data set in ``root``; changes nothing.

    Args:
        root: the folder with ``images/`` and ``annotations/``, or the one with
            ``ADEChallengeData2016/`` in it.
        workers: decode images and masks in so many processes; 0 for not decoding.
        always: decode even if the archive has to be got first.
        progress: called while decoding.
    """
    root = root / _TOP if (root / _TOP).is_dir() else root
    splits = [_list(root, name) for name in OFFICIAL]
    official = any(split.official for split in splits) or _is_empty(root)
    parts = _inspect(splits, [_Decoded({}, {}) for _ in splits], official)
    if workers and (always or not any(part.archive for part in parts)):
        decoded = [_decode(split, workers, progress) for split in splits]
        parts = _inspect(splits, decoded, official)
    title = "ADE20K" if official else "a data set in ADE20K's layout"
    return Report(root, title, parts, official=official)


def _inspect(splits: list[_Split], decoded: list[_Decoded], official: bool) -> tuple[Part, ...]:
    pairs = list(zip(splits, decoded, strict=True))
    images = [_inspect_images(split, results, official) for split, results in pairs]
    return (*images, *(_inspect_masks(split, results, official) for split, results in pairs))


def _is_empty(root: Path) -> bool:
    """Whether nothing lies in ``root`` that could be another data set."""
    archive = ARCHIVES["ade20k"][0].name
    return set(visible_names(root)) <= {archive, f"{archive}.part"}


def _list(root: Path, name: str) -> _Split:
    found = files_below(str(root / "images" / name))
    masks = files_below(str(root / "annotations" / name), (".png",))
    return _Split(name, root, _by_stem(found), _by_stem(masks))


def _by_stem(files: dict[str, int]) -> dict[str, tuple[str, int]]:
    return {str(PurePosixPath(name).with_suffix("")): (name, size) for name, size in files.items()}


@dataclasses.dataclass(frozen=True)
class _Decoded:
    """What decoding gave, by name without suffix."""

    pictures: dict[str, Decoded]
    masks: dict[str, Decoded]


def _decode(split: _Split, workers: int, progress: Progress | None) -> _Decoded:
    def decode(kind: str, files: dict[str, tuple[str, int]], masks: bool) -> dict[str, Decoded]:
        stems = [stem for stem, (_, size) in files.items() if size]
        label = f"decoding {kind}/{split.name}/"
        paths = [str(split.folder / kind / split.name / files[stem][0]) for stem in stems]
        results = decode_files(
            paths,
            workers=workers,
            masks=masks,
            progress=progress and (lambda done, total: progress(label, done, total)),
        )
        return dict(zip(stems, results, strict=True))

    return _Decoded(
        decode("images", split.pictures, False), decode("annotations", split.masks, True)
    )


def _inspect_images(split: _Split, decoded: _Decoded, official: bool) -> Part:
    name = f"images/{split.name}/"
    full = OFFICIAL[split.name] if official else 0
    number = len({**split.pictures, **split.masks}) or full
    expected = f"{number:,} images" if number else "images"
    if not split.pictures:
        there = (split.folder / name).is_dir()
        what = "there is no image in it" if there else "the folder does not exist"
        return Part(name, expected, "nothing", (Finding("missing", what),), _archive(official))
    alone = [split.masks[stem][0] for stem in split.masks if stem not in split.pictures]
    findings = [
        *about_names("incomplete", "one mask has no image", "{n} masks have no image", alone),
        *_damaged(split.pictures, decoded.pictures, "image"),
        *_suffixes(split, official),
    ]
    if full and len(split.pictures) != full:
        findings.append(Finding("note", f"{len(split.pictures):,} of the official {full:,} images"))
    many = worth_an_archive(len(alone), len(split.masks), full) if full else False
    found = f"{len(split.pictures):,} images"
    return Part(name, expected, found, tuple(findings), _archive(many))


def _inspect_masks(split: _Split, decoded: _Decoded, official: bool) -> Part:
    name = f"annotations/{split.name}/"
    full = OFFICIAL[split.name] if official else 0
    number = len(split.pictures) or full
    expected = f"{number:,} masks" if number else "masks"
    if not split.masks:
        there = (split.folder / name).is_dir()
        what = "there is no mask *.png in it" if there else "the folder does not exist"
        return Part(name, expected, "nothing", (Finding("missing", what),), _archive(official))
    alone = [split.pictures[stem][0] for stem in split.pictures if stem not in split.masks]
    findings = [
        *about_names("incomplete", "one image has no mask", "{n} images have no mask", alone),
        *_damaged(split.masks, decoded.masks, "mask"),
        *_sizes(split, decoded),
        *_values(split, decoded, official),
    ]
    many = worth_an_archive(len(alone), len(split.pictures), full) if full else False
    found = f"{len(split.masks):,} masks"
    return Part(name, expected, found, tuple(findings), _archive(many))


def _damaged(
    files: dict[str, tuple[str, int]], decoded: dict[str, Decoded], what: str
) -> list[Finding]:
    empty = [name for name, size in files.values() if not size]
    broken = [files[stem][0] for stem, result in decoded.items() if result.error]
    return [
        *about_names("damaged", "one file is empty", "{n} files are empty", empty),
        *about_names(
            "damaged", f"one {what} does not decode", f"{{n}} {what}s do not decode", broken
        ),
    ]


def _suffixes(split: _Split, official: bool) -> list[Finding]:
    """The recipes read *.jpg; what has another suffix they would not see."""
    suffixes = sorted({PurePosixPath(name).suffix for name, _ in split.pictures.values()})
    if suffixes == [".jpg"]:
        return []
    if len(suffixes) > 1:
        text = f"the images have several suffixes ({', '.join(suffixes)}), only one can be read"
        return [Finding("incomplete", text)]
    text = f"the images are *{suffixes[0]}: the data set's img_suffix has to say so"
    return [Finding("damaged" if official else "note", text)]


def _sizes(split: _Split, decoded: _Decoded) -> list[Finding]:
    other = [
        split.masks[stem][0]
        for stem, mask in decoded.masks.items()
        if not mask.error
        and (picture := decoded.pictures.get(stem))
        and not picture.error
        and not picture.fits(mask.size)
    ]
    return about_names(
        "damaged",
        "one mask has another size than its image",
        "{n} masks have another size than their images",
        other,
    )


def _values(split: _Split, decoded: _Decoded, official: bool) -> list[Finding]:
    whole = {stem: mask for stem, mask in decoded.masks.items() if not mask.error}
    colored = [split.masks[stem][0] for stem, mask in whole.items() if mask.values is None]
    findings = about_names(
        "damaged",
        "one mask is not one channel of class numbers",
        "{n} masks are not one channel of class numbers",
        colored,
    )
    values = {stem: mask.values for stem, mask in whole.items() if mask.values is not None}
    if official:
        beyond = [
            split.masks[stem][0]
            for stem, found in values.items()
            if not all(value in _OFFICIAL_VALUES for value in found)
        ]
        return findings + about_names(
            "damaged",
            "one mask has values beyond ADE20K's 0 to 150",
            "{n} masks have values beyond ADE20K's 0 to 150",
            beyond,
        )
    used = frozenset().union(*values.values())
    return findings + _range(sorted(used))


def _range(used: Sequence[int]) -> list[Finding]:
    classes = [value for value in used if value != _IGNORED]
    if not classes:
        return []
    ignored = f", and {_IGNORED}" if _IGNORED in used else ""
    text = f"mask values {classes[0]} to {classes[-1]}{ignored}: not ADE20K's 150 classes"
    return [Finding("note", text)]


def _archive(wanted: bool) -> str:
    return ARCHIVES["ade20k"][0].name if wanted else ""
