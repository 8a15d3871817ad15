"""The Dockerfile, which nothing here can build: read by hadolint, and held to the checkout."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from mmconvnext.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "docker" / "Dockerfile"
PAGE = ROOT / "docs" / "docker.md"

pytestmark = pytest.mark.skipif(
    not FILE.exists(), reason="the tests run without the checkout's Dockerfile"
)


def hadolint(file: Path) -> tuple[int, str]:
    binary = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if binary is None:
        pytest.skip("hadolint is not installed; requirements/lint.txt has it")
    done = subprocess.run([binary, "--no-color", str(file)], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def instructions(name: str) -> list[str]:
    """What follows each ``name`` of the Dockerfile."""
    text = re.sub(r"^#.*\n", "", FILE.read_text(encoding="utf-8"), flags=re.M)
    return re.findall(rf"^{name} (.*)$", text.replace("\\\n", " "), flags=re.M)


def argument(name: str) -> str:
    """The value that a build argument has by default."""
    return dict(line.split("=", 1) for line in instructions("ARG"))[name]


def copied() -> list[tuple[str, str]]:
    """Each path that is copied in, and where to."""
    return [(path, to) for *paths, to in map(str.split, instructions("COPY")) for path in paths]


def is_ignored(path: PurePosixPath) -> bool:
    """Whether .dockerignore keeps the file from the build, by itself or with a folder of its."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for pattern in (line for line in lines if line and not line.startswith("#")):
        anywhere = pattern.removeprefix("**/")
        at = anywhere if anywhere != pattern else f"/{pattern}"
        if any((PurePosixPath("/") / part).match(at) for part in (path, *path.parents[:-1])):
            return True
    return False


def test_hadolint_finds_nothing() -> None:
    assert hadolint(FILE) == (0, "")


@pytest.mark.parametrize(
    ("line", "spoiled", "rule"),
    [
        ('CMD ["mmconvnext", "demo"]', "CMD mmconvnext demo", "DL3025"),
        ("# hadolint ignore=DL3008\n", "", "DL3008"),
        ("USER 10001\n", "USER root\n", "DL3002"),
        (" --no-install-recommends libgl1", " libgl1", "DL3015"),
    ],
)
def test_hadolint_refuses_a_spoiled_copy(
    tmp_path: Path, line: str, spoiled: str, rule: str
) -> None:
    text = FILE.read_text(encoding="utf-8")
    assert line in text
    copy = tmp_path / "Dockerfile"
    copy.write_text(text.replace(line, spoiled))
    status, said = hadolint(copy)
    assert status != 0
    assert rule in said


def test_make_lint_reads_it() -> None:
    assert "/hadolint docker/Dockerfile\n" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_what_is_copied_is_there_and_not_ignored() -> None:
    assert copied()
    for path, to in copied():
        assert to in ("./", path), "a folder's content goes where COPY says, not below it"
        files = [file for file in (ROOT / path).rglob("*") if "__pycache__" not in file.parts]
        for file in files or [ROOT / path]:
            assert file.exists()
            assert not is_ignored(PurePosixPath(file.relative_to(ROOT).as_posix())), file


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        (".git/HEAD", True),
        (".venv/bin/python", True),
        ("mmconvnext/data/__pycache__/x.pyc", True),
        ("mmconvnext/.mim/x.py", False),  # hidden, but not at the root
        ("work_dirs/demo/epoch_1.pth", True),
        ("mmconvnext.egg-info/PKG-INFO", True),
        ("mmconvnext/build/x.py", False),
    ],
)
def test_what_is_ignored(path: str, ignored: bool) -> None:
    assert is_ignored(PurePosixPath(path)) is ignored


def test_what_packaging_reads_is_copied() -> None:
    """Else the installation fails, or lacks something that only shows when it is used."""
    have = {path for path, _ in copied()}
    metadata = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (modules,) = re.findall(r"^py-modules = (\[.*\])$", metadata, flags=re.M)
    (readme,) = re.findall(r'^readme = "(.*)"$', metadata, flags=re.M)
    (licence,) = re.findall(r'^license-files = \["(.*)"\]$', metadata, flags=re.M)
    needed = {f"{name}.py" for name in json.loads(modules)}
    assert needed | {readme, licence, "pyproject.toml", "setup.py"} <= have
    assert {"mmconvnext.pth", "mmconvnext", "configs", "tools", "requirements"} <= have


def test_it_starts_a_command_of_ours() -> None:
    (line,) = instructions("CMD")
    program, command = json.loads(line)
    assert (program, command) == ("mmconvnext", "demo")
    assert command in COMMANDS


def test_its_packages_are_the_pinned_ones() -> None:
    """There is no second list of versions: `make`'s script and files, and CI's Python."""
    (line,) = [line for line in instructions("RUN") if "make_env.sh" in line]
    script, _, folder, *files = line.split()
    assert files
    for name in (script, *(f"requirements/{file}" for file in files)):
        assert (ROOT / name).is_file(), name
    assert f"PATH={folder}/bin:$PATH" in instructions("ENV")
    assert "==" not in FILE.read_text(encoding="utf-8")
    ci = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    (version,) = re.findall(r'python-version: "(.*)"', ci)
    assert argument("BASE").startswith(f"python:{version}-slim-")


def test_the_page_gives_arguments_that_it_has() -> None:
    text = PAGE.read_text(encoding="utf-8")
    given = re.findall(r"--build-arg (\w+)=", text)
    assert given
    assert all(argument(name) for name in given)
    assert re.findall(r"--file (\S+)", text) == [FILE.relative_to(ROOT).as_posix()] * 2
    (user,) = instructions("USER")
    assert f"has to belong to user {user}." in text
    assert f":{instructions('WORKDIR')[-1]}/work_dirs" in text
