"""The authors', DINOv3's and mmpretrain's files, of whose keys there are lists in fixtures, against
a forward pass written out over those keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmconvnext import ConvNeXt
from mmconvnext.checkpoints.loading import load_pretrained_backbone

KEYS = Path(__file__).parents[1] / "fixtures" / "keys"
Weights = dict[str, Tensor]


def made_up(name: str) -> Weights:
    """Random weights under the keys of a fixture."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for line in (KEYS / f"{name}.txt").read_text().splitlines()[1:]:
        key, size = line.split()
        shape = [int(number) for number in size.split("x")]
        scale = 0.3 if "gamma" in key or "grn" in key else (3 / max(shape[1:], default=1)) ** 0.5
        weights[key] = (torch.rand(shape, generator=generator) * 2 - 1) * scale
    return weights


def norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """LayerNorm over the channels of (N, C, H, W)."""
    mean = x.mean(1, keepdim=True)
    x = (x - mean) / torch.sqrt((x - mean).square().mean(1, keepdim=True) + 1e-6)
    return x if weight is None else x * weight[:, None, None] + bias[:, None, None]


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.einsum("nchw,dc->ndhw", x, weight) + bias[:, None, None]


def forward(image: Tensor, get: Callable[[str], Tensor], depths: list[int]) -> list[Tensor]:
    """The four stages' outputs; ``get`` gives a dense weight by the authors' name, or None."""
    x, maps = image, []
    for i, depth in enumerate(depths):
        a, b = ("0", "1") if i else ("1", "0")  # the stem's norm comes second
        before = f"downsample_layers.{i}."
        affine = get(f"{before}{a}.weight"), get(f"{before}{a}.bias")
        kernel = get(f"{before}{b}.weight"), get(f"{before}{b}.bias")
        if i:
            x = F.conv2d(norm(x, *affine), *kernel, stride=2)
        else:
            x = norm(F.conv2d(x, *kernel, stride=4), *affine)
        for j in range(depth):
            name = f"stages.{i}.{j}."
            weight = get(f"{name}dwconv.weight")
            y = F.conv2d(x, weight, get(f"{name}dwconv.bias"), padding=3, groups=len(weight))
            y = norm(y, get(f"{name}norm.weight"), get(f"{name}norm.bias"))
            y = F.gelu(linear(y, get(f"{name}pwconv1.weight"), get(f"{name}pwconv1.bias")))
            gain = get(f"{name}grn.gamma")
            if gain is not None:
                size = y.square().sum((2, 3), keepdim=True).sqrt()
                share = size / (size.mean(1, keepdim=True) + 1e-6)
                offset = get(f"{name}grn.beta").reshape(-1, 1, 1)
                y = gain.reshape(-1, 1, 1) * (y * share) + offset + y
            y = linear(y, get(f"{name}pwconv2.weight"), get(f"{name}pwconv2.bias"))
            scale = get(f"{name}gamma")
            x = x + (y if scale is None else y * scale[:, None, None])
        maps.append(x)
    return maps


def plain(weights: Weights, rename: Callable[[str], str] = str) -> Callable[[str], Tensor]:
    return lambda name: weights.get(rename(name))


def mmpretrains(name: str) -> str:
    return "backbone." + name.replace("dwconv", "depthwise_conv").replace(
        "pwconv", "pointwise_conv"
    )


def sparse(weights: Weights) -> Callable[[str], Tensor]:
    """FCMAE's weights as dense ones, tap by tap: number w * size + h of a kernel is (h, w)."""

    def get(name: str) -> Tensor | None:
        key = f"encoder.{name}"
        layer, _, last = key.rpartition(".")
        for found in (key, f"{layer}.ln.{last}", f"{layer}.linear.{last}"):
            if found in weights:
                return weights[found].reshape(-1) if last == "bias" else weights[found]
        kernel = weights.get(f"{layer}.kernel")
        if kernel is None:
            return None
        size = {4: 2, 49: 7}[len(kernel)]
        depthwise = kernel.ndim == 2
        dense = torch.empty(kernel.shape[-1], 1 if depthwise else kernel.shape[1], size, size)
        for h in range(size):
            for w in range(size):
                taps = kernel[w * size + h]
                dense[:, :, h, w] = taps[:, None] if depthwise else taps.T
        return dense

    return get


TINY, ATTO = [3, 3, 9, 3], [2, 2, 6, 2]
REST = "not part of the backbone"
FILES = [
    # fixture, where the weights lie, how to get at them, depths, arch, format, dropped
    ("authors_v1_tiny", "model", plain, TINY, "tiny", "the authors'", 2 + 2),
    ("authors_v2_atto", "model", plain, ATTO, "atto", "the authors'", 2 + 2),
    ("fcmae_atto", "model", sparse, ATTO, "atto", "FCMAE", 1 + 2 + 10 + 2),
    ("dinov3_tiny", None, plain, TINY, "tiny", "the authors'", 2),
    ("mmpretrain_v1_tiny", "state_dict", mmpretrains, TINY, "tiny", "mmpretrain", 2),
    ("mmpretrain_v2_atto", "state_dict", mmpretrains, ATTO, "atto", "mmpretrain", 2),
]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file[0])
def test_a_file_gives_the_feature_maps_of_its_own_network(file, tmp_path: Path) -> None:
    name, place, access, depths, arch, format_, dropped = file
    weights = made_up(name)
    path = tmp_path / "weights.pth"
    torch.save({place: weights} if place else weights, path)
    get = plain(weights, mmpretrains) if access is mmpretrains else access(weights)
    net = ConvNeXt(arch, use_grn=arch == "atto").eval()
    report = load_pretrained_backbone(net, str(path))
    assert report.format == format_
    assert sum(map(len, report.dropped.values())) == dropped
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found, expected = net(image), forward(image, get, depths)
    own_norm = {"dinov3": "norms.3", "mmpretrain": "backbone.norm3"}.get(name.split("_")[0])
    assert len(report.afresh) == (6 if own_norm else 8)
    for i, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        affine = ()
        if i == 3 and own_norm:
            affine = weights[f"{own_norm}.weight"], weights[f"{own_norm}.bias"]
        torch.testing.assert_close(ours, norm(theirs, *affine), rtol=1e-5, atol=1e-5)
