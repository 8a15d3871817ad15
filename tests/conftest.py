"""Made-up data and tiny configs, shared by the tests."""

from __future__ import annotations

import gc
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mmengine.config import config
from mmengine.dataset import base_dataset
from mmengine.runner import runner
from sample_models import save_models
from sample_names import forget_names
from yapf.yapflib import yapf_api

from mmconvnext.data.shapes import ShapesSpec, make_ade_shapes, make_coco_shapes

MAKERS = {"detection": make_coco_shapes, "segmentation": make_ade_shapes}
CONFIGS = Path(__file__).parent / "cli" / "configs"


def pytest_collection_finish() -> None:
    """What the test files import stays: it need not be in each collection of garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def runs_are_short() -> Iterator[None]:
    """Without what takes most of a short run in this process: laying out the text of its config
    (read it must be, all the same), and collecting old garbage for each data set. The young is:
    a run's broken loaders, if the collector came upon them while Python 3.11 reads the next config,
    would print a traceback, for which Python reads code within reading code, and gets lost."""
    # mmengine has it from its own module; onedl-mmengine imports it each time.
    place = config if hasattr(config, "FormatCode") else yapf_api

    def only_read(text: str, style_config: Any) -> tuple[str, bool]:
        compile(text, "config", "exec")
        return text, False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, "FormatCode", only_read)
        patch.setattr(base_dataset, "gc", SimpleNamespace(collect=lambda: gc.collect(1)))
        yield


@pytest.fixture(scope="session", autouse=True)
def runs_are_seconds_apart() -> Iterator[None]:
    """A run is named after the second in which it starts: a second one in it would be taken for the
    first, and go on with its history."""
    last = 0.0

    def later() -> float:
        nonlocal last
        last = max(time.time(), last + 1)
        return last

    clock = SimpleNamespace(time=later, strftime=time.strftime, localtime=time.localtime)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "time", clock)
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
    gc.collect(1)


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
