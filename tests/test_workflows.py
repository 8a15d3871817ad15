"""What CI is told to do: that it can be read, and that what it calls is there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = ROOT / ".github" / "workflows"
MAKES_OWN = (
    "MAKEFLAGS",
    "MFLAGS",
    "MAKELEVEL",
    "MAKEOVERRIDES",
    "STACK",
)  # of `make test STACK=onedl`

pytestmark = pytest.mark.skipif(
    not WORKFLOWS.is_dir(), reason="the tests run without the checkout's workflows"
)


def workflow(name: str) -> dict[str, Any]:
    # Strings alone: for YAML the key `on` is a truth value.
    return yaml.load((WORKFLOWS / name).read_text(), yaml.BaseLoader)


def commands(name: str) -> list[str]:
    jobs = workflow(name)["jobs"].values()
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


def test_every_change_is_tried_on_the_default_stack() -> None:
    assert {"push", "pull_request"} <= workflow("ci.yml")["on"].keys()
    assert commands("ci.yml") == [".ci/run"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_the_forks_are_tried_once_a_week_and_on_request() -> None:
    when = workflow("onedl.yml")["on"]
    assert "workflow_dispatch" in when
    (entry,) = when["schedule"]
    minute, hour, day, month, weekday = entry["cron"].split()
    assert minute.isdigit() and hour.isdigit() and (day, month) == ("*", "*")
    assert weekday.isdigit()  # one day of the week
    assert commands("onedl.yml") == ["make test STACK=onedl"]


@pytest.mark.parametrize(
    ("options", "folder", "stack"),
    [([], ".venv", "openmmlab"), (["STACK=onedl"], ".venv-onedl", "onedl")],
)
def test_make_test_sets_up_and_uses_the_stacks_environment(
    options: list[str], folder: str, stack: str
) -> None:
    own = {key: value for key, value in os.environ.items() if key not in MAKES_OWN}
    told = subprocess.run(
        ["make", "--dry-run", "--always-make", "test", *options],
        cwd=ROOT,
        env=own,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.search(rf"make_env\.sh \S+ {folder} {stack}\.txt test\.txt lint\.txt\n", told)
    assert f" {folder}/bin/python -m pytest" in told


def test_both_stacks_are_pinned_as_the_extras_are() -> None:
    extras = (ROOT / "pyproject.toml").read_text()
    for stack, number in (("openmmlab", 4), ("onedl", 4)):
        wanted = (ROOT / "requirements" / f"{stack}.txt").read_text()
        pins = re.findall(r"^(?:onedl-)?mm\S*==\S+", wanted, flags=re.MULTILINE)
        assert len(pins) == number
        assert all(f'"{pin}"' in extras for pin in pins)
