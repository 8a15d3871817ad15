from __future__ import annotations

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from pycocotools import mask as coder
from sample_models import save_model

import mmconvnext
from mmconvnext.checkpoints.reading import CheckpointError
from mmconvnext.cli.main import main
from mmconvnext.data.checks import DataError
from mmconvnext.inference.pictures import PictureError
from mmconvnext.inference.predictions import Detections, Segmentation


@pytest.fixture(scope="module")
def predictors(models) -> dict[str, mmconvnext.Predictor]:
    return {
        task: mmconvnext.Predictor(*files, device="cpu", score_threshold=0.0)
        for task, files in models.items()
    }


@pytest.fixture
def predictor(predictors, task) -> mmconvnext.Predictor:
    return predictors[task]


def pictures_of(shapes, task) -> list[Path]:
    folder = "images/val" if task == "detection" else "images/validation"
    return sorted((shapes[task] / folder).glob("*.png"))


def assert_same(found, expected, tolerance=0.0) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, Segmentation):
        assert np.array_equal(found.classes, expected.classes)
        return
    assert len(found) == len(expected)
    assert np.array_equal(found.labels, expected.labels)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=tolerance, rtol=0)
    np.testing.assert_allclose(found.scores, expected.scores, atol=tolerance, rtol=0)
    assert np.mean(found.masks == expected.masks) >= (1.0 if not tolerance else 0.999)


def test_it_finds_what_the_test_command_finds(predictor, task, models, shapes, tmp_path):
    out = tmp_path / "predictions.pkl"
    command = ["test", *map(str, models[task]), "--data-root", str(shapes[task])]
    loader = ["--cfg-options", "test_dataloader.batch_size=1"]
    assert main([*command, "--work-dir", str(tmp_path / "w"), "--out", str(out), *loader]) == 0
    expected = pickle.loads(out.read_bytes())
    assert len(expected) == 4
    for theirs in expected:
        found = predictor(theirs["img_path"])
        if task == "segmentation":
            assert np.array_equal(found.classes, theirs["pred_sem_seg"]["data"][0].numpy())
            assert len(np.unique(found.classes)) > 1
            continue
        instances = theirs["pred_instances"]
        assert len(found) == len(instances["labels"]) > 0
        assert np.array_equal(found.boxes, instances["bboxes"].numpy())
        assert np.array_equal(found.scores, instances["scores"].numpy())
        assert np.array_equal(found.labels, instances["labels"].numpy())
        masks = [coder.decode(rle).astype(bool) for rle in instances["masks"]]
        assert np.array_equal(found.masks, np.stack(masks))
        assert found.masks.any()


def test_paths_arrays_and_pil_images_are_the_same_picture(predictor, models, task, shapes):
    path = pictures_of(shapes, task)[0]
    expected = predictor(path)
    pixels = cv2.imread(str(path))
    rgb = np.ascontiguousarray(pixels[..., ::-1])
    with Image.open(path) as image:
        for picture in (str(path), rgb, image, image.convert("RGBA")):
            assert_same(predictor(picture), expected)
    opencv = mmconvnext.Predictor(
        *models[task], device="cpu", score_threshold=0.0, channel_order="bgr"
    )
    assert_same(opencv(pixels), expected)
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert_same(predictor(grey), predictor(np.repeat(grey[..., None], 3, axis=2)))
    assert np.array_equal(rgb, pixels[..., ::-1])  # the caller's array stays


def test_a_file_is_turned_as_its_exif_data_ask(predictors, tmp_path):
    path, exif = tmp_path / "turned.jpg", Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((40, 64, 3), np.uint8)).save(path, exif=exif)
    assert cv2.imread(str(path)).shape == (64, 40, 3)
    assert predictors["segmentation"](path).size == (64, 40)
    with Image.open(path) as image:
        assert predictors["segmentation"](image).size == (40, 64)


@pytest.mark.parametrize("change", [{"to_float32": True}, {"color_type": "grayscale"}])
def test_whatever_the_pipeline_loads_can_be_painted_on(models, shapes, change):
    cfg = Config.fromfile(models["segmentation"][0])
    cfg.test_dataloader.dataset.pipeline[0].update(change)
    predictor = mmconvnext.Predictor(cfg, models["segmentation"][1], device="cpu")
    path = pictures_of(shapes, "segmentation")[0]
    rgb = predictor.prepare(path).rgb
    flag = cv2.IMREAD_GRAYSCALE if "color_type" in change else cv2.IMREAD_COLOR
    expected = np.atleast_3d(cv2.imread(str(path), flag))[..., ::-1]
    assert rgb.dtype == np.uint8 and rgb.shape == (64, 64, 3)
    assert np.array_equal(rgb, np.broadcast_to(expected, rgb.shape))


def test_threads_get_what_one_thread_gets(predictor, task, shapes):
    pictures = pictures_of(shapes, task) * 2
    expected = [predictor(picture) for picture in pictures]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(predictor, pictures))
    for ours, theirs in zip(found, expected, strict=True):
        assert_same(ours, theirs)


def test_in_a_batch_a_picture_gets_what_it_gets_alone(predictor, task, shapes):
    pictures = [cv2.imread(str(path)) for path in pictures_of(shapes, task)]
    pictures[1] = np.ascontiguousarray(pictures[1][:40])
    pictures[3] = np.ascontiguousarray(pictures[3][:40, ::-1])
    batched = predictor.batch(pictures)
    assert [found.size for found in batched] == [(64, 64), (40, 64), (64, 64), (40, 64)]
    for found, picture in zip(batched, pictures, strict=True):
        assert_same(found, predictor(picture), tolerance=1e-3)
    assert predictor.batch([]) == []


def test_fused_and_compiled_it_finds_the_same(predictor, task, models, shapes):
    path = pictures_of(shapes, task)[0]
    expected = predictor(path)
    fused = mmconvnext.Predictor(*models[task], device="cpu", score_threshold=0.0, fuse=True)
    assert type(fused.model.backbone).__name__ == "FusedConvNeXt"
    found = fused(path)
    if task == "segmentation":
        assert np.mean(found.classes == expected.classes) > 0.99
    else:
        assert abs(len(found) - len(expected)) <= 1
        np.testing.assert_allclose(found.scores[0], expected.scores[0], atol=1e-3)


def test_below_the_threshold_nothing_is_left(models, predictors, shapes):
    every = predictors["detection"](pictures_of(shapes, "detection")[0])
    threshold = float(np.sort(every.scores)[len(every) // 2])
    some = mmconvnext.Predictor(*models["detection"], device="cpu", score_threshold=threshold)(
        pictures_of(shapes, "detection")[0]
    )
    assert len(some) == int((every.scores >= threshold).sum())
    assert 0 < len(some) < len(every) and len(some.masks) == len(some)


def test_detections_are_plain_data(predictors, shapes):
    found = predictors["detection"](pictures_of(shapes, "detection")[0])
    assert isinstance(found, Detections) and found.size == (64, 64)
    assert (found.boxes.dtype, found.scores.dtype) == (np.float32, np.float32)
    assert found.labels.dtype == np.int64 and found.masks.dtype == bool
    assert found.masks.shape == (len(found), 64, 64) and found.boxes.shape == (len(found), 4)
    assert found.class_names == ("circle", "square", "triangle")
    assert found.names == [found.class_names[label] for label in found.labels]
    again = pickle.loads(pickle.dumps(found))
    assert np.array_equal(again.masks, found.masks)
    with pytest.raises(AttributeError):
        found.boxes = None
    module_of = {type(value).__module__.partition(".")[0] for value in vars(found).values()}
    assert module_of <= {"builtins", "numpy"}


def test_without_masks_there_are_none(tiny_config, tmp_path, shapes):
    config = tiny_config("detection")
    predictor = mmconvnext.Predictor(
        config, save_model(config, tmp_path / "boxes.pth"), device="cpu", score_threshold=0.0
    )
    found = predictor(pictures_of(shapes, "detection")[0])
    assert len(found) and found.rles is None and found.masks is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"no picture at all", "cannot be read"), (None, "No such file")],
)
def test_a_file_that_is_no_picture_is_named(predictors, tmp_path, content, reason):
    path = tmp_path / "bad.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PictureError, match=reason) as caught:
        predictors["segmentation"](path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_picture_that_ends_too_early_is_named(predictors, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = cv2.imencode(".jpg", noise)[1].tobytes()
    path = tmp_path / "cut.jpg"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PictureError, match=r"cut\.jpg cannot be read: .*truncated"):
        predictors["segmentation"](path)


@pytest.mark.parametrize(
    ("picture", "error", "said"),
    [
        (np.zeros((8, 8, 3)), ValueError, "float64"),
        (np.zeros((8, 8, 4), np.uint8), ValueError, r"\(8, 8, 4\)"),
        (np.zeros((0, 8, 3), np.uint8), ValueError, r"\(0, 8, 3\)"),
        (torch.zeros(3, 8, 8), TypeError, "Tensor"),
    ],
)
def test_what_is_no_picture_is_refused(predictors, picture, error, said):
    with pytest.raises(error, match=said):
        predictors["segmentation"](picture)


def test_another_models_checkpoint_is_refused(models):
    with pytest.raises(CheckpointError, match="of another network"):
        mmconvnext.Predictor(models["detection"][0], models["segmentation"][1], device="cpu")
    with pytest.raises(CheckpointError, match=r"no_such\.pth"):
        mmconvnext.Predictor(models["detection"][0], "no_such.pth", device="cpu")


def test_a_config_without_classes_says_what_to_set(models):
    cfg = Config.fromfile(models["segmentation"][0])
    del cfg.test_dataloader.dataset["metainfo"]
    with pytest.raises(DataError, match="metainfo"):
        mmconvnext.Predictor(cfg, models["segmentation"][1], device="cpu")


def test_a_config_that_was_read_stays_as_it_is(models):
    cfg = Config.fromfile(models["segmentation"][0])
    before = cfg.pretty_text
    mmconvnext.Predictor(cfg, models["segmentation"][1], device="cpu")
    assert cfg.pretty_text == before


def test_the_package_is_imported_without_what_predicting_needs():
    code = (
        "import sys, mmconvnext; "
        "print([m for m in ('mmengine.runner', 'cv2', 'mmdet') if m in sys.modules]); "
        "mmconvnext.Predictor; "
        "print([m for m in ('mmdet', 'mmseg', 'matplotlib.pyplot') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ)
    )
    first, second = answer.stdout.strip().splitlines()
    assert first == "[]", answer.stdout + answer.stderr
    assert "mmdet" not in second and "mmseg" not in second


def test_only_what_is_there_can_be_asked_for():
    with pytest.raises(AttributeError, match="no_such"):
        mmconvnext.no_such  # noqa: B018
