from __future__ import annotations

import gc
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from exploits import Exploit, assert_refusal
from PIL import Image
from pycocotools.coco import COCO
from sample_models import save_models

import mmconvnext
from mmconvnext.cli.main import main
from mmconvnext.inference import CompilerError
from mmconvnext.inference.predictions import Segmentation
from mmconvnext.inference.predictor import Prepared
from mmconvnext.inference.run import FolderRun


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, tuple[str, str]]:
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def photos(tmp_path) -> Path:
    """Small pictures in two folders, three names twice."""
    folder = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for name in ("a/1.jpg", "a/2.png", "a/2.jpg", "b/1.jpg", "b/c/1.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    (folder / "notes.txt").write_text("not a picture")
    return folder


def infer(models, task, *args) -> int:
    threshold = ["--score-threshold", "0"] if "--score-threshold" not in args else []
    return main(["infer", *models[task], *map(str, args), "--device", "cpu", *threshold])


def read(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def names_below(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


ALL = ["a/1.jpg", "a/2.jpg", "a/2.png", "b/1.jpg", "b/c/1.jpg"]


def test_a_folder_of_pictures_gives_results_pictures_and_a_sheet(models, photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert infer(models, "detection", photos, "--out", out) == 0
    said = capsys.readouterr().out
    assert "3 classes, as the config's data set names them" in said
    assert "category ids: label + 1" in said and "5 pictures and frames done" in said
    images = read(out / "images.json")
    assert [image["file_name"] for image in images["images"]] == ALL
    assert [image["id"] for image in images["images"]] == [1, 2, 3, 4, 5]
    assert (images["images"][0]["width"], images["images"][0]["height"]) == (64, 48)
    assert [c["name"] for c in images["categories"]] == ["circle", "square", "triangle"]
    assert images["info"]["category_ids"].startswith("label + 1")
    assert names_below(out / "pictures") == ALL
    for name in ALL:
        with Image.open(out / "pictures" / name) as painted:
            assert painted.size == (64, 48)
    with Image.open(out / "contact_sheet.jpg") as sheet:
        assert sheet.width > 5 * 64
    assert not (out / "skipped.txt").exists() and not list(out.rglob("*unfinished*"))


def test_its_results_are_cocos_and_those_of_python(models, photos, tmp_path):
    out = tmp_path / "out"
    assert infer(models, "detection", photos, "--out", out, "--batch-size", 3) == 0
    results = COCO(str(out / "images.json")).loadRes(str(out / "detections.json"))
    predictor = mmconvnext.Predictor(*models["detection"], device="cpu", score_threshold=0.0)
    for number, name in enumerate(ALL, 1):
        expected = predictor(photos / name)
        found = results.loadAnns(results.getAnnIds(imgIds=[number]))
        assert len(found) == len(expected) > 0
        boxes = np.array([entry["bbox"] for entry in found])
        boxes[:, 2:] += boxes[:, :2]
        np.testing.assert_allclose(boxes, expected.boxes, atol=1e-3)
        scores = [entry["score"] for entry in found]
        np.testing.assert_allclose(scores, expected.scores, atol=1e-4)
        masks = np.stack([results.annToMask(entry) for entry in found]).astype(bool)
        assert np.mean(masks == expected.masks) > 0.999
        assert [e["category_id"] for e in found] == (expected.labels + 1).tolist()


def test_maps_are_those_of_the_test_command_plus_one(models, shapes, tmp_path):
    dump, out = tmp_path / "predictions.pkl", tmp_path / "out"
    where = ["--data-root", str(shapes["segmentation"]), "--work-dir", str(tmp_path / "w")]
    assert main(["test", *models["segmentation"], *where, "--out", str(dump)]) == 0
    folder = shapes["segmentation"] / "images" / "validation"
    assert infer(models, "segmentation", folder, "--out", out) == 0
    predictions = pickle.loads(dump.read_bytes())
    assert len(predictions) == 4
    for prediction in predictions:
        expected = prediction["pred_sem_seg"]["data"][0].numpy()
        with Image.open(out / "maps" / Path(prediction["img_path"]).name) as found:
            assert found.mode == "L"
            assert np.array_equal(np.asarray(found), expected + 1)  # reduce_zero_label
    images = read(out / "images.json")
    assert images["info"]["maps"].startswith("a pixel's value is label + 1, 0 is no class")
    assert [c["id"] for c in images["categories"]] == [1, 2, 3, 4]
    assert images["images"][0]["map"] == "maps/000000.png"
    assert not (out / "detections.json").exists()


def test_same_names_in_two_inputs_and_of_two_kinds_stay_apart(models, photos, tmp_path):
    out = tmp_path / "out"
    inputs = [photos / "a" / "1.jpg", photos / "b", photos / "a" / "2.*", photos / "a" / "1.jpg"]
    assert infer(models, "segmentation", *inputs, "--out", out) == 0
    expected = ["a/1.jpg", "a/2.jpg", "a/2.png", "b/1.jpg", "b/c/1.jpg"]
    assert names_below(out / "pictures") == expected
    maps = [image["map"] for image in read(out / "images.json")["images"]]
    assert sorted(maps) == [f"maps/{name}" for name in names_below(out / "maps")]
    assert len(set(maps)) == 5


def test_bad_pictures_are_named_and_the_rest_is_done(models, photos, tmp_path, capsys):
    (photos / "a" / "1.jpg").write_bytes((photos / "a" / "1.jpg").read_bytes()[:1000])
    (photos / "b" / "1.jpg").write_bytes(b"")
    out = tmp_path / "out"
    inputs = [photos, photos / "notes.txt"]
    assert infer(models, "segmentation", *inputs, "--out", out, "--batch-size", 2) == 1
    said = capsys.readouterr().err.splitlines()[-4:]
    for name, line in zip(("a/1.jpg", "b/1.jpg", "notes.txt"), said, strict=False):
        assert line.startswith(f"mmconvnext infer: skipped {name!r}: picture {photos / name} ")
    assert said[3].startswith("mmconvnext infer: 3 skipped, all named in ")
    listed = (out / "skipped.txt").read_text().splitlines()
    assert [line.partition(":")[0] for line in listed] == ["a/1.jpg", "b/1.jpg", "notes.txt"]
    assert len(read(out / "images.json")["images"]) == 3


@pytest.mark.parametrize("batch", [1, 3])
def test_a_picture_too_small_for_the_network_is_skipped(models, photos, tmp_path, batch, capsys):
    cv2.imwrite(str(photos / "a" / "0.png"), np.zeros((8, 64, 3), np.uint8))
    out = tmp_path / "out"
    assert infer(models, "segmentation", photos, "--out", out, "--batch-size", batch) == 1
    assert "skipped 'a/0.png': the network fails on it" in capsys.readouterr().err
    assert names_below(out / "pictures") == ALL


def test_a_coco_files_ids_are_kept(models, shapes, tmp_path, capsys):
    root = shapes["detection"]
    content = read(root / "annotations" / "instances_val.json")
    for image in content["images"]:
        image["id"] = 1000 - 7 * image["id"]
    for category in content["categories"]:
        category["id"] = 50 + 3 * category["id"]
    ids = {image["file_name"]: image["id"] for image in content["images"]}
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({key: content[key] for key in ("images", "categories")}))
    out = tmp_path / "out"
    assert infer(models, "detection", file, "--out", out) == 2
    assert "--image-dir" in capsys.readouterr().err
    folder = ["--image-dir", root / "images" / "val"]
    assert infer(models, "detection", file, "--out", out, *folder, "--no-pictures") == 0
    images = read(out / "images.json")
    assert {image["file_name"]: image["id"] for image in images["images"]} == ids
    assert [c["id"] for c in images["categories"]] == [53, 56, 59]
    assert {r["image_id"] for r in read(out / "detections.json")} == set(ids.values())
    assert {r["category_id"] for r in read(out / "detections.json")} <= {53, 56, 59}
    assert not (out / "pictures").exists() and not (out / "contact_sheet.jpg").exists()
    # Other pictures beside them get other numbers; the folder may come from --data-root.
    extra = root / "images" / "train" / "000000.png"
    where = ["--data-root", root, "--out", tmp_path / "both", "--no-pictures"]
    assert infer(models, "detection", extra, file, *where) == 0
    found = {i["file_name"]: i["id"] for i in read(tmp_path / "both" / "images.json")["images"]}
    assert found == {f"val/{k}": v for k, v in ids.items()} | {
        "train/000000.png": max(ids.values()) + 1
    }


def write_video(path: Path, frames: int) -> list[np.ndarray]:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    assert writer.isOpened()
    for value in range(frames):
        writer.write(np.full((48, 64, 3), 20 * value, np.uint8))
    writer.release()


def test_a_video_becomes_a_painted_video_with_results_a_frame(models, photos, tmp_path):
    write_video(photos / "clip.mp4", 5)
    (photos / "broken.mp4").write_bytes(b"no video")
    out = tmp_path / "out"
    assert infer(models, "segmentation", photos, "--out", out, "--batch-size", 2) == 1
    assert (out / "skipped.txt").read_text().startswith("broken.mp4: expected a video")
    images = read(out / "images.json")["images"]
    frames = [image for image in images if image.get("video") == "clip.mp4"]
    assert [frame["frame"] for frame in frames] == [0, 1, 2, 3, 4]
    assert frames[2]["file_name"] == "clip.mp4/000002"
    assert frames[2]["map"] == "maps/clip.mp4/000002.png" and (out / frames[2]["map"]).is_file()
    assert len({image["id"] for image in images}) == 10
    painted = cv2.VideoCapture(str(out / "pictures" / "clip.mp4"))
    assert painted.get(cv2.CAP_PROP_FRAME_COUNT) == 5 and painted.get(cv2.CAP_PROP_FPS) == 10
    assert names_below(out / "pictures") == sorted([*ALL, "clip.mp4"])


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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"checkpoint": "none.pth"}, "none.pth"),
        ({"config": "none.py"}, "config not found"),
        ({"inputs": ["none.jpg"]}, "input none.jpg: expected a picture"),
        ({"inputs": ["none/*.jpg"]}, "found nothing of that name"),
        ({"options": ["--score-threshold", "2"]}, "from 0 to 1"),
        ({"options": ["--batch-size", "0"]}, "at least 1"),
        ({"options": ["--cfg-options", "no_such.key=1"]}, "no_such"),
        ({"options": ["--resume", "--overwrite"]}, "not allowed with"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    models, photos, tmp_path, capsys, change, said
):
    config, checkpoint = models["segmentation"]
    command = [change.get("config", config), change.get("checkpoint", checkpoint)]
    command += change.get("inputs", [str(photos)])
    out = tmp_path / "out"
    assert main(["infer", *command, "--out", str(out), *change.get("options", [])]) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith("mmconvnext infer: ") and said in line
    assert not out.exists()


def test_a_checkpoint_of_another_model_is_refused(models, photos, tmp_path, capsys):
    command = [models["detection"][0], models["segmentation"][1], str(photos)]
    assert main(["infer", *command, "--out", str(tmp_path / "out")]) == 2
    assert models["segmentation"][1] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_fused_it_finds_the_same(models, photos, tmp_path):
    for name, options in {"plain": [], "fused": ["--fuse"]}.items():
        assert infer(models, "segmentation", photos, "--out", tmp_path / name, *options) == 0
    for name in names_below(tmp_path / "plain" / "maps"):
        maps = [cv2.imread(str(tmp_path / kind / "maps" / name), 0) for kind in ("plain", "fused")]
        assert np.mean(maps[0] == maps[1]) > 0.99


def test_compile_without_a_compiler_says_so(models, photos, tmp_path, monkeypatch, capsys):
    def no_compiler(device) -> None:
        raise CompilerError("torch.compile: expected a C++ compiler")

    monkeypatch.setattr("mmconvnext.inference.predictor.check_compiler", no_compiler)
    assert infer(models, "segmentation", photos, "--out", tmp_path / "out", "--compile") == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line == "mmconvnext infer: --compile: torch.compile: expected a C++ compiler"
    assert not (tmp_path / "out").exists()


def test_averaged_weights_that_are_not_there_are_told(models, photos, tmp_path, capsys):
    assert infer(models, "segmentation", photos, "--out", tmp_path / "out", "--ema") == 2
    assert "expected averaged weights" in capsys.readouterr().err


def test_code_in_a_checkpoint_does_not_run(models, photos, tmp_path, capsys):
    config, _ = models["segmentation"]
    file, ran = tmp_path / "evil.pth", tmp_path / "ran"
    torch.save({"state_dict": {}, "meta": {"cfg": Exploit(ran)}}, file)
    command = ["infer", config, str(file), str(photos), "--out", str(tmp_path / "out")]
    assert main(command) == 2
    assert_refusal(capsys.readouterr().err.strip().removeprefix("mmconvnext infer: "), file)
    assert not ran.exists()
    main([*command, "--trust-checkpoint"])
    assert ran.exists()


def test_few_pictures_are_in_memory_however_many_there_are(models, tmp_path, monkeypatch):
    folder = tmp_path / "many"
    folder.mkdir()
    pixels = np.zeros((32, 32, 3), np.uint8)
    for number in range(150):
        cv2.imwrite(str(folder / f"{number:03}.png"), pixels)
    alive: list[int] = []

    advance = FolderRun._advance

    def counted(run: FolderRun) -> None:
        advance(run)
        if run._done % 25 == 0:
            gc.collect()
            kinds = (Prepared, Segmentation)
            alive.append(sum(isinstance(thing, kinds) for thing in gc.get_objects()))

    monkeypatch.setattr(FolderRun, "_advance", counted)
    assert infer(models, "segmentation", folder, "--out", tmp_path / "out") == 0
    assert len(alive) == 6 and max(alive) <= 24  # those read ahead, and those being written
    assert len(read(tmp_path / "out" / "images.json")["images"]) == 150
    with Image.open(tmp_path / "out" / "contact_sheet.jpg") as sheet:
        assert sheet.height < 3000


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
