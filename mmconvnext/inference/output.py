"""The folder of results: what is in it, and what completes it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from PIL import Image

from mmconvnext.checkpoints.writing import write_whole
from mmconvnext.data.videos import VideoReader
from mmconvnext.inference.category_ids import CategoryIds
from mmconvnext.inference.journal import Journal
from mmconvnext.inference.predictor import Predictor
from mmconvnext.inference.results import map_values, write_detections, write_images
from mmconvnext.inference.run import MAPS, PICTURES
from mmconvnext.visualization.contact_sheet import contact_sheet

JOURNAL = "results.jsonl"
IMAGES, DETECTIONS = "images.json", "detections.json"
SHEET, SKIPPED = "contact_sheet.jpg", "skipped.txt"
_ON_A_SHEET = 60


def clear(folder: Path) -> None:
    """Remove an earlier run's results from ``folder``; the journal last, which tells that they are
    ours."""
    for name in (PICTURES, MAPS):
        if (folder / name).exists():
            shutil.rmtree(folder / name)
    for name in (IMAGES, DETECTIONS, SHEET, SKIPPED, JOURNAL):
        (folder / name).unlink(missing_ok=True)


def finish(
    folder: Path,
    journal: Journal,
    predictor: Predictor,
    ids: CategoryIds,
    skipped: Mapping[str, str],
) -> int:
    """Write the lists that need all pictures; returns how many pictures and frames there are.

    Raises:
        OSError: one cannot be written.
    """
    legend, detects = predictor.legend, predictor.task == "detection"
    numbers = list(ids.ids)
    told = {"classes": f"as {legend.source} names them"}
    if detects:
        told["category_ids"] = ids.source
        write_detections(folder / DETECTIONS, journal.entries())
    else:
        numbers = map_values(len(legend.classes), legend.zero_is_ignored)
        start = "label + 1, 0 is no class" if legend.zero_is_ignored else "the label"
        told["maps"] = f"a pixel's value is {start}: a category's id"
    categories = [
        {"id": number, "name": name} for number, name in zip(numbers, legend.classes, strict=True)
    ]
    write_images(folder / IMAGES, journal.entries(), categories, told)
    _write_skipped(folder / SKIPPED, skipped)
    count = sum(1 for _ in journal.entries())
    _write_sheet(folder, journal, count)
    return count


def _write_skipped(path: Path, skipped: Mapping[str, str]) -> None:
    if not skipped:
        path.unlink(missing_ok=True)
        return
    text = "".join(f"{name}: {reason}\n" for name, reason in skipped.items())

    def write(file: Path) -> None:
        file.write_text(text, encoding="utf-8", errors="backslashreplace")

    write_whole(path, write)


def _write_sheet(folder: Path, journal: Journal, count: int) -> None:
    """The contact sheet: so many at most, spread evenly over all."""
    step = max(1, -(-count // _ON_A_SHEET))
    chosen = (entry for number, entry in enumerate(journal.entries()) if number % step == 0)
    painted = _thumbnails(folder, chosen)
    first = next(painted, None)
    if first is not None:
        sheet = contact_sheet(chain([first], painted))
        write_whole(folder / SHEET, lambda file: sheet.save(file, format="JPEG", quality=90))


def _thumbnails(
    folder: Path, entries: Iterator[dict[str, Any]]
) -> Iterator[tuple[str, Image.Image]]:
    for entry in entries:
        path = folder / entry.get("picture", "")
        if "picture" not in entry or not path.is_file():
            continue
        if "frame" in entry:
            pixels = VideoReader(path).frame(entry["frame"])
            if pixels is None:
                continue
            image = Image.fromarray(pixels[..., ::-1])
        else:
            image = Image.open(path)
        with image:
            yield entry["name"], image
