from __future__ import annotations

import json
import pickle
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmconvnext.cli import demo
from mmconvnext.cli import main as commands
from mmconvnext.compat.mm_packages import find_config
from mmconvnext.data.shapes import ShapesSpec


@pytest.fixture
def in_process(monkeypatch):
    """The tools run in this process, where everything is imported already, on a few pictures."""
    monkeypatch.setattr(demo, "PICTURES", ShapesSpec(train=8, val=6, size=96))
    commands_run = []

    def run(command: list[str], check: bool) -> subprocess.CompletedProcess:
        tool = next(index for index, part in enumerate(command) if part.endswith(".py"))
        assert Path(command[tool]).is_file()
        commands_run.append(Path(command[tool]).name)
        status = commands.main([Path(command[tool]).stem, *command[tool + 1 :]])
        return subprocess.CompletedProcess(command, status)

    monkeypatch.setattr(demo, "subprocess", SimpleNamespace(run=run))
    return commands_run


@pytest.mark.parametrize("task", list(demo.TASKS))
def test_a_short_demo_goes_through_to_pictures_and_table(
    task, in_process, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert demo.main(["--task", task, "--max-iters", "2"]) == 0
    assert in_process == ["train.py", "test.py"]
    said = capsys.readouterr().out
    assert "8 pictures to train on, 6 held out" in said
    assert "iteration 2/2, loss" in said
    assert said.count("not judged") == len(demo.TASKS[task].promised)
    work = tmp_path / "work_dirs" / "demo"
    for picture in (f"{task}_predictions.png", f"{task}_curves.png"):
        assert f"work_dirs/demo/{picture}" in said
        with Image.open(work / picture) as image:
            assert len(image.convert("L").getcolors()) > 20
    with (work / task / "predictions.pkl").open("rb") as file:
        assert len(pickle.load(file)) == 6
    assert (work / task / "train" / "iter_2.pth").is_file()


@pytest.fixture
def finished(monkeypatch, tmp_path):
    """A demo whose tools only leave what given accuracies would leave."""

    def leave(**metrics: float) -> list[str]:
        def run(command: list[str], check: bool) -> subprocess.CompletedProcess:
            work = Path(command[command.index("--work-dir") + 1])
            train = any(part.endswith("train.py") for part in command)
            log = work / "20260101_000000" / ("vis_data/scalars.json" if train else "20260101.json")
            log.parent.mkdir(parents=True)
            if train:
                (work / "last_checkpoint").write_text(f"{work}/iter_9.pth")
                log.write_text(
                    json.dumps({"loss": 1, "step": 9}) + "\n" + json.dumps({**metrics, "step": 9})
                )
            else:
                assert f"{work.parent}/train/iter_9.pth" in command
                log.write_text(json.dumps(metrics))
                picture = tmp_path / "data" / "ade" / "images" / "validation" / "000000.png"
                labels = np.zeros((1, 96, 96), dtype=int)
                prediction = {"img_path": str(picture), "pred_sem_seg": {"data": labels}}
                (work.parent / "predictions.pkl").write_bytes(pickle.dumps([prediction]))
            return subprocess.CompletedProcess(command, 0)

        monkeypatch.setattr(demo, "subprocess", SimpleNamespace(run=run))
        monkeypatch.setattr(demo, "PICTURES", ShapesSpec(train=1, val=1, size=96))
        return ["--task", "segmentation", "--work-dir", str(tmp_path)]

    return leave


@pytest.mark.parametrize(("miou", "status"), [(59.9, 1), (60.1, 0)])
def test_the_exit_status_says_whether_the_promise_was_kept(miou, status, finished, capsys):
    assert demo.main(finished(mIoU=miou)) == status
    said = capsys.readouterr().out
    assert f"{miou / 100:.3f}" in said and "at least 0.60" in said


def test_a_tool_that_fails_ends_the_demo_with_its_status_and_line(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(demo, "PICTURES", ShapesSpec(train=1, val=1, size=64))
    (tmp_path / "detection").mkdir()
    (tmp_path / "detection" / "train").write_text("in the way")
    assert demo.main(["--work-dir", str(tmp_path)]) == 2
    errors = capfd.readouterr().err
    assert "train is a file, a folder is needed" in errors and "Traceback" not in errors


def test_foreign_data_in_the_way_are_kept_and_named(tmp_path, capsys):
    photo = tmp_path / "data" / "coco" / "mine.jpg"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"precious")
    assert demo.main(["--work-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(photo.parent) in error
    assert photo.read_bytes() == b"precious"


@pytest.mark.parametrize("options", [["--task", "pose"], ["--max-iters", "0"]])
def test_bad_options_are_one_line_and_status_two(options, capsys):
    assert demo.main(options) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("task", list(demo.TASKS))
def test_classes_palette_and_data_folder_are_the_configs(task):
    chosen = demo.TASKS[task]
    cfg = Config.fromfile(find_config(f"mmconvnext::demo/{chosen.config}"))
    dataset = cfg.test_dataloader.dataset
    assert tuple(dataset.metainfo.classes) == chosen.classes
    assert tuple(map(tuple, dataset.metainfo.palette)) == chosen.palette
    assert Path(dataset.data_root) == Path("work_dirs/demo/data") / chosen.data
    assert cfg.model.backbone.type == "mmconvnext.ConvNeXt"
