from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mmconvnext
from mmconvnext.backbones.road_stops import STEPS
from mmconvnext.cli import road_runs
from mmconvnext.cli.main import main
from mmconvnext.cli.road_table import stops
from mmconvnext.compat.config_root import config_root
from mmconvnext.data.shapes import ShapesSpec, make_ade_shapes

ROOT = Path(mmconvnext.__file__).parents[1]
SMALL = str(config_root() / "demo" / "upernet_road_shapes.py")


def finish(runs: list[road_runs.Run], figures: dict[str, list[float]], name: str = "mIoU") -> None:
    """As if they had been trained: each stop's figures, a seed after the other."""
    for run in runs:
        value = figures[run.step][run.seed]
        run.folder.mkdir(parents=True)
        (run.folder / road_runs.FIGURES).write_text(json.dumps({name: value, "aAcc": 1.0}))


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """What the trainings find: `figures`, by stop."""
    figures = {step: [float(place), place + 2.0] for place, step in enumerate(STEPS)}
    monkeypatch.setattr(road_runs, "train", lambda run, **_: finish([run], figures))
    return figures


def test_without_a_config_the_stops_are_listed_beside_the_papers_figures(capsys) -> None:
    assert main(["road"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = {cells[0]: cells[1:] for line in lines if len(cells := line.strip("│ ").split("│")) > 8}
    found = {name.strip(): [cell.strip() for cell in cells] for name, cells in found.items()}
    assert found["resnet"] == ["25.6", "4.09", "4.09", "78.82", "64.7", "15.01", "15.01", "81.14"]
    assert found["layer_norm"][1:3] == ["4.15", "4.46"]
    assert list(found)[-len(STEPS) :] == list(STEPS)


def test_the_page_shows_what_is_counted() -> None:
    page = (ROOT / "docs" / "road.md").read_text(encoding="utf-8")
    for row in stops():
        assert f"| `{row[0]}` | {' | '.join(row[1:])} |" in page


def test_means_spreads_and_changes(no_training, tmp_path, capsys) -> None:
    steps = ("--steps", "kernel_9", "resnet", "kernel_7", "gelu")
    arguments = ["road", SMALL, *steps, "--seeds", "0", "1", "--metric", "mIoU"]
    assert main([*arguments, "--work-dir", str(tmp_path / "road")]) == 0
    with (tmp_path / "road" / "road.csv").open() as file:
        rows = {row["step"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["resnet", "kernel_7", "kernel_9", "gelu"]  # as on the road
    assert [float(row["mean"]) for row in rows.values()] == [1, 9, 10, 12]
    assert [row["change"] for row in rows.values()] == ["", "8.0", "1.0", "3.0"]  # gelu: from 7x7
    assert {row["spread"] for row in rows.values()} == {"1.4142135623730951"}
    assert rows["gelu"]["paper"] == "80.62"
    assert (tmp_path / "road" / "road.png").read_bytes()[:4] == b"\x89PNG"
    out = capsys.readouterr().out
    assert "8/8 gelu (seed 1)" in out and "9 ± 1.414" in out and "+8" in out


def test_finished_trainings_are_not_done_again(no_training, tmp_path, capsys, monkeypatch) -> None:
    arguments = ["road", SMALL, "--metric", "mIoU", "--work-dir", str(tmp_path), "--steps"]
    assert main([*arguments, "resnet", "gelu"]) == 0
    trained: list[str] = []

    def train(run: road_runs.Run, **_: object) -> None:
        trained.append(run.step)
        finish([run], no_training)

    monkeypatch.setattr(road_runs, "train", train)
    assert main([*arguments, "resnet", "gelu", "width"]) == 0
    assert trained == ["width"]
    assert "2 of 3 trainings are finished already" in capsys.readouterr().out


def test_stops_of_other_settings_are_not_mixed(no_training, tmp_path, capsys) -> None:
    arguments = ["road", SMALL, "--metric", "mIoU", "--work-dir", str(tmp_path), "--steps", "gelu"]
    assert main(arguments) == 0
    assert main([*arguments, "--max-iters", "7"]) == 2
    err = capsys.readouterr().err
    assert "seed_0.py: expected the settings of this call, found others" in err
    assert main(arguments) == 0


def test_each_stop_starts_from_its_own_weights(no_training, tmp_path) -> None:
    arguments = ["road", SMALL, "--metric", "mIoU", "--work-dir", str(tmp_path)]
    weights = ["--weights", "pre/{step}.pth"]
    assert main([*arguments, *weights, "--steps", "gelu", "width"]) == 0
    for step in ("gelu", "width"):
        text = (tmp_path / step / "seed_0.py").read_text()
        assert f"checkpoint='pre/{step}.pth'" in text and f"step='{step}'" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((SMALL, "--steps", "resnext"), "--steps: no stop 'resnext'; there are resnet, stage"),
        (("nothing.py",), "config not found: nothing.py"),
        (("configs/demo/upernet_convnext_shapes.py",), "expected a backbone of type='mmconvnext.R"),
        ((SMALL, "--metric", "AP", "--steps", "gelu"), "--metric AP: gelu (seed 0) was not measu"),
        ((SMALL, "--seeds", "-1"), "must be a whole number, not '-1'"),
        ((SMALL, "--demo"), "--demo has a config and data of its own"),
    ],
)
def test_bad_input_is_one_line(
    arguments, message, no_training, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["road", *arguments, "--work-dir", str(tmp_path / "road")]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_a_file_where_results_would_go(no_training, tmp_path, capsys) -> None:
    (tmp_path / "taken").write_text("")
    assert main(["road", SMALL, "--work-dir", str(tmp_path / "taken")]) == 2
    assert "taken: is a file, a folder is needed" in capsys.readouterr().err


@pytest.mark.slow
def test_two_stops_are_trained_and_an_empty_picture_stops_the_third(tmp_path, capsys) -> None:
    data, work = tmp_path / "data", tmp_path / "road"
    make_ade_shapes(data, ShapesSpec(train=16, val=4, size=64))
    arguments = ["road", SMALL, "--data-root", str(data), "--work-dir", str(work), "--max-iters"]
    arguments += ["2", "--jobs", "2", "--steps", "resnet", "separate_downsampling"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "2/2" in out and "mIoU" in out and str(work / "road.png") in out
    figures = json.loads((work / "resnet" / "seed_0" / "figures.json").read_text())
    assert 0 <= figures["mIoU"] <= 100
    kept = {p: p.stat().st_mtime for p in work.rglob("*.pth")}
    next((data / "images" / "training").glob("*.png")).write_bytes(b"")
    assert main([*arguments, "gelu"]) == 1
    err = capsys.readouterr().err
    assert "gelu (seed 0): training ended with status 2: mmconvnext train: " in err
    assert {p: p.stat().st_mtime for p in work.rglob("*.pth")} == kept


@pytest.mark.slow
def test_interrupted_it_ends_its_trainings_and_goes_on_the_next_time(tmp_path) -> None:
    make_ade_shapes(tmp_path / "data", ShapesSpec(train=16, val=4, size=64))
    command = [sys.executable, "-W", "ignore", "-m", "mmconvnext", "road", SMALL, "--steps", "gelu"]
    command += ["--data-root", str(tmp_path / "data"), "--work-dir", str(tmp_path / "road")]
    command += ["--max-iters", "100000"]
    started = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,  # a terminal would interrupt its training as well
    )
    folder = tmp_path / "road" / "gelu" / "seed_0"
    deadline = time.monotonic() + 120
    while "iteration " not in _text(folder / "train.log"):
        assert started.poll() is None and time.monotonic() < deadline, _text(folder / "train.log")
        time.sleep(0.5)
    started.send_signal(signal.SIGINT)
    assert started.wait(60) == 130
    assert started.stderr is not None and started.stderr.read() == "mmconvnext road: interrupted\n"
    assert list(folder.glob("iter_*.pth")) and not (folder / "figures.json").exists()


def _text(file: Path) -> str:
    return file.read_text() if file.is_file() else ""


@pytest.mark.slow
def test_one_training_on_two_processes(tmp_path) -> None:
    make_ade_shapes(tmp_path / "data", ShapesSpec(train=16, val=4, size=64))
    command = [sys.executable, "-W", "ignore", "-m", "mmconvnext", "road", SMALL, "--gpus", "2"]
    command += ["--data-root", str(tmp_path / "data"), "--work-dir", str(tmp_path / "road")]
    command += ["--max-iters", "2", "--steps", "gelu"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "road" / "gelu" / "seed_0" / "train.log").read_text()
    assert (tmp_path / "road" / "road.csv").is_file(), log
