"""torchvision's transforms in a pipeline."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from PIL import Image
from torchvision.transforms import v2

import mmconvnext  # noqa: F401
from mmconvnext.classification import RandAugment, Torchvision


@pytest.fixture
def photo(tmp_path) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    return Image.open(tmp_path / "p.png")


def test_a_pipeline_gives_a_normalised_picture_and_its_class(photo, tmp_path):
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    transforms = [
        {"type": "ToImage"},
        {"type": "ToDtype", "dtype": "float32", "scale": True},
        {"type": "Normalize", "mean": mean, "std": std},
    ]
    pipeline = Compose(
        [
            {"type": "mmconvnext.LoadRGB"},
            {"type": "mmconvnext.Torchvision", "transforms": transforms},
            {"type": "mmconvnext.PackClass"},
        ]
    )
    found = pipeline({"img_path": str(tmp_path / "p.png"), "gt_label": 2})
    pixels = np.asarray(photo, dtype=np.float64) / 255
    written = ((pixels - mean) / std).transpose(2, 0, 1)
    assert found["inputs"].shape == (3, 40, 30) and found["inputs"].dtype == torch.float32
    np.testing.assert_allclose(found["inputs"].numpy(), written, atol=1e-5)
    sample = found["data_samples"]
    assert (int(sample.gt_label), sample.img_path) == (2, str(tmp_path / "p.png"))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_pictures_of_every_kind_are_loaded_as_rgb(mode, photo, tmp_path):
    path = tmp_path / ("p.jpg" if mode == "CMYK" else "q.png")
    photo.convert(mode).save(path)
    loaded = Compose([{"type": "mmconvnext.LoadRGB"}])({"img_path": str(path)})["img"]
    assert (loaded.mode, loaded.size) == ("RGB", (30, 40))


def test_magnitudes_are_normal_around_the_papers_nine_and_kept_below_ten():
    torch.manual_seed(0)
    drawn = torch.tensor([RandAugment().draw() for _ in range(4000)])
    assert drawn.max() == 10 and drawn.min() > 6.5
    below = drawn[drawn < 9]  # of the lower half nothing is cut
    assert (below - 9).square().mean().sqrt().item() == pytest.approx(0.5, rel=0.05)
    assert len(below) / len(drawn) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("kind", "magnitude", "written"), [("Rotate", 9, 27.0), ("ShearX", 5, 0.15)]
)
def test_an_operation_is_torchvisions_at_that_share_of_its_strongest(
    kind, magnitude, written, photo, monkeypatch
):
    augment = RandAugment(num_ops=1, magnitude=magnitude, magnitude_std=0.0, p=1.0)
    seen = []
    monkeypatch.setattr(
        augment.one, "_get_random_item", lambda space: (kind, space[kind]), raising=True
    )
    monkeypatch.setattr(
        augment.one,
        "_apply_image_or_video_transform",
        lambda image, name, strength, **_: seen.append((name, strength)) or image,
    )
    augment(photo)
    ((name, strength),) = seen
    assert name == kind and abs(strength) == pytest.approx(written, rel=1e-3)


def test_an_even_chance_decides_whether_an_operation_is_applied(photo, monkeypatch):
    augment = RandAugment()
    calls: list[int] = []
    monkeypatch.setattr(augment.one, "forward", lambda picture: calls.append(1) or picture)
    torch.manual_seed(0)
    for _ in range(500):
        augment(photo)
    assert augment.num_ops == 2 and 440 < len(calls) < 560


def test_what_is_erased_is_noise_of_mean_0_and_deviation_1():
    torch.manual_seed(0)
    step = Torchvision([{"type": "RandomErasing", "p": 0.25, "value": "random"}])
    found = [step({"img": torch.full((3, 32, 32), 9.0)})["img"] for _ in range(400)]
    erased = [picture[picture != 9] for picture in found if (picture != 9).any()]
    assert len(erased) == pytest.approx(100, abs=25)
    noise = torch.cat(erased)
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.std().item() == pytest.approx(1, abs=0.02)


def test_words_become_torchvisions_own_settings():
    step = Torchvision(
        [
            {"type": "Resize", "size": 16, "interpolation": "bicubic"},
            {"type": "ToDtype", "dtype": "float32", "scale": True},
        ]
    )
    resize, to_dtype = step.transform.transforms
    assert resize.interpolation == v2.InterpolationMode.BICUBIC
    assert to_dtype.dtype == torch.float32
    assert "Resize(size=[16]" in repr(step)


@pytest.mark.parametrize(
    ("cfg", "said"),
    [
        ({"type": "RandomErase"}, "torchvision.transforms.v2 has no 'RandomErase'"),
        ({"type": "functional"}, "has no 'functional'"),
        ({}, "has no 'None'"),
        ({"type": "Resize", "sizes": 3}, "Resize: "),
        ({"type": "Resize", "size": 3, "interpolation": "cubic"}, "Resize: 'cubic'"),
        ({"type": "ToDtype", "dtype": "float33"}, "float33"),
        ({"type": "mmconvnext.RandAugment", "magnitude": 11}, "magnitude: expected 0 to 10"),
        ({"type": "mmconvnext.RandAugment", "p": -1}, "p: expected 0 to 1, found -1"),
    ],
)
def test_a_wrong_transform_is_named(cfg, said):
    with pytest.raises(ValueError) as error:
        Torchvision([cfg])
    assert said in str(error.value)
