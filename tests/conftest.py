"""Made-up data and tiny configs, shared by the tests."""

from __future__ import annotations

import gc
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import config
from sample_models import save_models
from sample_names import forget_names
from yapf.yapflib import yapf_api

from mmconvnext.data.shapes import ShapesSpec, make_ade_shapes, make_coco_shapes

MAKERS = {"detection": make_coco_shapes, "segmentation": make_ade_shapes}
CONFIGS = Path(__file__).parent / "cli" / "configs"


def pytest_collection_finish() -> None:
    """What the test files import stays: without it in each collection of garbage (mmengine's data
    sets ask for two a run) a run in this process takes a second less."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def configs_laid_out_once() -> Iterator[None]:
    """A run lays out the text of its config five times over, for a second: once is enough."""
    # mmengine has it from its own module; onedl-mmengine imports it each time.
    place = config if hasattr(config, "FormatCode") else yapf_api
    lay_out = yapf_api.FormatCode

    @cache
    def laid_out(text: str, style: tuple[tuple[str, Any], ...]) -> Any:
        return lay_out(text, style_config=dict(style))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            place,
            "FormatCode",
            lambda text, style_config: laid_out(text, tuple(style_config.items())),
        )
        yield


@pytest.fixture(scope="session", autouse=True)
def interrupts_come_through() -> Iterator[None]:
    """A shell's ``make test &`` ignores SIGINT, and whom the tests start would inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def names_of_its_own() -> Iterator[None]:
    """mmengine keeps scopes, loggers, visualizers and message hubs by name for the process: a run
    of the same name in an earlier test would lend this one its registries and its folder."""
    yield
    forget_names()


@pytest.fixture(params=list(MAKERS))
def task(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folder of each task's made-up data, shared: not to be changed by a test."""
    root = tmp_path_factory.mktemp("shapes")
    for name, make in MAKERS.items():
        make(root / name, ShapesSpec(train=4, val=4, size=64, max_shapes=2))
    return {name: root / name for name in MAKERS}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """Config and checkpoint of each task's model, shared: not to be changed by a test."""
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def own_data(shapes: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """A copy of the made-up data that a test may break."""
    return {n: Path(shutil.copytree(f, tmp_path / "own_data" / n)) for n, f in shapes.items()}


@pytest.fixture
def tiny_config(tmp_path: Path) -> Callable[..., Path]:
    """Writes a config: the tiny one of a task, with lines added."""

    def write(task: str, extra: str = "", name: str = "tiny.py") -> Path:
        path = tmp_path / name
        path.write_text(f"_base_ = {str(CONFIGS / f'tiny_{task}.py')!r}\n{extra}")
        return path

    return write
