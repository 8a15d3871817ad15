"""What infer writes: results, maps, painted pictures and videos."""

from __future__ import annotations

import gc
import json
import pickle
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from pycocotools.coco import COCO
from sample_infer import ALL, infer, names_below, read, write_video

import mmconvnext
from mmconvnext.cli.main import main
from mmconvnext.inference.predictions import Segmentation
from mmconvnext.inference.predictor import Prepared
from mmconvnext.inference.run import FolderRun


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


def test_fused_it_finds_the_same(models, photos, tmp_path):
    for name, options in {"plain": [], "fused": ["--fuse"]}.items():
        assert infer(models, "segmentation", photos, "--out", tmp_path / name, *options) == 0
    for name in names_below(tmp_path / "plain" / "maps"):
        maps = [cv2.imread(str(tmp_path / kind / "maps" / name), 0) for kind in ("plain", "fused")]
        assert np.mean(maps[0] == maps[1]) > 0.99


def test_few_pictures_are_in_memory_however_many_there_are(models, tmp_path, monkeypatch):
    folder = tmp_path / "many"
    folder.mkdir()
    pixels = np.zeros((32, 32, 3), np.uint8)
    for number in range(100):
        cv2.imwrite(str(folder / f"{number:03}.png"), pixels)
    alive: list[int] = []

    advance = FolderRun._advance

    def counted(run: FolderRun) -> None:
        advance(run)
        if run._done % 20 == 0:
            gc.collect()
            kinds = (Prepared, Segmentation)
            alive.append(sum(isinstance(thing, kinds) for thing in gc.get_objects()))

    monkeypatch.setattr(FolderRun, "_advance", counted)
    assert infer(models, "segmentation", folder, "--out", tmp_path / "out") == 0
    assert len(alive) == 5 and max(alive) <= 24  # those read ahead, and those being written
    assert len(read(tmp_path / "out" / "images.json")["images"]) == 100
    with Image.open(tmp_path / "out" / "contact_sheet.jpg") as sheet:
        assert sheet.height < 3000
