"""Pictures prepared inside an exported graph, against the pipelines that it stands for."""

from __future__ import annotations

import mmcv
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmconvnext import Predictor
from mmconvnext.export.errors import ExportError
from mmconvnext.export.preparation import Preparation, Prepare, read_preparation

PLAIN = Preparation((0.0,) * 3, (1.0,) * 3, "rgb", 1, None, False, ())


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = mmcv.imresize(rng.integers(0, 256, (9, 9, 3), np.uint8), (width, height))
    return (smooth + rng.integers(-20, 20, smooth.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(60, 90), (200, 120), (333, 500), (1, 7), (427, 640)])
@pytest.mark.parametrize("scale", [(96, 96), (1333, 800), (64, 128)])
def test_sizes_are_mmcvs(size, scale):
    expected = mmcv.rescale_size(size[::-1], scale)
    settings = Preparation((0.0,) * 3, (1.0,) * 3, "rgb", 1, scale, True, ())
    found = Prepare(settings)(torch.zeros(1, *size, 3, dtype=torch.uint8))
    assert tuple(found.shape[:1:-1]) == expected


@pytest.mark.parametrize("size", [(60, 90), (200, 120), (192, 192)])
def test_pixels_are_opencvs_to_one_grey_level(size):
    image = picture(*size)
    expected = mmcv.imrescale(image, (96, 96)).astype(np.float32)
    settings = Preparation((0.0,) * 3, (1.0,) * 3, "rgb", 1, (96, 96), True, ())
    found = Prepare(settings)(torch.from_numpy(image)[None])[0].permute(1, 2, 0).numpy()
    apart = np.abs(found - expected)
    assert apart.max() <= 1
    # OpenCV 5 cuts off where it should round: its grey levels are an eighth too low in the mean.
    assert (apart == 0).mean() > 0.85


def test_channels_are_brought_into_order_and_normalised():
    image = torch.arange(12, dtype=torch.uint8).view(1, 2, 2, 3)
    settings = Preparation((1.0, 2.0, 3.0), (2.0, 4.0, 8.0), "bgr", 1, None, False, ())
    found = Prepare(settings)(image)
    blue, green, red = (image[0, ..., c].float() for c in (2, 1, 0))
    torch.testing.assert_close(
        found[0],
        torch.stack([blue - 1, green - 2, red - 3]) / torch.tensor([2.0, 4.0, 8.0])[:, None, None],
    )


def test_it_is_what_the_configs_pipeline_and_preprocessor_make(models, task):
    config, checkpoint = models[task]
    predictor = Predictor(config, checkpoint, device="cpu")
    image = picture(64, 64)
    packed = predictor.prepare(image).packed
    batch = {"inputs": [packed["inputs"]], "data_samples": [packed["data_samples"]]}
    expected = predictor.model.data_preprocessor(batch)["inputs"]
    found = Prepare(read_preparation(Config.fromfile(config)))(torch.from_numpy(image)[None])
    assert found.shape == expected.shape
    # One grey level of the smallest deviation.
    assert (found - expected).abs().max() < 1.01 / 57


def test_steps_that_are_not_known_are_named():
    cfg = Config(
        dict(
            model=dict(data_preprocessor=dict(mean=[1.0], std=[2.0], bgr_to_rgb=True)),
            test_dataloader=dict(
                dataset=dict(
                    pipeline=[
                        dict(type="LoadImageFromFile"),
                        dict(type="mmdet.Resize", scale_factor=0.5),
                        dict(type="CenterCrop"),
                        dict(type="PackDetInputs"),
                    ]
                )
            ),
        )
    )
    settings = read_preparation(cfg)
    assert settings.channel_order == "rgb" and settings.mean == (1.0,)
    with pytest.raises(ExportError, match="found CenterCrop, Resize too; export with --preproc"):
        Prepare(settings)


def test_without_a_size_pictures_stay_as_they_are():
    image = torch.from_numpy(picture(5, 6))[None]
    assert torch.equal(Prepare(PLAIN)(image), image.permute(0, 3, 1, 2).float())
