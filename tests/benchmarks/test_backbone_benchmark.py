from __future__ import annotations

import pytest
import torch
from torch import nn

from mmconvnext.backbones import ConvNeXt, layers
from mmconvnext.benchmarks import backbone
from mmconvnext.benchmarks.backbone import OURS, mode_name
from mmconvnext.benchmarks.timing import Row
from mmconvnext.inference import compiling

ABSENT = Row("absent", note="is not installed")


def small(rate: float = 0.0) -> ConvNeXt:
    return ConvNeXt("atto", layer_scale_init_value=1.0, drop_path_rate=rate).train()


@pytest.fixture
def candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks in the place of all, on a small picture."""

    def networks(arch: str = "tiny", rate: float = 0.0, authors: object = None) -> object:
        return {OURS: small(rate), "timm": small(rate)}, [ABSENT]

    more: dict[str, nn.Module] = {mode_name(mode): small() for mode in backbone._MODES}
    monkeypatch.setattr(backbone, "training_networks", networks)
    monkeypatch.setattr(backbone, "recomputing", lambda: more)
    monkeypatch.setattr(backbone, "_SIZE", (1, 3, 32, 32))
    monkeypatch.setattr(backbone, "_DRAWS", 2)


@pytest.mark.usefixtures("candidates")
def test_each_way_to_save_memory_has_its_own_target_against_timm() -> None:
    table = backbone.plain(1)
    goals = {row.name: (table.target_of(row), row.against) for row in table.rows}
    assert goals == {
        OURS: (0.92, ""),
        "timm": (None, ""),
        "mmconvnext, recompute='activation'": (1.0, "timm"),
        "mmconvnext, recompute='mlp'": (1.1, "timm"),
        "mmconvnext, recompute='block'": (1.35, "timm"),
        "absent": (None, ""),
    }
    assert table.peer is not None and table.peer.name == "timm"


@pytest.mark.usefixtures("candidates")
def test_mixed_precision_computes_in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()

    def loss_of(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
        seen.add(torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu"))
        return network(x)[0].float().sum()

    monkeypatch.setattr(backbone, "loss_of", loss_of)
    assert all(len(row.values) == 1 for row in backbone.in_bfloat16(1).rows if row is not ABSENT)
    assert seen == {torch.bfloat16}


@pytest.mark.usefixtures("candidates")
def test_drop_path_is_told_as_it_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[torch.Tensor] = []
    draw = layers._draw
    monkeypatch.setattr(layers, "_draw", lambda *a: drawn.append(draw(*a)) or drawn[-1])
    table = backbone.dropping("tiny", 0.8, 32, 0.65, None)
    timed = torch.stack(drawn[2 * (sum(small().depths) - 1) :])  # without both warm-ups
    share = (~timed).sum().item() / (2 * 2 * 2 * sum(small().depths))
    assert f"drops {share:.1%} of the branches, expected 40.0%" in table.title
    assert [len(row.values) for row in table.rows] == [1, 1, 0]  # means


def test_without_a_compiler_a_row_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(device: str) -> None:
        raise compiling.CompilerError("no g++")

    monkeypatch.setattr(compiling, "check_compiler", fail)
    (row,) = backbone.compiled(1).rows
    assert (row.name, row.values, row.note) == (OURS, [], "no g++")
