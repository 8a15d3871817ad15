"""A training step of the backbone, forward and backward, beside the peers' on the same input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain, cycle
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from mmconvnext.backbones import ConvNeXt
from mmconvnext.benchmarks.peers import MMPRETRAIN, mmpretrains, peer_networks
from mmconvnext.benchmarks.timing import ROUNDS, Row, Table, apart, interleaved

OURS = "mmconvnext"
CHECKPOINTED = f"{MMPRETRAIN}, with_cp"
_DRAWS = 20  # of drop path: what ours takes depends on what is drawn
# Each way to save memory: most of timm's time that a step may take.
_MODES = {"activation": 1.0, "mlp": 1.10, "block": 1.35}
_SIZE = (1, 3, 512, 512)


def measure(rounds: int = ROUNDS, authors: Path | None = None) -> list[Table]:
    """ConvNeXt-T without drop path, in fp32, in bf16 and compiled; T and XL with drop path.

    Args:
        rounds: how often each step is timed; with drop path 20 times, whatever this is.
        authors: checkout of the authors' repository, whose code is executed.
    """
    return [
        apart(plain, rounds, authors),
        apart(in_bfloat16, rounds, authors),
        apart(compiled, rounds, authors),
        apart(dropping, "tiny", 0.4, 256, 0.82, authors),
        apart(dropping, "xlarge", 0.8, 96, 0.65, authors),
    ]


def training_networks(
    arch: str = "tiny", rate: float = 0.0, authors: Path | None = None
) -> tuple[dict[str, nn.Module], list[Row]]:
    """Candidates with the same weights, in training mode, and rows for those that are not there."""
    ours = _ours(arch, drop_path_rate=rate)
    found, missing = peer_networks(ours, arch, rate, authors)
    for network in found.values():
        network.train()
    return {OURS: ours, **found}, missing


def recomputing() -> dict[str, nn.Module]:
    """ConvNeXt-T with each way to save memory, ours and then mmpretrain's if it is there."""
    found: dict[str, nn.Module] = {
        mode_name(mode): _ours("tiny", recompute=mode) for mode in _MODES
    }
    try:
        theirs = mmpretrains(_ours("tiny"), with_cp=True)
    except (ImportError, TypeError):  # its row without with_cp tells
        return found
    theirs.train()
    return found | {CHECKPOINTED: theirs}


def mode_name(mode: str) -> str:
    """What a way to save memory is called in tables."""
    return f"{OURS}, recompute={mode!r}"


def loss_of(network: nn.Module, x: Tensor) -> Tensor:
    """A number that depends on all maps a network gives."""
    outs: Any = network(x)
    maps = outs if isinstance(outs, (list, tuple)) else [outs]
    return torch.stack([out.float().mean() for out in maps]).sum()


def plain(rounds: int = ROUNDS, authors: Path | None = None) -> Table:
    """fp32, eager; with all ways to save memory, whose times are compared with timm's."""
    networks, missing = training_networks(authors=authors)
    more = recomputing()
    rows = interleaved(_steps({**networks, **more}), rounds)
    for mode, target in _MODES.items():
        row = next(row for row in rows if row.name == mode_name(mode))
        row.target, row.against = target, "timm"
    title = f"training step, ConvNeXt-T, {_sized(_SIZE)}, fp32, no drop path"
    return Table(title, "s", rows + missing, (OURS, *more), target=0.92)


def in_bfloat16(rounds: int = ROUNDS, authors: Path | None = None) -> Table:
    """Under autocast, as mixed precision trains."""
    networks, missing = training_networks(authors=authors)
    rows = interleaved(_steps(networks, autocast=True), rounds)
    title = f"training step, ConvNeXt-T, {_sized(_SIZE)}, autocast to bf16, no drop path"
    return Table(title, "s", rows + missing, (OURS,), target=0.92)


def compiled(rounds: int = ROUNDS, authors: Path | None = None) -> Table:
    """All candidates through torch.compile with its defaults; compiling is not timed."""
    from mmconvnext.inference.compiling import CompilerError, check_compiler

    title = f"training step, ConvNeXt-T, {_sized(_SIZE)}, fp32, compiled, no drop path"
    try:
        check_compiler("cpu")
    except CompilerError as error:
        return Table(title, "s", [Row(OURS, note=str(error))], (OURS,), target=0.92)
    networks, missing = training_networks(authors=authors)
    for network in networks.values():
        network.compile()
    rows = interleaved(_steps(networks), rounds)
    return Table(title, "s", rows + missing, (OURS,), target=0.92)


def dropping(arch: str, rate: float, size: int, target: float, authors: Path | None) -> Table:
    """Drop path at the published rate, two pictures, as the mean over 20 seeds.

    The peers compute all samples whatever is drawn, so that only ours depends on the draws. Its
    seeds are those of the first 400 by which it drops closest to what the rates promise.
    """
    networks, missing = training_networks(arch, rate, authors)
    shape = (2, 3, size, size)
    seeds, dropped, promised = _seeds(networks[OURS], shape[0])
    rows = interleaved(_steps(networks, shape, seeds=seeds), len(seeds))
    means = [Row(row.name, [fmean(row.values)]) for row in rows]
    title = (
        f"training step, ConvNeXt-{'T' if arch == 'tiny' else 'XL'}, drop path {rate}, "
        f"{_sized(shape)}, fp32, mean over {len(seeds)} seeds, the same for all: mmconvnext drops "
        f"{dropped:.1%} of the branches, expected {promised:.1%}"
    )
    return Table(title, "s", means + missing, (OURS,), target=target)


def _seeds(ours: nn.Module, samples: int) -> tuple[list[int], float, float]:
    """Seeds; the share of branches they drop, all blocks being alike in work; what is expected."""
    rates = torch.tensor([rate for m in ours.modules() if (rate := _rate(m))])
    blocks = sum(1 for m in ours.modules() if _rate(m) is not None)
    expected = rates.sum().item() / blocks

    def share(seed: int) -> float:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            # As the blocks draw, one after the other, those with a rate only.
            drawn = torch.stack([torch.rand(samples) for _ in rates])
        return (1 - rates[:, None] + drawn < 1).sum().item() / (blocks * samples)

    groups = [range(first, first + _DRAWS) for first in range(0, 400, _DRAWS)]
    means = {group: fmean(map(share, group)) for group in groups}
    best = min(groups, key=lambda group: abs(means[group] - expected))
    return list(best), means[best], expected


def _rate(module: nn.Module) -> float | None:
    rate = getattr(module, "drop_path_rate", None)
    return rate if isinstance(rate, float) else None


def _steps(
    networks: Mapping[str, nn.Module],
    shape: tuple[int, ...] = _SIZE,
    autocast: bool = False,
    seeds: Iterable[int] = (0,),
) -> dict[str, Callable[[], None]]:
    x = torch.randn(shape)
    return {name: _step(network, x, autocast, seeds) for name, network in networks.items()}


def _step(
    network: nn.Module, x: Tensor, autocast: bool, seeds: Iterable[int]
) -> Callable[[], None]:
    turns = chain([0], cycle(seeds))  # the first is the warm-up's

    def run() -> None:
        torch.manual_seed(next(turns))
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = loss_of(network, x)
        loss.backward()
        network.zero_grad()

    return run


def _sized(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _ours(arch: str, **options: Any) -> ConvNeXt:
    return ConvNeXt(arch, layer_scale_init_value=1.0, **options).train()
