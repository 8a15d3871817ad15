"""Which numbers results have for a model's classes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmconvnext.adapt.walking import innermost
from mmconvnext.data.coco_file import COCO_CLASSES, COCO_IDS


@dataclasses.dataclass(frozen=True)
class CategoryIds:
    """Category ids by label, and where they are from, in words."""

    ids: tuple[int, ...]
    source: str


def category_ids(
    classes: tuple[str, ...], given: Mapping[str, int], cfg: Config | None
) -> CategoryIds:
    """The ids of ``classes``.

    Args:
        classes: names by label.
        given: name → id in the COCO file that is predicted, if there is one.
        cfg: of which the annotation file of the test is looked into, if it is there.

    Returns:
        The ids of the first of these that has all the names: ``given``, the config's file, COCO's
        80 categories; else label + 1.
    """
    for source, ids in _known(classes, given, cfg):
        if all(name in ids for name in classes):
            return CategoryIds(tuple(ids[name] for name in classes), source)
    return CategoryIds(tuple(range(1, len(classes) + 1)), "label + 1: no file names the classes")


def _known(
    classes: tuple[str, ...], given: Mapping[str, int], cfg: Config | None
) -> Iterator[tuple[str, Mapping[str, int]]]:
    yield "as in the COCO file that was predicted", given
    loader: Any = (cfg.get("test_dataloader") if cfg is not None else None) or {}
    for dataset in innermost(loader.get("dataset") or {"datasets": ()}):
        file = Path(dataset.get("data_root") or "") / (dataset.get("ann_file") or "")
        if file.suffix.lower() == ".json" and file.is_file():
            yield f"as in {file}", _categories(file)
    if classes == COCO_CLASSES:
        yield "COCO's own", dict(zip(COCO_CLASSES, COCO_IDS, strict=True))


def _categories(file: Path) -> dict[str, int]:
    try:
        listed = json.loads(file.read_bytes())["categories"]
        return {str(category["name"]): int(category["id"]) for category in listed}
    except (ValueError, KeyError, TypeError):  # no COCO file: the ids are not known from it
        return {}
