"""Infer interrupted, resumed, and run again into the folder of an earlier run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from sample_infer import ALL, infer, names_below, read, write_video

from mmconvnext.inference.run import FolderRun


class Stop(KeyboardInterrupt):
    pass


@pytest.fixture
def stopping(monkeypatch):
    """Has the next run interrupted once so many pictures are done."""

    def after(count: int) -> None:
        advance = FolderRun._advance

        def counted(run: FolderRun) -> None:
            advance(run)
            if run._done == count:
                monkeypatch.setattr(FolderRun, "_advance", advance)
                raise Stop

        monkeypatch.setattr(FolderRun, "_advance", counted)

    return after


def without_ids(out: Path) -> list[dict]:
    return [{**result, "image_id": 0} for result in read(out / "detections.json")]


def test_resumed_it_has_every_picture_once(models, photos, tmp_path, stopping, capsys):
    write_video(photos / "clip.mp4", 4)
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert infer(models, "detection", photos, "--out", whole) == 0
    stopping(3)
    assert infer(models, "detection", photos, "--out", out) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "mmconvnext infer: interrupted"
    assert not (out / "detections.json").exists() and (out / "pictures" / "a" / "1.jpg").exists()
    assert infer(models, "detection", photos, "--out", out) == 2
    assert "--resume" in capsys.readouterr().err
    kept = (out / "pictures" / "a" / "1.jpg").stat().st_mtime_ns
    with (out / "results.jsonl").open("a") as journal:
        journal.write('{"name": "b/1.j')  # as a kill leaves it
    stopping(4)  # two frames into the video
    assert infer(models, "detection", photos, "--out", out, "--resume") == 130
    assert not (out / "pictures" / "clip.mp4").exists()
    assert infer(models, "detection", photos, "--out", out, "--resume") == 0
    assert "5 pictures were finished before" in capsys.readouterr().out
    assert (out / "pictures" / "a" / "1.jpg").stat().st_mtime_ns == kept
    names = [image["file_name"] for image in read(out / "images.json")["images"]]
    assert names == [*ALL, *(f"clip.mp4/00000{n}" for n in range(4))]
    ids = [image["id"] for image in read(out / "images.json")["images"]]
    assert len(set(ids)) == 9
    assert without_ids(out) == without_ids(whole)
    assert not [name for name in names_below(out) if "unfinished" in name]


def test_resuming_with_other_settings_is_refused(models, photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert infer(models, "segmentation", photos / "b", "--out", out, "--resume") == 2
    assert "no earlier run" in capsys.readouterr().err and not out.exists()
    assert infer(models, "segmentation", photos / "b", "--out", out, "--no-pictures") == 0
    other = ["--no-pictures", "--resume", "--score-threshold", "0.5"]
    assert infer(models, "segmentation", photos / "b", "--out", out, *other) == 2
    said = capsys.readouterr().err
    assert "the earlier run had score threshold 0.0, this one has 0.5" in said
    assert infer(models, "segmentation", photos, "--out", out, "--no-pictures", "--resume") == 0


def test_only_an_earlier_runs_results_are_overwritten(models, photos, tmp_path, capsys):
    mine = tmp_path / "mine"
    (mine / "pictures").mkdir(parents=True)
    (mine / "pictures" / "holiday.jpg").write_bytes(b"dear")
    for option in ([], ["--overwrite"]):
        assert infer(models, "segmentation", photos / "b", "--out", mine, *option) == 2
        assert "files of something else" in capsys.readouterr().err
    assert (mine / "pictures" / "holiday.jpg").read_bytes() == b"dear"
    out = tmp_path / "out"
    assert infer(models, "segmentation", photos, "--out", out) == 0
    (out / "notes.md").write_text("mine")
    assert infer(models, "segmentation", photos / "b", "--out", out, "--overwrite") == 0
    assert names_below(out / "pictures") == ["1.jpg", "c/1.jpg"]
    assert names_below(out / "maps") == ["1.png", "c/1.png"]
    assert (out / "notes.md").read_text() == "mine"


def test_results_inside_the_input_are_no_input(models, photos):
    out = photos / "out"
    assert infer(models, "segmentation", photos, "--out", out) == 0
    assert infer(models, "segmentation", photos, "--out", out, "--resume") == 0
    assert len(read(out / "images.json")["images"]) == 5


def test_ctrl_c_leaves_what_is_finished_whole(models, tmp_path):
    folder, out = tmp_path / "many", tmp_path / "out"
    folder.mkdir()
    for number in range(500):
        cv2.imwrite(str(folder / f"{number:04}.png"), np.zeros((32, 32, 3), np.uint8))
    command = [sys.executable, "-m", "mmconvnext.cli.infer", *models["segmentation"], str(folder)]
    run = subprocess.Popen(
        [*command, "--out", str(out), "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    deadline = time.monotonic() + 120
    while not (out / "maps" / "0005.png").exists():
        assert run.poll() is None and time.monotonic() < deadline, run.communicate()[1]
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130 and said.splitlines()[-1] == "mmconvnext infer: interrupted"
    lines = (out / "results.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines][1:]
    assert 0 < len(entries) < 500
    for entry in entries:
        with Image.open(out / entry["map"]) as found, Image.open(out / entry["picture"]) as painted:
            found.load()
            painted.load()
    assert not [name for name in names_below(out) if Path(name).name.startswith(".")]
