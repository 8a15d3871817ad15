"""What several commands' tests start from."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import pytest
from sample_many import Undisturbed

from mmconvnext.cli.main import main


class TrainedOnce(Protocol):
    def __call__(self, task: str) -> Path: ...


@pytest.fixture(scope="session")
def trained_once(shapes: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> TrainedOnce:
    """The checkpoint of one iteration of a task's tiny config, shared: not to be changed."""

    @cache
    def checkpoint(task: str) -> Path:
        work = tmp_path_factory.mktemp("trained") / "work"
        config = Path(__file__).parent / "configs" / f"tiny_{task}.py"
        where = ["--data-root", str(shapes[task]), "--work-dir", str(work)]
        assert main(["train", str(config), "--max-iters", "1", *where]) == 0
        return work / "iter_1.pth"

    return checkpoint


@pytest.fixture
def photos(tmp_path) -> Path:
    """Small pictures in two folders, three names twice."""
    folder = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for name in ("a/1.jpg", "a/2.png", "a/2.jpg", "b/1.jpg", "b/c/1.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    (folder / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture(scope="session")
def undisturbed(models, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """What predict-many makes of 240 pictures, one of them broken, if nobody disturbs it."""
    return Undisturbed(models, tmp_path_factory.mktemp("undisturbed"))
