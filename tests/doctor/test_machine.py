"""Each rule about the machine, with made-up ones: once fine, once for each thing that is wrong."""

from __future__ import annotations

import pytest

from mmconvnext.doctor import machine

H100 = [("NVIDIA H100", (9, 0), 79.6)]


@pytest.mark.parametrize(
    ("arguments", "more", "state", "mend"),
    [
        ((None, None, []), {}, "green", ""),
        (("13.0", None, []), {}, "green", ""),
        (("13.0", "580.1", H100), {"built_for": ["sm_80", "sm_90"]}, "green", ""),
        (("13.0", "580.1", H100), {"built_for": ["sm_80", "sm_100"]}, "red", "--force-reinstall"),
        (("13.0", "580.1", H100), {"problem": "out of memory"}, "red", "nvidia-smi"),
        ((None, "580.1", []), {}, "yellow", "--index-url https://download.pytorch.org/whl/cu"),
        (("13.0", "470.1", []), {"problem": "driver too old"}, "red", "--force-reinstall"),
        (("13.0", "580.1", []), {"hidden": True}, "yellow", "unset CUDA_VISIBLE_DEVICES"),
    ],
)
def test_gpu(arguments, more, state, mend) -> None:
    finding = machine.judge_gpu(*arguments, **more)
    assert finding.state == state
    assert mend in finding.mend and bool(mend) == bool(finding.mend)


@pytest.mark.parametrize(
    ("capability", "built_for", "state"),
    [
        ((8, 6), ["sm_80"], "green"),  # the same major version, an earlier minor one
        ((8, 0), ["sm_86"], "red"),
        ((12, 0), ["sm_90", "compute_90"], "green"),  # compiled when it is loaded
        ((12, 0), ["sm_90"], "red"),
        ((9, 0), ["sm_90a"], "green"),
        ((11, 0), ["gfx90a"], "green"),  # ROCm
    ],
)
def test_code_for_a_device(capability, built_for, state) -> None:
    finding = machine.judge_gpu("12", "580", [("card", capability, 8)], built_for=built_for)
    assert finding.state == state


def test_compiler() -> None:
    assert machine.judge_compiler("g++", headers=True).state == "green"
    assert machine.judge_compiler(None, headers=True).mend == "apt-get install g++"
    assert machine.judge_compiler("g++", headers=False).mend == "apt-get install python3-dev"


def test_processors() -> None:
    assert machine.judge_processors(2, 24, 0).state == "green"
    assert machine.judge_processors(16, 128, 4).state == "green"
    few = machine.judge_processors(8, 128, 4)
    assert few.state == "yellow" and few.mend.endswith("train_dataloader.num_workers=2")
    small = machine.judge_processors(2, 4, 0)
    assert small.state == "yellow" and small.mend.endswith("train_dataloader.batch_size=1")


def test_shared_memory() -> None:
    assert machine.judge_shared_memory(None).state == "green"
    assert machine.judge_shared_memory(8).state == "green"
    docker = machine.judge_shared_memory(64 / 1024)
    assert docker.state == "yellow" and "64 MB free" in docker.found
    assert "--shm-size=8g" in docker.mend


def test_disk() -> None:
    fine = {"work folder": 50.0, "weights": 50.0, "temporary files": 50.0}
    assert machine.judge_disk(fine).state == "green"
    full = machine.judge_disk({**fine, "weights": 0.4})
    assert (full.state, full.mend) == ("yellow", "export TORCH_HOME=DIR")
    closed = machine.judge_disk({**fine, "work folder": None})
    assert (closed.state, closed.mend) == ("red", "mmconvnext train … --work-dir DIR")
    assert "work folder not writable" in closed.found


def test_room_of_folders(tmp_path, monkeypatch) -> None:
    room = machine._room(tmp_path / "not" / "yet")
    assert room is not None and room > 0

    def refuse(dir: object) -> None:
        raise PermissionError(dir)

    monkeypatch.setattr(machine.tempfile, "TemporaryFile", refuse)
    assert machine._room(tmp_path) is None


@pytest.mark.parametrize("encoding", ["UTF-8", "utf8"])
def test_text(encoding) -> None:
    assert machine.judge_text(encoding).state == "green"
    assert machine.judge_text("ANSI_X3.4-1968").mend == "export PYTHONUTF8=1"
