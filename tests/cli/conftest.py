"""What several commands' tests start from."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Protocol

import pytest

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
