"""Whole runs over folders with bad data: stopping at once, or going on without them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sample_bad_data as bad
import torch

from mmconvnext.cli.main import main

EVERYTHING = {
    "detection": [
        bad.picture(bad.cut_off(bad.jpeg())),
        bad.edit(lambda c: c["images"][2].pop("height")),
        bad.edit(lambda c: c["annotations"][0].update(bbox=[1, 2])),
    ],
    "segmentation": [
        bad.seg_picture(bad.content(b"")),
        lambda root: (root / "annotations/training/000002.png").unlink(),
    ],
}
LEFT_OUT = {"detection": 3, "segmentation": 2}
USED = {"detection": 2, "segmentation": 2}  # of 4 pictures
TRAINING = {"detection": "images/train", "segmentation": "images/training"}
VALIDATION = {"detection": "images/val", "segmentation": "images/validation"}


@pytest.fixture
def run(tiny_config, own_data, tmp_path):
    """Runs a command on a task's own data; returns the exit status."""

    def start(command: str, task: str, *options: str) -> int:
        arguments = ["--data-root", str(own_data[task]), "--work-dir", str(tmp_path / "work")]
        return main([command, str(tiny_config(task)), *arguments, "--seed", "3", *options])

    return start


def is_finite(checkpoint: Path) -> bool:
    weights = torch.load(checkpoint, weights_only=False)["state_dict"]
    return all(torch.isfinite(value).all() for value in weights.values())


def break_inside(folder: Path, name: str = "000001.png") -> None:
    from PIL import Image

    bad.broken_inside(Image.open(folder / name).convert("RGB"), folder / name)


def test_stopping_is_at_minute_0_on_one_line(run, task, own_data, tmp_path, capsys):
    for breaks in EVERYTHING[task]:
        breaks(own_data[task])
    assert run("train", task, "--max-iters", "2") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("mmconvnext train: ")
    assert not (tmp_path / "work").exists()


def test_skipping_trains_on_the_rest_and_counts(run, task, own_data, tmp_path, capsys):
    for breaks in EVERYTHING[task]:
        breaks(own_data[task])
    break_inside(own_data[task] / TRAINING[task], "000003.png")
    break_inside(own_data[task] / VALIDATION[task])
    workers = ["train_dataloader.num_workers=2", "train_dataloader.persistent_workers=True"]
    options = ["--max-iters", "6", "--on-bad-data", "skip", "--cfg-options", *workers]
    assert run("train", task, *options) == 0
    work, said = tmp_path / "work", capsys.readouterr().out
    assert is_finite(work / "iter_6.pth")
    line = f"train_dataloader: trains on {USED[task]} of 4 pictures, {LEFT_OUT[task]} bad entries"
    assert said.count(line) == 2  # at the start and at the end
    assert "val_dataloader: figures are over 3 of 4 pictures, 1 bad entries are left out" in said
    assert "000001.png does not decode" in said
    # What only decoding finds, in both workers: told once, counted every time.
    entries = [json.loads(line) for line in (work / "bad_data.jsonl").read_text().splitlines()]
    assert {Path(entry["picture"]).name for entry in entries} == {"000003.png"}
    (log,) = work.glob("2*/2*.log")
    assert log.read_text().count("bad data, left out: ") == 1
    assert f"1 pictures were left out, {len(entries)} times in all" in log.read_text()
    listed = (work / "data_left_out" / "train_dataloader.txt").read_text().splitlines()
    assert len(listed) == LEFT_OUT[task]

    assert run("train", task, "--resume", *options) == 0  # the lists are made again, and fit


@pytest.mark.parametrize("workers", [0, 2])
def test_what_only_decoding_finds_stops_training_by_name(run, own_data, capsys, workers):
    break_inside(own_data["detection"] / TRAINING["detection"])
    options = ["--max-iters", "6", "--cfg-options", f"train_dataloader.num_workers={workers}"]
    assert run("train", "detection", *options) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.match(r"mmconvnext train: /\S+/000001.png \(image id 2\): AssertionError: ", last)
    assert last.endswith("--on-bad-data skip")


def test_a_picture_of_validation_that_does_not_decode_is_found_at_minute_0(
    run, task, own_data, tmp_path, capsys
):
    break_inside(own_data[task] / VALIDATION[task])
    assert run("train", task, "--max-iters", "2") == 2
    assert "000001.png does not decode" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


@pytest.fixture
def figures(tiny_config, trained_once, own_data, tmp_path, capsys):
    """Tests a task's trained model on its own data; returns the exit status, and what was said."""

    def start(task: str, *options: str) -> tuple[int, str]:
        arguments = ["--data-root", str(own_data[task]), "--work-dir", str(tmp_path / "test")]
        model = [str(tiny_config(task)), str(trained_once(task))]
        capsys.readouterr()
        status = main(["test", *model, *arguments, *options])
        said = capsys.readouterr()
        return status, said.out + said.err

    return start


def test_testing_without_bad_pictures_says_so_and_is_over_the_others(figures, task, own_data):
    folder = own_data[task] / VALIDATION[task]
    break_inside(folder)
    status, said = figures(task)
    assert status == 2
    assert "000001.png" in said.strip().splitlines()[-1]

    status, said = figures(task, "--on-bad-data", "skip")
    assert status == 0
    line = "bad data: test_dataloader: figures are over 3 of 4 pictures, 1 bad entries are left"
    assert said.strip().splitlines()[-1].startswith(f"mmconvnext: {line}")
    if task == "detection":
        file = own_data[task] / "annotations" / "instances_val.json"
        content = json.loads(file.read_text())
        content["images"] = [i for i in content["images"] if i["id"] != 2]
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] != 2]
        file.write_text(json.dumps(content))
    else:
        (folder / "000001.png").unlink()
        (own_data[task] / "annotations" / "validation" / "000001.png").unlink()
    status, alone = figures(task)
    assert status == 0 and "bad data" not in alone
    assert table(said) and table(said) == table(alone)


def table(said: str) -> list[str]:
    """The figures, without times."""
    return re.findall(r"│ (\S*(?:mAP|mIoU|aAcc|mAcc)\S*) +│ +(\S+) │", said)


def test_nothing_is_written_into_the_data_folder(run, task, own_data):
    root = own_data[task]
    for path in [*root.rglob("*"), root]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: path.stat().st_mtime_ns for path in [*root.rglob("*"), root]}
    assert run("train", task, "--max-iters", "1", "--on-bad-data", "skip") == 0
    assert len(before) > 10
    assert {path: path.stat().st_mtime_ns for path in [*root.rglob("*"), root]} == before
    for path in [*root.rglob("*"), root]:
        path.chmod(0o755)


def test_a_resumed_run_does_not_look_at_the_same_pictures_again(run, own_data, capsys, monkeypatch):
    from mmconvnext.cli import bad_data

    looked = []
    check = bad_data.picture_problems

    def counting(paths, *arguments, **settings):
        looked.append(len(paths))
        return check(paths, *arguments, **settings)

    monkeypatch.setattr(bad_data, "picture_problems", counting)
    assert run("train", "detection", "--max-iters", "1") == 0
    assert looked == [4, 4]
    assert run("train", "detection", "--max-iters", "2", "--resume") == 0
    assert looked == [4, 4]
    (own_data["detection"] / TRAINING["detection"] / "new.png").touch()
    assert run("train", "detection", "--max-iters", "3", "--resume") == 0
    assert looked == [4, 4, 4]


def test_twenty_pictures_in_a_row_are_no_exception(run, own_data, capsys):
    for name in (f"{number:06}.png" for number in range(4)):
        break_inside(own_data["detection"] / TRAINING["detection"], name)
    assert run("train", "detection", "--max-iters", "2", "--on-bad-data", "skip") == 2
    assert "20 pictures in a row cannot be used, at last " in capsys.readouterr().err


def test_what_is_taken_instead_is_the_same_after_resuming(run, own_data, tmp_path):
    break_inside(own_data["segmentation"] / TRAINING["segmentation"])
    options = ["--max-iters", "6", "--on-bad-data", "skip", "--cfg-options"]
    options += ["val_dataloader=None", "val_cfg=None", "val_evaluator=None"]
    saving = "default_hooks.checkpoint."
    options += [f"{saving}type=CheckpointHook", f"{saving}interval=3"]
    assert run("train", "segmentation", *options) == 0
    first, again = tmp_path / "work", tmp_path / "again"
    resumed = ["--resume", str(first / "iter_3.pth"), "--work-dir", str(again)]
    assert run("train", "segmentation", *resumed, *options) == 0
    assert (again / "bad_data.jsonl").exists()
    weights = [
        torch.load(work / "iter_6.pth", weights_only=False)["state_dict"] for work in (first, again)
    ]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@pytest.mark.slow
@pytest.mark.skipif(
    not torch.distributed.is_gloo_available(), reason="this PyTorch has no gloo to try it with"
)
def test_what_two_processes_leave_out_is_counted_together(own_data, tmp_path):
    root = own_data["segmentation"]
    (root / "annotations/training/000001.png").unlink()
    for name in ("000000.png", "000002.png"):  # of those left, the first of each process
        break_inside(root / TRAINING["segmentation"], name)
    config = Path(__file__).parent / "configs" / "shared_batch_segmentation.py"
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    command = [
        *(sys.executable, *launch, str(Path(__file__).parents[2] / "tools" / "train.py")),
        *(str(config), "--data-root", str(root), "--work-dir", str(tmp_path / "work")),
        *("--launcher", "pytorch", "--device", "cpu", "--seed", "0", "--max-iters", "2"),
        *("--on-bad-data", "skip"),
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = (tmp_path / "work" / "bad_data.jsonl").read_text().splitlines()
    assert {Path(json.loads(line)["picture"]).name for line in lines} == {
        "000000.png",
        "000002.png",
    }
    said = done.stdout + done.stderr
    assert f"2 pictures were left out, {len(lines)} times in all" in said
    assert said.count("trains on 3 of 4 pictures") == 2
    assert is_finite(tmp_path / "work" / "iter_2.pth")
