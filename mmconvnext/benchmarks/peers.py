"""The other ConvNeXts, each with the weights of one of ours and checked to give the same maps.

Of the authors' code only what the user points at is run; nothing of it is part of this package.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmconvnext.backbones import ConvNeXt
from mmconvnext.benchmarks.timing import Row
from mmconvnext.checkpoints.formats import FORMATS
from mmconvnext.checkpoints.translating import from_native

MMPRETRAIN, AUTHORS = "mmpretrain", "the authors' code"
CODE = Path("models", "convnext.py")  # in a checkout of facebookresearch/ConvNeXt
_TOLERANCE = 1e-4  # of normalised maps
_SMALL = (1, 3, 64, 64)


def peer_networks(
    ours: ConvNeXt, arch: str = "tiny", drop_path: float = 0.0, authors: Path | None = None
) -> tuple[dict[str, nn.Module], list[Row]]:
    """All peers that are there, in eval mode; and rows for the others, which say why.

    Args:
        ours: whose weights they get. It has layer scale and gives out all four stages.
        arch: its name, ``tiny`` or ``xlarge``.
        drop_path: rate of the last block, in training.
        authors: checkout of the authors' repository, whose code is executed.

    Raises:
        RuntimeError: a peer gives other maps.
    """
    found: dict[str, nn.Module] = {}
    missing = []
    for name, (build, layout) in _PEERS.items():
        try:
            network = build(ours, arch, drop_path)
        except Exception as error:  # mmpretrain beside other packages breaks in many ways
            missing.append(Row(name, note=_reason(name, error)))
            continue
        found[name] = _alike(name, network, layout, ours)
    if authors is None:
        missing.append(Row(AUTHORS, note="--authors DIR: a checkout of facebookresearch/ConvNeXt"))
        return found, missing
    try:
        network = _authors(authors, ours, drop_path)
    except ImportError as error:  # it needs timm
        return found, [*missing, Row(AUTHORS, note=_reason(AUTHORS, error))]
    return found | {AUTHORS: _alike(AUTHORS, network, "the authors'", ours)}, missing


def mmpretrains(ours: nn.Module, **options: Any) -> nn.Module:
    """mmpretrain's ConvNeXt-T as detectors and segmentors use it, with the weights of ours.

    Raises:
        ImportError, TypeError, …: it does not start here.
        RuntimeError: it gives other maps.
    """
    return _alike(MMPRETRAIN, _mmpretrain(ours, "tiny", 0.0, **options), MMPRETRAIN, ours)


def missing_mmpretrain(name: str, error: Exception) -> Row:
    """The row of a candidate that needs mmpretrain, which failed with ``error``."""
    return Row(name, note=_reason(MMPRETRAIN, error))


def _reason(name: str, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name == name:
        return f"{name} is not installed"
    return f"{name} cannot be imported: {error}"


def _alike(name: str, network: nn.Module, layout: str, ours: nn.Module) -> nn.Module:
    _load(network, ours, layout)
    network.eval()  # on its own: mmpretrain's gives nothing back
    _check(name, network, ours)
    return network


def _load(network: nn.Module, ours: nn.Module, layout: str) -> None:
    """Give ``network`` our weights, all of them but norms of the maps that it has not."""
    expected = network.state_dict()
    known = next(known for known in FORMATS if known.name == layout)
    bare = layout != MMPRETRAIN
    weights = {n: v for n, v in ours.state_dict().items() if not (bare and n.startswith("norm"))}
    named = from_native(weights, known)
    # torchvision's layer scale is (C, 1, 1); its features are all we take of it.
    start = "features." if layout == "torchvision" else ""
    named = {key.removeprefix(start): value for key, value in named.items()}
    network.load_state_dict({key: v.reshape(expected[key].shape) for key, v in named.items()})


@torch.no_grad()
def _check(name: str, network: nn.Module, ours: nn.Module) -> None:
    """Compare the last maps, normalised, on a small picture."""
    x = torch.randn(_SMALL, generator=torch.Generator().manual_seed(0))
    training = ours.training
    expected = ours.eval()(x)[-1]
    ours.train(training)
    maps = network(x)
    last = maps[-1] if isinstance(maps, (list, tuple)) else maps
    if name != MMPRETRAIN:  # the others leave that norm to their users
        norm: Any = ours.norm3
        last = F.layer_norm(last.permute(0, 2, 3, 1), last.shape[1:2], norm.weight, norm.bias, 1e-6)
        last = last.permute(0, 3, 1, 2)
    difference = (last - expected).abs().max().item()
    if not difference <= _TOLERANCE:
        raise RuntimeError(
            f"{name}: expected maps within {_TOLERANCE:g} of ours, found {difference:g} with the "
            "same weights; that comparison would be of no use"
        )


def _timm(ours: ConvNeXt, arch: str, drop_path: float) -> nn.Module:
    from timm.models import convnext

    # Not by its name: the authors' file, once executed, has put its own network under it.
    build: Callable[..., nn.Module] = getattr(convnext, f"convnext_{arch}")
    return build(features_only=True, drop_path_rate=drop_path)


def _torchvision(ours: ConvNeXt, arch: str, drop_path: float) -> nn.Module:
    from torchvision.models.convnext import CNBlockConfig
    from torchvision.models.convnext import ConvNeXt as Theirs

    rows = zip(ours.channels, (*ours.channels[1:], None), ours.depths, strict=True)
    setting = [CNBlockConfig(*row) for row in rows]  # it has names up to L only
    return Theirs(setting, stochastic_depth_prob=drop_path, num_classes=1).features


def _mmpretrain(ours: nn.Module, arch: str, drop_path: float, **options: Any) -> nn.Module:
    from mmpretrain.models.backbones import ConvNeXt as Theirs

    settings = {"out_indices": (0, 1, 2, 3), "gap_before_final_norm": False, **options}
    return Theirs(arch, drop_path_rate=drop_path, layer_scale_init_value=1.0, **settings)


_PEERS: dict[str, tuple[Callable[[ConvNeXt, str, float], nn.Module], str]] = {
    "timm": (_timm, "timm, features only"),
    "torchvision": (_torchvision, "torchvision"),
    MMPRETRAIN: (_mmpretrain, MMPRETRAIN),
}


class _Stages(nn.Module):
    """The stages of the authors' classifier; their own forward pass gives one vector."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.downsample_layers, self.stages = network.downsample_layers, network.stages

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for downsample, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(downsample(x))
            maps.append(x)
        return maps


def _authors(folder: Path, ours: ConvNeXt, drop_path: float) -> nn.Module:
    sizes = {"depths": list(ours.depths), "dims": list(ours.channels)}
    network = _executed(folder / CODE).ConvNeXt
    return _Stages(network(**sizes, drop_path_rate=drop_path, layer_scale_init_value=1.0))


@cache
def _executed(file: Path) -> Any:
    spec = spec_from_file_location("authors_convnext", file)
    assert spec is not None and spec.loader is not None  # it ends in .py
    module = sys.modules[spec.name] = module_from_spec(spec)  # timm's register_model looks there
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it registers names that timm has, from old places
        spec.loader.exec_module(module)
    return module
