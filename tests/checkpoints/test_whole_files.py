"""Checkpoint files that are whole, and some that are not."""

from __future__ import annotations

import hashlib
import shutil
import subprocess

import pytest
import torch

from mmconvnext.checkpoints import whole_files
from mmconvnext.checkpoints.reading import CheckpointError
from mmconvnext.checkpoints.whole_files import finish, sidecar, unfinished, verify


@pytest.fixture
def whole(tmp_path):
    """A finished checkpoint."""
    path = tmp_path / "iter_1.pth"
    torch.save({"state_dict": {"weight": torch.arange(1000.0)}}, unfinished(path))
    finish(path)
    return path


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_a_finished_file_stands_alone_beside_its_checksum(whole):
    assert names(whole.parent) == ["iter_1.pth", "iter_1.pth.sha256"]
    digest = hashlib.sha256(whole.read_bytes()).hexdigest()
    assert sidecar(whole).read_text() == f"{digest} *iter_1.pth\n"
    verify(whole)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum here")
def test_sha256sum_reads_the_checksum(whole):
    check = ["sha256sum", "-c", sidecar(whole).name]
    assert subprocess.run(check, cwd=whole.parent, capture_output=True).returncode == 0
    flip(whole, 100)
    assert subprocess.run(check, cwd=whole.parent, capture_output=True).returncode == 1


def test_a_file_of_the_name_is_replaced_with_its_checksum(whole):
    before = sidecar(whole).read_text()
    torch.save({"state_dict": {"weight": torch.zeros(3)}}, unfinished(whole))
    finish(whole)
    assert sidecar(whole).read_text() != before
    verify(whole)
    assert torch.load(whole)["state_dict"]["weight"].tolist() == [0, 0, 0]


def test_a_folder_takes_the_place_of_the_one_before(tmp_path):
    path = tmp_path / "iter_1.pth"
    for content in ("old", "new"):
        unfinished(path).mkdir()
        (unfinished(path) / "rank0.pth").write_text(content)
        finish(path)
        assert (path / "rank0.pth").read_text() == content
    verify(path)
    assert names(tmp_path) == ["iter_1.pth"]


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("damage", ["cut", "flipped", "flipped in a weight", "empty", "gone"])
def test_damage_is_found_with_a_checksum_and_without(whole, damage, beside):
    if not beside:
        sidecar(whole).unlink()
        verify(whole)
    content = whole.read_bytes()
    if damage == "cut":
        whole.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        flip(whole, content.index(b"weight"))
    elif damage == "flipped in a weight":
        flip(whole, content.index(torch.arange(1000.0).numpy().tobytes()) + 2001)
    elif damage == "empty":
        whole.write_bytes(b"")
    else:
        whole.unlink()
    with pytest.raises(CheckpointError) as error:
        verify(whole)
    assert str(whole) in str(error.value) and "\n" not in str(error.value)
    said = {"empty": f"checkpoint {whole}: empty", "gone": f"checkpoint not found: {whole}"}
    assert said.get(damage, "damaged") in str(error.value)


def test_another_files_checksum_is_no_checksum(whole):
    sidecar(whole).write_text("rubbish\n")
    with pytest.raises(CheckpointError, match="expected SHA-256 rubbish"):
        verify(whole)


def test_what_cannot_be_read_is_said(whole, monkeypatch):
    def fail(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(whole_files, "_sha256", fail)
    with pytest.raises(CheckpointError, match="Input/output error"):
        verify(whole)


def test_discarding_takes_the_checksum_along(whole):
    whole_files.discard(whole)
    whole_files.discard(whole)
    assert names(whole.parent) == []


def test_a_pointer_that_cannot_be_written_stays_as_it_was(tmp_path, monkeypatch):
    whole_files.point_to(tmp_path, "iter_1.pth")

    def fail(file, text):
        file.write_text(text[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(whole_files, "_write_text", fail)
    with pytest.raises(OSError, match="No space left"):
        whole_files.point_to(tmp_path, "iter_2.pth")
    assert names(tmp_path) == ["last_checkpoint"]
    assert (tmp_path / "last_checkpoint").read_text() == "iter_1.pth"


def test_what_killed_runs_left_is_cleared_away_and_nothing_else(whole):
    folder = whole.parent
    for name in (
        ".iter_2.pth.unfinished",
        ".iter_2.pth.sha256.0123456789abcdef0123456789abcdef",
        ".last_checkpoint.0123456789abcdef0123456789abcdef",
        "iter_3.pth.sha256",
    ):
        (folder / name).write_text("half")
    (folder / ".folder.unfinished").mkdir()
    (folder / ".hidden").write_text("mine")
    (folder / ".model.pth.0123456789abcdef0123456789abcdef").write_text("another command's")
    whole_files.clear_left_over(folder)
    assert names(folder) == [
        ".hidden",
        ".model.pth.0123456789abcdef0123456789abcdef",
        "iter_1.pth",
        "iter_1.pth.sha256",
    ]
    whole_files.clear_left_over(folder / "absent")
