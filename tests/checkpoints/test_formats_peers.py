"""Files that other packages save: built by them, they load here and give their feature maps."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import save_file
from sample_peers import DINOV3, HUGGING_FACE, TIMM_NAMES, V1, hugging_face, narrow, numbers, timms
from torch import Tensor, nn

from mmconvnext import ConvNeXt
from mmconvnext.backbones.archs import ARCHS, Arch
from mmconvnext.checkpoints.loading import LoadReport, load_pretrained_backbone

TORCHVISION = V1[:4]


def timm_maps(model: nn.Module, image: Tensor) -> list[Tensor]:
    return model.forward_intermediates(image, intermediates_only=True)


def torchvision_maps(model: nn.Module, image: Tensor) -> list[Tensor]:
    maps = []
    for i, layer in enumerate(model.features):
        image = layer(image)
        if i % 2:
            maps.append(image)
    return maps


def hugging_face_maps(model: nn.Module, image: Tensor) -> list[Tensor]:
    states = model(image, output_hidden_states=True).hidden_states
    return [state for state in states if state.ndim == 4][-4:]


@pytest.fixture
def image() -> Tensor:
    return torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def free_memory() -> Iterator[None]:
    yield
    gc.collect()


def normalised(x: Tensor, eps: float = 1e-6) -> Tensor:
    """What a fresh output norm makes of (N, C, H, W)."""
    return F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), eps=eps).permute(0, 3, 1, 2)


def loaded(file: Path, arch: Arch, use_grn: bool, eps: float = 1e-6) -> tuple[ConvNeXt, LoadReport]:
    with torch.device("meta"):
        net = ConvNeXt(arch._asdict(), use_grn=use_grn, norm_cfg={"type": "LN2d", "eps": eps})
    net.to_empty(device="cpu")
    for name, value in net.named_parameters():
        nn.init.constant_(value, float(name.startswith("norm") and name.endswith("weight")))
    return net.eval(), load_pretrained_backbone(net, str(file))


def check(
    model: nn.Module,
    maps: Callable[[nn.Module, Tensor], list[Tensor]],
    image: Tensor,
    file: Path,
    arch: Arch,
    use_grn: bool = False,
    eps: float = 1e-6,
) -> LoadReport:
    weights = model.state_dict()
    save_file(weights, file) if file.suffix == ".safetensors" else torch.save(weights, file)
    del weights
    with torch.no_grad():
        expected = [normalised(feature, eps) for feature in maps(model, image)]
        del model
        net, report = loaded(file, arch, use_grn, eps)
        found = net(image)
    assert len(found) == len(expected) == 4
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    file.unlink()
    return report


def check_report(report: LoadReport, format_: str, dropped: dict[str, int]) -> None:
    assert report.format == format_
    assert {reason: len(keys) for reason, keys in report.dropped.items()} == dropped
    assert len(report.afresh) == 8 and all(key.startswith("norm") for key in report.afresh)


CLASSIFIER_FILE = {"norm before the classifier": 2, "classifier": 2}


def test_every_block_shows_in_the_maps(image: Tensor) -> None:
    model = numbers(timms("convnext_tiny", "tiny"))
    with torch.no_grad():
        before = timm_maps(model, image)[-1]
        for i, stage in enumerate(model.stages):
            for block in stage.blocks:
                weight = block.mlp.fc2.weight
                kept = weight.clone()
                weight[:] = weight.flip(0)
                after = timm_maps(model, image)[-1]
                weight[:] = kept
                assert (normalised(after) - normalised(before)).abs().max() > 1e-2, i


@pytest.mark.parametrize("name", TIMM_NAMES)
def test_timm(name: str, image: Tensor, tmp_path: Path) -> None:
    size, use_grn = name.rpartition("_")[2], "v2" in name
    model, eps = numbers(timms(name, size)), 1e-5 if size == "xxlarge" else 1e-6
    file = tmp_path / "w.safetensors"
    report = check(model, timm_maps, image, file, narrow(size), use_grn, eps)
    check_report(report, "timm", CLASSIFIER_FILE)


@pytest.mark.parametrize("size", TORCHVISION)
def test_torchvision(size: str, image: Tensor, tmp_path: Path) -> None:
    with torch.device("meta"):
        model = getattr(torchvision.models, f"convnext_{size}")()
    report = check(numbers(model), torchvision_maps, image, tmp_path / "w.pth", ARCHS[size])
    check_report(report, "torchvision", CLASSIFIER_FILE)


@pytest.mark.parametrize(("family", "size"), HUGGING_FACE)
def test_transformers(family: str, size: str, image: Tensor, tmp_path: Path) -> None:
    with torch.device("meta"):
        model = hugging_face(family, size)
    file = tmp_path / "pytorch_model.bin"
    use_grn = family == "ConvNextV2"
    report = check(numbers(model), hugging_face_maps, image, file, narrow(size), use_grn)
    check_report(report, "transformers", {"norm before the classifier": 2})


def prefixed(weights: dict[str, Tensor], prefix: str, **others: Tensor) -> dict[str, Tensor]:
    return {f"{prefix}{key}": value for key, value in weights.items()} | others


@pytest.mark.parametrize(
    ("name", "size", "dropped"),
    [
        ("convnext_large_mlp", "large", {"norm before the classifier": 2, "classifier": 4}),
        # Its norm before the classifier is `norm_pre`, before pooling.
        ("convnext_tiny_hnf", "tiny", {"not part of the backbone": 2, "classifier": 2}),
    ],
)
def test_timms_other_heads(
    name: str, size: str, dropped: dict[str, int], image: Tensor, tmp_path: Path
) -> None:
    model = numbers(timms(name, size))
    report = check(model, timm_maps, image, tmp_path / "w.pth", narrow(size))
    check_report(report, "timm", dropped)


def check_weights(
    weights: dict[str, Tensor], expected: list[Tensor], image: Tensor, file: Path, size: str
) -> LoadReport:
    """As check, of weights that are not a model's own."""
    torch.save(weights, file)
    net, report = loaded(file, narrow(size), False)
    with torch.no_grad():
        for ours, theirs in zip(net(image), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    return report


def test_openclip(image: Tensor, tmp_path: Path) -> None:
    model = timm.create_model("convnext_atto")
    with torch.no_grad():
        maps = [normalised(x) for x in timm_maps(numbers(model), image)]
    others = {"visual.head.proj.weight": torch.ones(2, 2), "token_embedding.weight": torch.ones(3)}
    weights = prefixed(model.state_dict(), "visual.trunk.", **others, logit_scale=torch.ones(()))
    report = check_weights(weights, maps, image, tmp_path / "open_clip_pytorch_model.bin", "atto")
    check_report(
        report,
        "timm",
        {"norm before the classifier": 2, "classifier": 3, "not part of the backbone": 2},
    )


def test_timm_features_only(image: Tensor, tmp_path: Path) -> None:
    model = numbers(timm.create_model("convnext_atto", features_only=True))
    report = check(
        model, lambda model, image: model(image), image, tmp_path / "w.pth", ARCHS["atto"]
    )
    check_report(report, "timm, features only", {})


def test_transformers_classifier_and_backbone(image: Tensor, tmp_path: Path) -> None:
    classifier = numbers(hugging_face("ConvNextV2", "atto", kind="ForImageClassification"))
    report = check(
        classifier,
        hugging_face_maps,
        image,
        tmp_path / "pytorch_model.bin",
        ARCHS["atto"],
        use_grn=True,
    )
    check_report(report, "transformers", CLASSIFIER_FILE)
    stages = [f"stage{i}" for i in (1, 2, 3, 4)]
    backbone = numbers(hugging_face("ConvNext", "tiny", kind="Backbone", out_features=stages))
    with torch.no_grad():
        maps = list(backbone(image).feature_maps)
    report = check_weights(backbone.state_dict(), maps, image, tmp_path / "w.bin", "tiny")
    assert (report.dropped, report.afresh) == ({}, ())


@pytest.mark.parametrize("size", DINOV3)
@pytest.mark.parametrize("prefix", ["model.", ""], ids=["transformers 5", "published"])
def test_transformers_dinov3(size: str, prefix: str, image: Tensor, tmp_path: Path) -> None:
    with torch.device("meta"):
        model = hugging_face("DINOv3ConvNext", size)
    numbers(model)
    file = tmp_path / "model.safetensors"
    weights = {f"{prefix}{key.removeprefix('model.')}": v for key, v in model.state_dict().items()}
    norm = model.layer_norm  # stands beside the model, not in it
    for key, value in norm.state_dict().items():
        weights.pop(f"{prefix}layer_norm.{key}")
        weights[f"layer_norm.{key}"] = value
    save_file(weights, file)
    net, report = loaded(file, narrow(size), False)
    file.unlink()
    assert report.format == "transformers, DINOv3" and not report.dropped
    assert len(report.afresh) == 6
    with torch.no_grad():
        *expected, last = hugging_face_maps(model, image)
        expected = [normalised(feature) for feature in expected]
        expected.append(norm(last.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        for ours, theirs in zip(net(image), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
