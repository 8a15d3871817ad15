"""Very many pictures on a small scale: sources of every kind, and what was made of them."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from mmconvnext.cli.main import main
from mmconvnext.inference.many import local

ROOT = Path(__file__).parents[1]


def jpeg(seed: int, **options: Any) -> bytes:
    """A picture of 64x48 pixels, its own for each ``seed``."""
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **options)
    return out.getvalue()


def write_pictures(folder: Path, count: int) -> dict[str, bytes]:
    """Write pictures into two folders below ``folder``; returns them by name, in order."""
    written = {}
    for number in range(count):
        name = f"{'ab'[2 * number // count]}/{number:04}.jpg"
        written[name] = jpeg(number)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(written[name])
    return written


def write_parquet(path: Path, columns: dict[str, Any], rows_in_group: int = 4) -> Path:
    parquet.write_table(pa.table(columns), path, row_group_size=rows_in_group)
    return path


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def many(models, task: str, source: Path | str, out: Path, *options: object) -> int:
    """Run predict-many in this process, as if it had one core: later tests share it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "cores", lambda: 1)
        return main(arguments(models, task, source, out, *options))


def arguments(models, task: str, source: Path | str, out: Path, *options: object) -> list[str]:
    given = list(options)
    for name, value in {"--shard-size": 4, "--workers": 1, "--score-threshold": 0}.items():
        if name not in given:
            given += [name, value]
    while None in given:  # the option before it is left out
        place = given.index(None)
        del given[place - 1 : place + 1]
    where = [*models[task], str(source), "--out", str(out), "--device", "cpu"]
    return ["predict-many", *where, *map(str, given)]


def start(arguments: Sequence[str], *launcher: str) -> subprocess.Popen[str]:
    """Start a command in a process of its own."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "cli")])
    paths += os.pathsep + os.environ.get("PYTHONPATH", "")
    module = ["-m", "mmconvnext"] if not launcher else []
    return subprocess.Popen(
        [*(launcher or (sys.executable,)), *module, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "PYTHONWARNINGS": "ignore"},
    )


def rows(out: Path, kind: str = "predictions") -> list[dict[str, Any]]:
    """All rows of the tables of a kind, in the order of the shards."""
    files = sorted((out / kind).glob("*.parquet"))
    return [row for file in files for row in parquet.read_table(file).to_pylist()]


def keys(out: Path, kind: str = "predictions") -> list[str]:
    return [row["key"] for row in rows(out, kind)]


def finished_shards(out: Path) -> int:
    return len(list((out / "predictions").glob("part-*.parquet")))


def writers(out: Path) -> list[int]:
    """The processes that are at a shard: they hold its unfinished file open."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        try:
            held = [str(file.readlink()) for file in (process / "fd").iterdir()]
        except OSError:  # it has ended, or is another user's
            continue
        if any(name.startswith(str(out / "predictions" / ".part-")) for name in held):
            found.append(int(process.name))
    return found


def kill_a_writer(out: Path, *, after: int = 1, seconds: float = 120) -> int:
    """Kill a process that is at a shard, once so many shards are finished; returns which."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if finished_shards(out) >= after and (found := writers(out)):
            os.kill(found[0], signal.SIGKILL)
            return found[0]
        time.sleep(0.01)
    raise AssertionError(f"no worker to kill; {finished_shards(out)} shards are finished")


class Undisturbed:
    """A run of predict-many in one process, to compare others with.

    Attributes:
        source: the folder of pictures: 24 shards of 10.
    """

    def __init__(self, models: Any, folder: Path) -> None:
        self.source = folder / "pictures"
        written = write_pictures(self.source, 239)
        (self.source / "b" / "broken.jpg").write_bytes(written["a/0000.jpg"][:700])
        assert many(models, "segmentation", self.source, folder / "out", "--shard-size", "10") == 1
        self._tables = [rows(folder / "out", kind) for kind in ("predictions", "errors")]
        assert list(map(len, self._tables)) == [239, 1]

    def check(self, out: Path) -> None:
        """Fail unless the tables in ``out`` are the same, and nothing unfinished is there."""
        for kind, expected in zip(("predictions", "errors"), self._tables, strict=True):
            found = rows(out, kind)
            assert [row["key"] for row in found] == [row["key"] for row in expected]
            assert [a["key"] for a, b in zip(found, expected, strict=True) if a != b] == []
        assert not list(out.rglob(".*"))
