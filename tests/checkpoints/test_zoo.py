"""The names of published weights, and what reading one by name does."""

from __future__ import annotations

import pytest
import torch

from mmconvnext import ConvNeXt
from mmconvnext.backbones.archs import ARCHS
from mmconvnext.checkpoints.loading import load_pretrained_backbone
from mmconvnext.checkpoints.reading import CheckpointError, read_checkpoint
from mmconvnext.checkpoints.zoo import WEIGHTS

BASE = "https://dl.fbaipublicfiles.com/convnext/"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("name", "address", "licence"),
    [
        ("convnext_tiny_1k_224_ema", f"{BASE}convnext_tiny_1k_224_ema.pth", "MIT"),
        ("convnext_base_1k_224", f"{BASE}convnext_base_1k_224.pth", "MIT"),
        ("convnext_large_1k_384", f"{BASE}convnext_large_1k_384.pth", "MIT"),
        ("convnext_xlarge_22k_224", f"{BASE}convnext_xlarge_22k_224.pth", "MIT"),
        ("convnext_xlarge_22k_1k_384_ema", f"{BASE}convnext_xlarge_22k_1k_384_ema.pth", "MIT"),
        (
            "convnextv2_huge_1k_224_fcmae",
            f"{BASE}convnextv2/pt_only/convnextv2_huge_1k_224_fcmae.pt",
            "CC BY-NC 4.0",
        ),
        (
            "convnextv2_atto_1k_224_ema",
            f"{BASE}convnextv2/im1k/convnextv2_atto_1k_224_ema.pt",
            "CC BY-NC 4.0",
        ),
        (
            "convnextv2_huge_22k_512_ema",
            f"{BASE}convnextv2/im22k/convnextv2_huge_22k_512_ema.pt",
            "CC BY-NC 4.0",
        ),
        ("dinov3_convnext_large", None, "DINOv3 License"),
    ],
)
def test_names_lead_to_the_published_files(name, address, licence) -> None:
    weights = WEIGHTS[name]
    assert (weights.address, weights.licence) == (address, licence)
    assert weights.use_grn == name.startswith("convnextv2")


def test_every_name_is_of_a_known_architecture() -> None:
    assert len(WEIGHTS) == 24 + 26 + 4
    assert {weights.arch for weights in WEIGHTS.values()} == set(ARCHS)
    assert all(weights.arch in name for name, weights in WEIGHTS.items())


def test_a_name_is_read_from_the_cache(cache) -> None:
    torch.save({"model": {"a": torch.ones(1)}}, cache / "convnext_tiny_1k_224.pth")
    assert read_checkpoint("convnext_tiny_1k_224")["model"]["a"] == 1


@pytest.mark.parametrize("name", ["convnext_tiny_22k", "convnext_large_22k_1k"])
def test_the_usual_size_may_be_left_out(cache, name) -> None:
    torch.save({"model": {"a": torch.ones(1)}}, cache / f"{name}_224.pth")
    assert read_checkpoint(name)["model"]["a"] == 1


def test_a_backbone_starts_from_a_name(cache) -> None:
    arch = dict(depths=[1, 1, 1, 1], channels=[4, 8, 16, 32])
    saved = ConvNeXt(arch)
    file = cache / WEIGHTS["dinov3_convnext_small"].file
    torch.save(saved.state_dict(), file)
    init_cfg = dict(type="Pretrained", checkpoint="dinov3_convnext_small")
    loaded = ConvNeXt(arch, init_cfg=init_cfg)
    loaded.init_weights()
    for key, value in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key
    report = load_pretrained_backbone(loaded, "dinov3_convnext_small")
    assert "; their licence: DINOv3 License" in str(report)
    assert "licence" not in str(load_pretrained_backbone(loaded, str(file)))


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"mine": torch.ones(1)}, "convnext_tiny_1k_224")
    assert set(read_checkpoint("convnext_tiny_1k_224")) == {"mine"}


def test_a_file_that_its_holder_sends_is_asked_for(cache) -> None:
    with pytest.raises(CheckpointError) as error:
        read_checkpoint("dinov3_convnext_tiny")
    said = str(error.value)
    assert "Meta sends the file after a request at https://ai.meta.com/" in said
    assert str(cache / "dinov3_convnext_tiny_pretrain_lvd1689m-21b726bb.pth") in said


def test_a_slip_in_a_name_is_told_with_near_ones() -> None:
    with pytest.raises(CheckpointError, match="did you mean convnext_tiny_1k_224"):
        read_checkpoint("convnext_tiny_1k_244")
