"""Lists the files of a data set's folders."""

from __future__ import annotations

import os
from pathlib import Path

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def files_below(folder: str, suffixes: tuple[str, ...] = PICTURE_SUFFIXES) -> dict[str, int]:
    """Relative name → bytes of the files below ``folder`` that end in one of ``suffixes``.

    Hidden files and folders are left out; a folder that does not exist has no files.
    """
    sizes: dict[str, int] = {}
    waiting = [""]
    while waiting:
        within = waiting.pop()
        try:
            entries = list(os.scandir(f"{folder}/{within}"))
        except OSError:
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                waiting.append(f"{within}{entry.name}/")
            elif entry.name.lower().endswith(suffixes):
                sizes[f"{within}{entry.name}"] = _size(entry)
    return dict(sorted(sizes.items()))


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:  # a link to nothing
        return 0


def visible_names(folder: Path) -> list[str]:
    """Names of what lies in ``folder`` and is not hidden, sorted; none if it does not exist."""
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
