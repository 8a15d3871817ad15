from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from sample_archives import write_mask, write_picture

from mmconvnext.data.decoding import decode_files


def decode(*paths, **options) -> list:
    return decode_files([str(path) for path in paths], workers=2, **options)


def test_results_come_in_the_files_order_from_all_workers(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(100)]
    for number, path in enumerate(paths):
        write_picture(path, size=(1 + number, 5))
    told = []
    results = decode(*paths, progress=lambda *now: told.append(now))
    assert [result.size for result in results] == [(1 + number, 5) for number in range(100)]
    assert told[-1] == (100, 100) and len(told) == 4
    assert decode() == []


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_pictures_that_end_early_or_are_none_do_not_decode(suffix, tmp_path):
    whole, cut, text = (tmp_path / f"{name}.{suffix}" for name in ("whole", "cut", "text"))
    write_picture(whole)
    cut.write_bytes(whole.read_bytes()[:-200])
    text.write_text("404 not found")
    errors = [result.error for result in decode(whole, cut, text, tmp_path / "absent.jpg")]
    assert errors[0] == "" and all(errors[1:])
    assert "truncated" in errors[1]


def test_a_quarter_turn_asked_for_by_exif_fits_both_ways(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "turned.jpg", exif=exif)
    write_picture(tmp_path / "plain.jpg")
    turned, plain = decode(tmp_path / "turned.jpg", tmp_path / "plain.jpg")
    assert turned.fits((40, 30)) and turned.fits((30, 40)) and not turned.fits((40, 40))
    assert plain.fits((40, 30)) and not plain.fits((30, 40))


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.array([[0, 7], [255, 7]], dtype=np.uint8), {0, 7, 255}),
        (np.array([[0, 300], [1, 1]], dtype=np.uint16), {0, 1, 300}),
        (np.array([[False, True]]), {0, 1}),
        (np.zeros((2, 2, 3), dtype=np.uint8), None),
    ],
)
def test_masks_tell_their_values(values, found, tmp_path):
    write_mask(tmp_path / "mask.png", values)
    assert decode(tmp_path / "mask.png", masks=True)[0].values == found
    assert decode(tmp_path / "mask.png")[0].values is None


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="looks for processes in /proc")  # noqa: PTH112
def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    write_picture(tmp_path / "a.png")
    # The parent stays in its first progress call, so that the workers wait for more.
    code = (
        "import os, time; from mmconvnext.data.decoding import decode_files\n"
        f"decode_files([{str(tmp_path / 'a.png')!r}] * 100, workers=2, "
        "progress=lambda *now: (print(os.getpid(), flush=True), time.sleep(60)))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as parent:
        parent.stdout.readline()
        children = _children(parent.pid)
        assert len(children) == 2
        parent.kill()
    deadline = time.monotonic() + 20
    while any(map(_runs, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_runs, children))


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123
        return [int(child) for child in file.read().split()]


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
