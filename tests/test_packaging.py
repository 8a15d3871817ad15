"""What the wheels carry: built here with the environment's own setuptools, nothing downloaded."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", "work_dirs", "__pycache__", "*.egg-info", "tests"
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout: building writes beside the sources."""
    if not (ROOT / "setup.py").exists():
        pytest.skip("the tests run against an installed package, without its sources")
    copy = tmp_path_factory.mktemp("source") / "mmconvnext"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    return copy


def build(source: Path, hook: str) -> zipfile.ZipFile:
    out = source / hook
    out.mkdir()
    code = f"import setuptools.build_meta as b; print(b.{hook}({str(out)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = out.glob("*.whl")
    return zipfile.ZipFile(wheel)


def recorded(wheel: zipfile.ZipFile) -> set[str]:
    (record,) = [name for name in wheel.namelist() if name.endswith(".dist-info/RECORD")]
    return {row[0] for row in csv.reader(wheel.read(record).decode().splitlines())}


def test_wheel_carries_configs_tools_and_the_finder(source: Path) -> None:
    wheel = build(source, "build_wheel")
    names = set(wheel.namelist())
    carried = [ROOT / "configs" / "recipes.csv"]
    for folder in ("configs", "tools"):
        carried += (ROOT / folder).rglob("*.py")
    for file in carried:
        assert f"mmconvnext/.mim/{file.relative_to(ROOT).as_posix()}" in names
    for file in (ROOT / "mmconvnext").rglob("*.[cj]s*"):  # the pages' style and scripts
        assert file.relative_to(ROOT).as_posix() in names
    assert {"mmconvnext.pth", "_mmconvnext_ops_finder.py"} <= names
    assert wheel.read("mmconvnext.pth").strip() == b"import _mmconvnext_ops_finder"
    assert recorded(wheel) == names
    assert not [name for name in names if name.startswith(("tests/", "configs/", "tools/"))]


def test_editable_wheel_carries_the_finder_too(source: Path) -> None:
    wheel = build(source, "build_editable")
    assert wheel.read("mmconvnext.pth").strip() == b"import _mmconvnext_ops_finder"
    assert recorded(wheel) == set(wheel.namelist())


def test_installing_changes_no_package_of_a_working_environment(source: Path) -> None:
    wheel = build(source, "build_wheel") if not (source / "build_wheel").exists() else None
    wheel = wheel or zipfile.ZipFile(next((source / "build_wheel").glob("*.whl")))
    (metadata,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    needed = [
        line
        for line in wheel.read(metadata).decode().splitlines()
        if line.startswith("Requires-Dist:") and "extra ==" not in line
    ]
    assert needed == []
