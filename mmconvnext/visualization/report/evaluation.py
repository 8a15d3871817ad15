"""What an evaluation left for the report: figures of classes, confusion, best and worst pictures.

It is kept as JSON beside the run, so that a later report shows it without evaluating again.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

FILE = "report_evaluation.json"
BACKGROUND = "background"


@dataclasses.dataclass(frozen=True)
class Shown:
    """A picture of the data set: its path, score (0 to 1), and truth and prediction painted on it
    as data URIs."""

    path: str
    score: float
    truth: str
    prediction: str


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A checkpoint's results on the test data.

    Args:
        checkpoint: the file's name.
        made: when, as text.
        pictures: how many were looked at.
        metrics: the evaluator's figures, by name.
        classes: names, by label.
        class_columns: names of the figures in ``class_rows``.
        class_rows: a row for each class; None where a figure has no value.
        labels: names of the confusion's rows and columns.
        confusion: how often a row's class was taken for a column's.
        unit: what the confusion counts, ``'objects'`` or ``'pixels'``.
        score: what the pictures' score is.
        rule: how the confusion was counted.
        best: the best picture first.
        worst: the worst picture first.
    """

    checkpoint: str
    made: str
    pictures: int
    metrics: dict[str, float]
    classes: list[str]
    class_columns: list[str]
    class_rows: list[list[float | None]]
    labels: list[str]
    confusion: list[list[int]]
    unit: str
    score: str
    rule: str
    best: list[Shown]
    worst: list[Shown]

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"))


def load_evaluation(folder: Path) -> Evaluation | None:
    """The evaluation kept in a work directory, None where there is none.

    Raises:
        ValueError: the file is not what :meth:`Evaluation.to_json` writes.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for kind in ("best", "worst"):
            content[kind] = [Shown(**shown) for shown in content[kind]]
        found = Evaluation(**content)
        sides = {len(found.confusion), *map(len, found.confusion)}
        if len(found.class_rows) != len(found.classes) or sides - {len(found.labels)}:
            raise ValueError("sizes of classes and confusion disagree")
        return found
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path}: expected an evaluation as `mmconvnext report --evaluate` keeps it, found "
            f"another content ({error}); delete the file or evaluate again"
        ) from error
