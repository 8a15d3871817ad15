"""The set-up's failures, each one clear line: tried with stand-ins for what it calls."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "requirements" / "make_env.sh"

pytestmark = pytest.mark.skipif(
    not SCRIPT.exists(), reason="the tests run without the checkout's set-up script"
)


def stand_in(folder: Path, name: str, body: str) -> Path:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    return file


def set_up(folder: Path, python: Path | str, *files: str) -> tuple[int, str]:
    env = dict(os.environ, PATH=f"{folder}:{os.environ['PATH']}")
    done = subprocess.run(
        [str(SCRIPT), str(python), ".env", *files],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr


def test_a_missing_interpreter_is_named(tmp_path: Path) -> None:
    status, error = set_up(tmp_path, "/no/such/python")
    assert status == 2
    assert error.startswith("set-up: no interpreter '/no/such/python'")
    assert error.count("\n") == 1


def test_a_too_old_interpreter_is_refused_with_its_version(tmp_path: Path) -> None:
    # Answers the question for the version, and fails the comparison as a 3.8 would.
    python = stand_in(tmp_path, "python3.8", 'case "$2" in *print*) echo 3.8;; *) exit 1;; esac')
    status, error = set_up(tmp_path, python)
    assert status == 2
    assert "is Python 3.8, 3.10 or newer is needed" in error
    assert error.count("\n") == 1
    assert not (tmp_path / ".env").exists()


def test_a_missing_venv_module_says_what_to_install(tmp_path: Path) -> None:
    python = stand_in(
        tmp_path,
        "python",
        f'case "$2" in *ensurepip*) exit 1;; *) exec {sys.executable} "$@";; esac',
    )
    status, error = set_up(tmp_path, python)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert status == 2
    assert f"has no venv module; on Debian and Ubuntu: apt install python{version}-venv" in error


def test_a_full_disk_is_seen_before_anything_is_installed(tmp_path: Path) -> None:
    stand_in(tmp_path, "df", "echo header; echo /dev/sda 100 98 2097152 98% /")
    status, error = set_up(tmp_path, sys.executable)
    assert status == 2
    assert error.startswith("set-up: 2 GB free here, about 9 GB are needed")
    assert not (tmp_path / ".env").exists()


def test_a_disk_that_fills_up_while_installing_is_named(tmp_path: Path) -> None:
    stand_in(tmp_path, "df", "echo header; echo /dev/sda 100 98 99999999 98% /")
    binaries = tmp_path / ".env" / "bin"
    binaries.mkdir(parents=True)
    stand_in(binaries, "pip", "exit 0")
    stand_in(binaries, "python", "echo 'OSError: [Errno 28] No space left on device'; exit 1")
    status, error = set_up(tmp_path, sys.executable)
    assert status == 2
    assert error.startswith("set-up: the disk is full")
    assert error.count("\n") == 1


def test_the_named_files_are_installed_into_the_named_folder(tmp_path: Path) -> None:
    binaries = tmp_path / ".env" / "bin"
    binaries.mkdir(parents=True)
    stand_in(binaries, "pip", "exit 0")
    stand_in(binaries, "python", 'echo "$@" >>calls')
    assert set_up(tmp_path, sys.executable, "some.txt", "more.txt") == (0, "")
    first, second = (tmp_path / "calls").read_text().splitlines()
    assert first.endswith("--only-binary :all: -r requirements/some.txt -r requirements/more.txt")
    assert second.endswith("--editable .")
    assert (tmp_path / ".env" / "install.log").exists() and not (tmp_path / ".venv").exists()
