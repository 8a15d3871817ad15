"""A training step of the backbone, forward and backward, beside the peers' on the same input."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from mmconvnext.backbones import ConvNeXt
from mmconvnext.benchmarks.timing import ROUNDS, Row, Table, interleaved

OURS = "mmconvnext"
_DRAWS = 20  # of drop path, whose time depends on what is drawn
_MODES = ("activation", "mlp", "block")


def measure(rounds: int = ROUNDS) -> list[Table]:
    """Without drop path at 1x3x512x512, keeping all and recomputing; with drop path at the
    published rate, batch 2, 256x256, as the mean over 20 draws."""
    return [_plain(rounds), _dropping()]


def training_networks(rate: float = 0.0) -> tuple[dict[str, nn.Module], list[Row]]:
    """Candidates of ConvNeXt-T, and rows for those that are not installed."""
    found: dict[str, nn.Module] = {OURS: _ours(rate)}
    missing = []
    for name, make in (("timm", _timm), ("torchvision", _torchvision), ("mmpretrain", _mmpretrain)):
        try:
            found[name] = make(rate).train()
        except (ImportError, TypeError) as error:  # mmpretrain beside a newer transformers
            missing.append(Row(name, note=f"cannot be imported: {error}"))
    return found, missing


def loss_of(network: nn.Module, x: Tensor) -> Tensor:
    """A number that depends on all maps a network gives."""
    outs: Any = network(x)
    maps = outs if isinstance(outs, (list, tuple)) else [outs]
    return torch.stack([out.float().mean() for out in maps]).sum()


def recomputing() -> dict[str, nn.Module]:
    """Ours with each way to save memory."""
    return {f"{OURS}, recompute={mode!r}": _ours(0.0, recompute=mode) for mode in _MODES}


def _plain(rounds: int) -> Table:
    networks, missing = training_networks()
    more = recomputing()
    x = torch.randn(1, 3, 512, 512)
    steps = {name: _step(network, x) for name, network in {**networks, **more}.items()}
    title = "training step, ConvNeXt-T, 1x3x512x512, fp32, no drop path"
    rows = interleaved(steps, rounds) + missing
    return Table(title, "s", rows, (OURS, *more), target=0.92)


def _dropping() -> Table:
    networks, missing = training_networks(rate=0.4)
    x = torch.randn(2, 3, 256, 256)
    steps = {name: _step(network, x) for name, network in networks.items()}
    title = f"training step, ConvNeXt-T, drop path 0.4, 2x3x256x256, fp32, mean of {_DRAWS} draws"
    rows = [Row(row.name, [fmean(row.values)]) for row in interleaved(steps, _DRAWS)]
    return Table(title, "s", rows + missing, (OURS,), target=0.82)


def _step(network: nn.Module, x: Tensor) -> Callable[[], None]:
    def run() -> None:
        loss_of(network, x).backward()
        network.zero_grad()

    return run


def _ours(rate: float, **options: Any) -> nn.Module:
    options |= {"drop_path_rate": rate, "layer_scale_init_value": 1.0}
    return ConvNeXt("tiny", **options).train()


def _timm(rate: float) -> nn.Module:
    import timm

    return timm.create_model("convnext_tiny", features_only=True, drop_path_rate=rate)


def _torchvision(rate: float) -> nn.Module:
    from torchvision.models import convnext_tiny

    return convnext_tiny(stochastic_depth_prob=rate).features


def _mmpretrain(rate: float) -> nn.Module:
    from mmpretrain.models import ConvNeXt as Theirs

    return Theirs("tiny", drop_path_rate=rate, out_indices=(0, 1, 2, 3))
