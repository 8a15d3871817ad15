from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import mmcv
import pytest

from mmconvnext.cli import doctor
from mmconvnext.cli.main import main
from mmconvnext.doctor import running
from mmconvnext.doctor.distributions import pinned
from mmconvnext.doctor.finding import Finding

ROOT = Path(__file__).parents[2]
AGAIN = "pip install --force-reinstall --no-deps " + " ".join(
    shlex.quote(pinned(name)) for name in ("pycocotools", "faster-coco-eval")
)


def run(folder: Path, start: str = "", **environment: str) -> tuple[int, str, dict]:
    """The command in a process of its own, whose children run ``start`` when Python starts."""
    (folder / "sitecustomize.py").write_text(start)
    out = folder / "findings.json"
    paths = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    command = "import sys, _mmconvnext_command; sys.exit(_mmconvnext_command.main('doctor'))"
    done = subprocess.run(
        [sys.executable, "-c", command, "--json", str(out)],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stdout + done.stderr
    found = json.loads(out.read_text(encoding="utf-8"))
    return done.returncode, done.stdout, {f["check"]: f for f in found["findings"]}


def blocked(*packages: str, what: str = "raise ImportError(f'{name} is broken here')") -> str:
    """Code that makes importing packages fail."""
    return f"""
import sys, os, signal
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {packages!r}:
            {what}
sys.meta_path.insert(0, Block())
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return run(tmp_path_factory.mktemp("here"))


def test_plain_lines_and_json_say_the_same(here) -> None:
    status, out, found = here
    assert list(found) == list(running.CHECKS)
    lines = out.splitlines()
    for name, finding in found.items():
        word = {"green": "ok", "yellow": "limited", "red": "broken"}[finding["state"]]
        assert any(
            line.split() == [word, *name.split(), *finding["found"].split()] for line in lines
        )
        assert not finding["mend"] or any(finding["mend"] in line for line in lines)
    assert status == (any(f["state"] == "red" for f in found.values()))
    assert "\x1b" not in out
    assert len(lines) < 60
    assert found["test: network"]["state"] == "green"


def test_torch_missing_leaves_the_other_checks(tmp_path) -> None:
    absent = "raise ModuleNotFoundError(f'No module named {name!r}', name=name)"
    status, _, found = run(tmp_path, blocked("torch", "torchvision", "rich", what=absent))
    assert status == 1
    assert found["PyTorch"]["state"] == found["test: network"]["state"] == "red"
    assert found["test: network"]["mend"].startswith("pip install 'torch>=")
    assert found["Python"]["state"] == found["text"]["state"] == "green"
    assert found["disk"]["found"].startswith("work folder")


def test_broken_mmdet_and_mmseg_leave_the_other_checks(tmp_path) -> None:
    status, _, found = run(tmp_path, blocked("mmdet", "mmseg"))
    assert status == 1
    for name in ("mmdet", "mmseg"):
        assert found[name]["state"] == "red"
        assert f"ImportError: {name} is broken here" in found[name]["found"]
        again = r"pip install --force-reinstall --no-deps (onedl-)?mm"
        assert re.match(again, found[name]["mend"])
    assert found["mmcv"]["state"] == found["test: operators"]["state"] == "green"


def test_a_crash_costs_one_check(tmp_path, monkeypatch) -> None:
    die = "print('cannot load libx', file=sys.stderr); os.kill(os.getpid(), signal.SIGSEGV)"
    (tmp_path / "sitecustomize.py").write_text(blocked("pycocotools", what=die))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    found = dict(running.examine(["Python", "evaluation", "text", "environment"]))
    assert list(found) == ["Python", "evaluation", "text", "environment"]
    assert found["evaluation"] == Finding(
        "red", "the process ended (exit status -11) cannot load libx", AGAIN
    )
    assert found["Python"].state == found["text"].state == "green"


def test_a_check_that_hangs_is_ended(tmp_path, monkeypatch) -> None:
    hang = "import time; time.sleep(600)"
    (tmp_path / "sitecustomize.py").write_text(blocked("pycocotools", what=hang))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    monkeypatch.setattr(running, "SECONDS", 5.0)
    found = dict(running.examine(["evaluation", "text"]))
    assert found["evaluation"] == Finding("red", "took more than 5 s", AGAIN)
    assert found["text"].state == "green"


def test_without_operators_the_command_to_get_them_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MMCONVNEXT_OPS", "0")
    found = dict(running.examine(["mmengine", "mmconvnext", "mmcv", "test: operators"]))
    if [*Path(mmcv.__file__).parent.glob("_ext*.so")]:
        pytest.skip("mmcv has compiled operators here")
    assert found["mmcv"].state == "red" and found["mmcv"].mend == "unset MMCONVNEXT_OPS"
    assert found["test: operators"].state == "red"


@pytest.mark.parametrize("name", running.CHECKS)
def test_whatever_a_check_raises_there_is_a_command(name, monkeypatch) -> None:
    def fail(_: str) -> None:
        raise OSError("libx is of another machine")

    monkeypatch.setattr(running, "import_module", fail)
    finding = running.run(name)
    assert (finding.state, finding.found) == ("red", "OSError: libx is of another machine")
    assert finding.mend.startswith("pip install ")


def test_status_and_table_on_a_terminal(monkeypatch, capsys) -> None:
    findings = {"Python": Finding("green", "3.12"), "GPU": Finding("yellow", "none", "do [this]")}
    monkeypatch.setattr(doctor, "examine", lambda: iter(findings.items()))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert main(["doctor"]) == 0
    out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert "-> do [this]" in out and "1 ok, 1 limited, 0 broken" in out
    findings["PyTorch"] = Finding("red", "not installed", "pip install torch")
    assert main(["doctor"]) == 1


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--jsn"], "unrecognized arguments: --jsn"),
        (["--json", "nowhere/x.json"], "--json nowhere/x.json: there is no folder nowhere"),
    ],
)
def test_bad_input(argv, line, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", *argv]) == 2
    assert line in capsys.readouterr().err
