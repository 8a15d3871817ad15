"""Tiny networks' weights in the layouts that lie about, written and compared."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mmconvnext.backbones import ConvNeXt
from mmconvnext.checkpoints.formats import FORMATS, Format
from mmconvnext.checkpoints.reading import CheckpointError
from mmconvnext.checkpoints.translating import from_native
from mmconvnext.cli.main import main

DEPTHS, CHANNELS = [1, 2, 3, 1], [4, 8, 12, 16]
TINY = {"depths": DEPTHS, "channels": CHANNELS}
TIMM_CLASSIFIER = ("head.norm.weight", "head.norm.bias", "head.fc.weight", "head.fc.bias")
FCMAE = next(known for known in FORMATS if known.name == "FCMAE")
WITH_GRN = ("FCMAE", "the authors'", "timm", "timm, features only", "transformers")
NORMS = {"the authors'": (0, 1, 2, 3), "mmpretrain": (0, 1, 2, 3), "transformers": (0, 1, 2, 3)}


def randomised(net: nn.Module, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    for param in net.parameters():
        nn.init.normal_(param, std=0.3)
    return net.eval()


def network(seed: int = 0, **kwargs) -> ConvNeXt:
    return randomised(ConvNeXt(TINY, **kwargs), seed)


def sparse(name: str, value: Tensor) -> tuple[str, Tensor]:
    """Our weight as FCMAE's sparse encoder has it: norms and linear layers wrapped once more, the
    kernels' positions first, column by column. The stem is dense."""
    if name.startswith("downsample_layers.0.") or "grn" in name:
        return name, value
    if value.ndim == 4:
        kernel = value.transpose(-1, -2).flatten(2).permute(2, 1, 0)
        return name.replace("weight", "kernel"), kernel[:, 0] if value.shape[1] == 1 else kernel
    name = re.sub(r"(norm|downsample_layers\.\d\.0)\.", r"\1.ln.", name)
    return re.sub(r"(pwconv\d)\.", r"\1.linear.", name), value


def foreign(weights: dict[str, Tensor], known: Format) -> dict[str, Tensor]:
    """Our weights as that format has them, without the norms for which it has no name."""
    kept = NORMS.get(known.name, (3,) if "DINOv3" in known.name else ())
    named = {
        key: value
        for key, value in weights.items()
        if not key.startswith("norm") or int(key[4]) in kept
    }
    if known is FCMAE:
        return dict(sparse(key, value) for key, value in named.items())
    return from_native(named, known)


def run(*argv: object) -> int:
    return main(["convert-checkpoint", *map(str, argv)])


def weights_in(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    content = torch.load(path, weights_only=True)
    return content.get("state_dict", content.get("model"))


def write(path: Path, weights: dict[str, Tensor], **more: object) -> Path:
    if path.suffix == ".safetensors":
        save_file({key: value.contiguous() for key, value in weights.items()}, path)
    else:
        torch.save({"state_dict": weights, **more}, path)
    return path


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == value.dtype, key
        torch.testing.assert_close(found[key], value, rtol=0, atol=0, equal_nan=True, msg=key)


def maps(net: ConvNeXt) -> tuple[Tensor, ...]:
    torch.manual_seed(7)
    with torch.no_grad():
        return net(torch.randn(2, 3, 64, 64))


def line(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    return err


def error_of(function: Callable[..., object], *args: object) -> str:
    """The message, on one line, of the CheckpointError that a call raises."""
    with pytest.raises(CheckpointError) as error:
        function(*args)
    assert "\n" not in str(error.value)
    return str(error.value)
