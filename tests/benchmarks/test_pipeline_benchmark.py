from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from mmconvnext.benchmarks import pipeline
from mmconvnext.data.checks import DataError
from mmconvnext.data.photos import make_coco_photos


def test_every_recipe_is_measured_beside_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_PICTURES", 4)
    threads = cv2.getNumThreads()
    tables = pipeline.measure(rounds=1)
    assert cv2.getNumThreads() == threads
    assert [table.target for table in tables] == [0.4, None, 0.4, None, 1 / 1.5, 1 / 1.5]
    for table in tables:
        assert len(table.rows) == 2 and all(len(row.values) == 1 for row in table.rows)
        assert table.peer is not None and table.peer.name in ("mmdet", "mmseg")


def test_a_host_that_is_not_there_gives_a_row_that_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, "_PICTURES", 1)
    monkeypatch.setattr(pipeline, "find_spec", lambda name: None)
    rows = [row for table in pipeline.measure(rounds=1) for row in table.rows]
    assert {row.note for row in rows} == {"mmdet is not installed", "mmseg is not installed"}
    assert not any(row.values for row in rows)


def test_host_steps_are_the_hosts_own_at_every_depth() -> None:
    ours = [dict(type=pipeline.FAST + "detection.RandomFlip", prob=0.5)]
    nested = [dict(type="RandomChoice", transforms=[ours, ours])]
    assert pipeline.host_steps(nested) == [
        dict(type="RandomChoice", transforms=[[dict(type="RandomFlip", prob=0.5)]] * 2)
    ]


def test_a_users_pictures_take_the_place_of_the_made_up_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_PICTURES", 1)
    monkeypatch.setattr(pipeline, "_MOST", 1)
    (tmp_path / "mine").mkdir()
    make_coco_photos(tmp_path / "mine", 2)
    read: list[str] = []
    load = pipeline.dataset
    monkeypatch.setattr(
        pipeline, "dataset", lambda c, folder, *a: read.append(folder.name) or load(c, folder, *a)
    )
    tables = pipeline.measure(rounds=1, data=tmp_path / "mine")
    assert set(read[:8]) == {"mine"} and set(read[8:]) == {"mmseg"}
    assert ["mine pictures" in table.title for table in tables] == [True] * 4 + [False] * 2


def test_a_folder_of_neither_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"COCO's layout.*found neither"):
        pipeline.measure(rounds=1, data=tmp_path)
