"""How long one waits: for importing the package, and for training to begin. Processes of their own.

The limits are the issue's: half a second for the import, eight for the demo's first iteration.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from mmconvnext.benchmarks.timing import ROUNDS, Row, Table
from mmconvnext.compat.config_root import config_root
from mmconvnext.data import shapes

IMPORT_LIMIT, TRAINING_LIMIT = 0.5, 8.0  # seconds
OURS = "mmconvnext"
# What a config imports to have a ConvNeXt, and what else has one.
_MODULES = (OURS, "mmpretrain.models", "timm")
_DEMOS: Mapping[str, tuple[str, Callable[[Path, shapes.ShapesSpec], object]]] = {
    "detection": ("cascade_convnext_shapes.py", shapes.make_coco_shapes),
    "segmentation": ("upernet_convnext_shapes.py", shapes.make_ade_shapes),
}
_PICTURES = shapes.ShapesSpec(size=96)  # as the demo's


def measure(rounds: int = ROUNDS) -> list[Table]:
    """Importing, and the demo's training until its first iteration is done."""
    return [importing(rounds), training(rounds)]


def importing(rounds: int = ROUNDS) -> Table:
    """What importing adds to a process that has imported torch and mmengine."""
    rows = [Row(name, limit=IMPORT_LIMIT if name == OURS else None) for name in _MODULES]
    for row in rows:
        if find_spec(row.name.partition(".")[0]) is None:
            row.note = "is not installed"
    there = {row.name: (row, _import(row.name)) for row in rows if not row.note}
    _take_turns(list(there.values()), rounds + 1)
    for row, _ in there.values():
        row.values = row.values[1:]  # the first reads from the disk
    return Table("importing it after torch and mmengine", "s", rows, (OURS,))


def training(rounds: int = ROUNDS) -> Table:
    """From the start of ``tools/train.py`` to its first finished iteration, one after the other."""
    rows = []
    for name, (config, make) in _DEMOS.items():
        with tempfile.TemporaryDirectory() as scratch:
            make(Path(scratch, "data"), _PICTURES)
            row = Row(f"{name} demo", limit=TRAINING_LIMIT)
            _take_turns([(row, partial(_first_iteration, config, Path(scratch)))], rounds)
        rows.append(row)
    title = "tools/train.py on the demo's made-up pictures, from its start to its first iteration"
    return Table(title, "s", rows, tuple(row.name for row in rows))


def _take_turns(candidates: Sequence[tuple[Row, Callable[[], float]]], rounds: int) -> None:
    for _ in range(rounds):
        for row, seconds in candidates:
            row.values.append(seconds())


def _import(name: str) -> Callable[[], float]:
    code = (
        "import time, torch, mmengine; start = time.perf_counter(); "
        f"import {name}; print(time.perf_counter() - start)"
    )

    def run() -> float:
        command = [sys.executable, "-W", "ignore", "-c", code]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return float(done.stdout.split()[-1])

    return run


def _first_iteration(config: str, scratch: Path) -> float:
    """Seconds from the start of the command until it logs its first iteration; then it is ended.

    Raises:
        RuntimeError: it ended by itself before that.
    """
    configs = config_root()
    command = [sys.executable, "-W", "ignore", str(configs.parent / "tools" / "train.py")]
    command += [str(configs / "demo" / config), "--data-root", str(scratch / "data")]
    command += ["--work-dir", str(scratch / "work"), "--device", "cpu"]
    command += ["--cfg-options", "log_level=INFO", "default_hooks.logger.interval=1"]
    line, start = "", time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None  # it is a pipe
    try:
        for line in process.stdout:
            if "Iter(train)" in line:
                return time.perf_counter() - start
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its workers, too
        process.stdout.close()
        process.wait()
    raise RuntimeError(f"{' '.join(command[2:4])}: ended before an iteration: {line.strip()}")
