"""A data set's pipeline that names the picture it stumbles over, and can do without it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmconvnext.data.checks import DataError

_IN_A_ROW = 20  # pictures: more is no longer a bad picture here and there
_NOT_THE_DATA = (MemoryError, ImportError)
_IGNORED = 255

Results = dict[str, Any]


class Guarded:
    """Calls a pipeline; its errors name the picture.

    Args:
        pipeline: mmengine's or mmcv's ``Compose``.
        record: a file to add a line to for each picture that is left out, by any process; None:
            none is left out, but the error is raised.
        classes: of a segmentation data set, how many classes a label may be of.
    """

    def __init__(
        self,
        pipeline: Callable[[Results], Results | None],
        record: Path | None = None,
        classes: int | None = None,
    ) -> None:
        self.pipeline, self.record, self.classes = pipeline, record, classes
        self._in_a_row = 0

    @property
    def transforms(self) -> Any:
        """The pipeline's steps."""
        return self.pipeline.transforms  # type: ignore[attr-defined]

    def __call__(self, results: Results) -> Results | None:
        """What the pipeline makes of a picture; None, for which data sets take another picture, if
        it is left out.

        Raises:
            DataError: the file, its id and what is wrong, on one line; always so if 20 pictures
            in a row would have to be left out.
        """
        cause: Exception | None = None
        source = {key: results.get(key) for key in ("img_path", "img_id", "seg_map_path")}
        try:
            packed = self.pipeline(results)
            reason = _label_problem(packed, self.classes)
        except _NOT_THE_DATA:
            raise
        except Exception as error:
            packed, cause = None, error
            reason = " ".join(f"{type(error).__name__}: {error}".split())
        if not reason:
            self._in_a_row = 0
            return packed
        self._leave_out(source, reason, cause)
        return None

    def _leave_out(self, source: Mapping[str, Any], reason: str, cause: Exception | None) -> None:
        line = describe(source, reason)
        if self.record is None:
            raise DataError(
                f"{line}; correct or remove it and --resume, or leave such out with "
                "--on-bad-data skip"
            ) from cause
        self._in_a_row += 1
        if self._in_a_row >= _IN_A_ROW:
            raise DataError(f"{_IN_A_ROW} pictures in a row cannot be used, at last {line}")
        entry = {"picture": str(source["img_path"]), "line": line}
        with self.record.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")  # one write: lines of several processes stay whole


def describe(source: Mapping[str, Any], reason: str) -> str:
    """``file (image id 3, mask m.png): reason``."""
    about = []
    if source.get("img_id") is not None:
        about.append(f"image id {source['img_id']}")
    if source.get("seg_map_path"):
        about.append(f"mask {source['seg_map_path']}")
    more = f" ({', '.join(about)})" if about else ""
    return f"{source['img_path']}{more}: {reason}"


def _label_problem(packed: Results | None, classes: int | None) -> str:
    """What is wrong with the labels of a packed sample of semantic segmentation."""
    sample = packed.get("data_samples") if classes and packed else None
    labels = getattr(sample, "gt_sem_seg", None)
    if labels is None or not labels.data.numel():
        return ""
    highest = int(labels.data.masked_fill(labels.data == _IGNORED, 0).max())
    if highest < (classes or 0):
        return ""
    return f"its mask labels class {highest} (counted from 0), the data set has {classes} classes"


def guard(dataset: Any, record: Path | None) -> None:
    """Guard the pipelines of the data sets inside ``dataset``, however many wrappers deep."""
    if hasattr(dataset, "datasets") or hasattr(dataset, "dataset"):
        for part in getattr(dataset, "datasets", None) or [dataset.dataset]:
            guard(part, record)
        return
    pipeline = getattr(dataset, "pipeline", None)
    if callable(pipeline) and not isinstance(pipeline, Guarded):
        labelled = hasattr(dataset, "reduce_zero_label")  # mmseg's
        classes = (getattr(dataset, "metainfo", None) or {}).get("classes")
        dataset.pipeline = Guarded(pipeline, record, len(classes) if labelled and classes else None)
