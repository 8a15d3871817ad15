"""Which checkpoint of a work directory is taken, and what is said of those that are not."""

from __future__ import annotations

import os

import pytest
import torch

from mmconvnext.checkpoints.newest import newest_whole
from mmconvnext.checkpoints.whole_files import finish, point_to, sidecar, unfinished


@pytest.fixture
def save(tmp_path):
    """Saves checkpoints of the given names, each a second after the one before."""

    def save(*files: str, folder=tmp_path) -> None:
        folder.mkdir(exist_ok=True)
        for name in files:
            torch.save({"name": name}, unfinished(folder / name))
            finish(folder / name)
            written = len(list(folder.glob("*.pth")))
            os.utime(folder / name, (written, written))

    return save


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def test_nothing_is_found_where_nothing_is(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        assert newest_whole(folder).path is None and not newest_whole(folder).passed_over


def test_the_newest_is_what_last_checkpoint_names(tmp_path, save):
    save("epoch_1.pth", "epoch_2.pth", "epoch_3.pth")  # the third: of an earlier run
    point_to(tmp_path, str(tmp_path / "epoch_2.pth"))
    found = newest_whole(tmp_path)
    assert found.path == str(tmp_path / "epoch_2.pth") and not found.passed_over


def test_damaged_ones_are_passed_over_with_a_line_each(tmp_path, save):
    save("iter_8.pth", "iter_9.pth", "iter_10.pth", "iter_11.pth")
    point_to(tmp_path, str(tmp_path / "iter_11.pth"))
    cut(tmp_path / "iter_11.pth")
    (tmp_path / "iter_10.pth").write_bytes(b"")
    sidecar(tmp_path / "iter_9.pth").unlink()
    found = newest_whole(tmp_path)
    assert found.path == str(tmp_path / "iter_9.pth")
    # The empty one, written now, is the newest but for what last_checkpoint names.
    first, second = found.passed_over
    assert first.startswith(f"checkpoint {tmp_path / 'iter_11.pth'}: damaged or cut off: expected")
    assert second == f"checkpoint {tmp_path / 'iter_10.pth'}: empty; taking iter_9.pth instead"


def test_where_none_is_whole_that_is_said(tmp_path, save):
    save("iter_1.pth")
    cut(tmp_path / "iter_1.pth")
    found = newest_whole(tmp_path)
    assert found.path is None
    assert [line.endswith("; there is no other") for line in found.passed_over] == [True]


@pytest.mark.parametrize("pointer", ["", "\0\0\0", None])
def test_without_last_checkpoint_the_time_of_writing_decides(tmp_path, save, pointer):
    save("epoch_10.pth", "epoch_1.pth", "iter_5.pth", "epoch_2.pth", "best_epoch_3.pth")
    if pointer is not None:
        (tmp_path / "last_checkpoint").write_text(pointer)
    assert newest_whole(tmp_path).path == str(tmp_path / "epoch_2.pth")


def test_of_the_same_moment_the_later_iteration_is_taken(tmp_path, save):
    save("iter_9.pth", "iter_10.pth")
    for file in tmp_path.glob("*.pth"):
        os.utime(file, (1, 1))
    assert newest_whole(tmp_path).path == str(tmp_path / "iter_10.pth")


def test_names_of_ones_own_and_a_folder_elsewhere(tmp_path, save):
    work, out = tmp_path / "work", tmp_path / "out"
    save("run_v2_at_5_steps.pth", "run_v2_at_6_steps.pth", "run_v3_at_7_steps.pth", folder=out)
    save(folder=work)
    point_to(work, str(out / "run_v2_at_6_steps.pth"))
    assert newest_whole(work).path == str(out / "run_v2_at_6_steps.pth")
    cut(out / "run_v2_at_6_steps.pth")
    assert newest_whole(work).path == str((out / "run_v2_at_5_steps.pth").resolve())


def test_a_copied_folder_is_resumed_from_its_own_files(tmp_path, save):
    for name in ("run", "copy"):
        save("iter_1.pth", folder=tmp_path / name)
        point_to(tmp_path / name, str(tmp_path / "run" / "iter_1.pth"))
    assert newest_whole(tmp_path / "copy").path == str(tmp_path / "copy" / "iter_1.pth")


def test_a_missing_one_is_passed_over(tmp_path, save):
    save("iter_1.pth")
    point_to(tmp_path, "/gone/iter_2.pth")
    found = newest_whole(tmp_path)
    assert found.path == str(tmp_path / "iter_1.pth")
    assert found.passed_over == [
        "checkpoint not found: /gone/iter_2.pth; taking iter_1.pth instead"
    ]


def test_another_storages_is_taken_unseen(tmp_path):
    point_to(tmp_path, "s3://bucket/run/iter_2.pth")
    assert newest_whole(tmp_path).path == "s3://bucket/run/iter_2.pth"
