"""``coverage``: the walk, its page, going on, and configs that fail, crash or take too long."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from mmconvnext.cli import coverage as command
from mmconvnext.cli.coverage_page import page
from mmconvnext.cli.main import main
from mmconvnext.cli.workers import WorkerError, call_in_workers


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    return ["--out", str(tmp_path / "page.md"), "--json", str(tmp_path / "results.json")]


def results(tmp_path: Path) -> dict[str, dict]:
    lines = (tmp_path / "results.json").read_text().splitlines()
    return {found["config"]: found for found in map(json.loads, lines)}


def test_two_families(files, tmp_path, capsys, monkeypatch):
    families = ["--family", "foveabox", "--family", "tridentnet"]
    kept = ("mmdet::foveabox/fovea_r50_fpn_4xb4-1x_coco.py", "mmdet::tridentnet/")
    shipped = command.shipped_configs
    monkeypatch.setattr(
        command, "shipped_configs", lambda p: [c for c in shipped(p) if c[0].startswith(kept)]
    )
    assert main(["coverage", *families, *files]) == 0
    found = results(tmp_path)
    assert {name: result["status"] for name, result in found.items()} == {
        kept[0]: "works",
        "mmdet::tridentnet/tridentnet_r50-caffe_1x_coco.py": "adapt",
        "mmdet::tridentnet/tridentnet_r50-caffe_ms-1x_coco.py": "adapt",
        "mmdet::tridentnet/tridentnet_r50-caffe_ms-3x_coco.py": "adapt",
    }
    text = (tmp_path / "page.md").read_text()
    assert "| mmdet | foveabox | ResNet | 1 / 1 |  |" in text
    assert "| mmdet | tridentnet | TridentResNet | 0 / 3 | model.roi\\_head.shared\\_head " in text
    assert "1 work, 3 cannot be adapted, 0 fail, 0 cannot be read" in capsys.readouterr().out
    # Going on tries nothing again, and writes the same page.
    monkeypatch.setattr("mmconvnext.cli.trial.try_config", None)
    assert main(["coverage", *families, *files, "--resume"]) == 0
    assert (tmp_path / "page.md").read_text() == text


def test_a_family_of_two_packages_is_two():
    args = command.parser().parse_args(["--family", "mask2former", "--one-per-family"])
    names = list(command.wanted_configs(args))
    for package in ("mmdet", "mmseg"):
        assert len([name for name in names if name.startswith(f"{package}::mask2former/")]) == 2


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["coverage", *arguments]) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and not out
    return err


def test_bad_input(tmp_path, capsys):
    assert "--family nope: no such folder" in refused(capsys, "--family", "nope")
    assert "--resume needs --json FILE" in refused(capsys, "--resume")
    missing = str(tmp_path / "x.json")
    line = refused(capsys, "--family", "atss", "--resume", "--json", missing)
    assert f"no such file: {missing}" in line
    broken = tmp_path / "broken.json"
    broken.write_text("{}\n")
    line = refused(capsys, "--family", "atss", "--resume", "--json", str(broken))
    assert "line 1: not a result of this command" in line


def test_the_page_counts_families_and_groups_reasons():
    def result(family: str, status: str, backbone: str, reason: str = "") -> dict:
        return {
            "config": f"mmdet::{family}/{status}{reason}.py",
            "package": "mmdet",
            "family": family,
            "status": status,
            "backbone": backbone,
            "reason": reason,
        }

    text = page(
        [
            result("a", "works", "ResNet"),
            result("a", "fails", "ResNet", "needs a|b"),
            result("a", "fails", "ResNet", "needs a|b"),
            result("b", "works", "SwinTransformer"),
            result("c", "adapt", "HourglassNet", "same size"),
            result("c", "no model", "None"),
        ]
    )
    assert (
        "3 families, 5 configs. With a ResNet, ResNeXt, Res2Net or Swin backbone: 2 / 4 work; "
        in text
    )
    assert "of the 2 families of these, 2 have some that work and 1 nothing but those." in text
    assert "| mmdet | a | ResNet | 1 / 3 | needs a\\|b (2) |" in text
    assert "With another: 0 / 1 work." in text


def double_or_die(number: int) -> int:
    if number == 3:
        os._exit(7)
    if number == 4:
        time.sleep(60)
    return 2 * number


def test_workers_survive_crashes_and_hangs():
    answers = dict(call_in_workers(double_or_die, [1, 2, 3, 4, 5, 6], jobs=2, seconds=2))
    assert {n: answers[n] for n in (1, 2, 5, 6)} == {1: 2, 2: 4, 5: 10, 6: 12}
    assert isinstance(answers[3], WorkerError) and "exit status 7" in str(answers[3])
    assert isinstance(answers[4], WorkerError) and "took more than 2 s" in str(answers[4])
