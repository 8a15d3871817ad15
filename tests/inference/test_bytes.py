"""A picture's bytes are the picture: the same pixels and errors as of its file."""

from __future__ import annotations

import io

import numpy as np
import pytest
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.registry import TRANSFORMS
from PIL import Image

import mmconvnext
from mmconvnext.inference.pictures import PictureError


@TRANSFORMS.register_module(force=True)
class LoadUpsideDown(BaseTransform):
    """A first step of a user's own, which takes files only."""

    def transform(self, results: dict) -> dict:
        with Image.open(results["img_path"]) as image:
            pixels = np.ascontiguousarray(np.asarray(image.convert("RGB"))[::-1, :, ::-1])
        return {**results, "img": pixels, "img_shape": pixels.shape, "ori_shape": pixels.shape}


def encoded(kind: str = "JPEG", **options) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(exif=exif)


@pytest.fixture(scope="module")
def predictor(models) -> mmconvnext.Predictor:
    return mmconvnext.Predictor(*models["segmentation"], device="cpu")


@pytest.mark.parametrize("content", [encoded(), encoded("PNG"), turned()])
@pytest.mark.parametrize("change", [{}, {"to_float32": True}, {"color_type": "unchanged"}])
def test_bytes_give_what_their_file_gives(models, tmp_path, content, change):
    cfg = Config.fromfile(models["segmentation"][0])
    cfg.test_dataloader.dataset.pipeline[0].update(change)
    predictor = mmconvnext.Predictor(cfg, models["segmentation"][1], device="cpu")
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    of_file, of_bytes = predictor.prepare(path), predictor.prepare(content)
    assert np.array_equal(of_file.pixels, of_bytes.pixels)
    assert of_file.pixels.dtype == of_bytes.pixels.dtype
    assert np.array_equal(of_file.packed["inputs"], of_bytes.packed["inputs"])
    assert np.array_equal(predictor(path).classes, predictor(content).classes)
    upright = content != turned() or "color_type" in change
    assert of_bytes.size == ((48, 64) if upright else (64, 48))


def test_a_step_of_the_users_own_gets_a_file(models, tmp_path):
    cfg = Config.fromfile(models["segmentation"][0])
    cfg.test_dataloader.dataset.pipeline[0] = dict(type="mmengine.LoadUpsideDown")
    predictor = mmconvnext.Predictor(cfg, models["segmentation"][1], device="cpu")
    path = tmp_path / "picture.png"
    path.write_bytes(encoded("PNG"))
    expected = predictor.prepare(path).pixels
    assert np.array_equal(predictor.prepare(encoded("PNG")).pixels, expected)
    with pytest.raises(PictureError, match="truncated"):
        predictor.prepare(encoded()[:1000])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (encoded()[:1000], "truncated"),
        (b"", "the file is empty"),
        (b"no picture at all", "the decoder knows no such format"),
    ],
)
def test_bytes_that_are_no_whole_picture_are_refused_as_the_file_is(
    predictor, tmp_path, content, said
):
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    with pytest.raises(PictureError):
        predictor(path)
    with pytest.raises(PictureError, match=f"^picture of {len(content):,} bytes .*{said}"):
        predictor(content)
