from __future__ import annotations

import copy

import pytest
from torch import nn

from mmconvnext.benchmarks import head
from mmconvnext.benchmarks.head import MIXED, OURS, STOCK


def test_the_stock_model_with_our_backbone_is_no_peer_beside_mmpretrains(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(head, "mmpretrains", copy.deepcopy)
    models, missing, no_peers = head._segmentors()
    assert (list(models), missing, no_peers) == ([OURS, MIXED, STOCK], [], (OURS, MIXED))
    nn.init.zeros_(models[STOCK].decode_head.conv_seg.weight)  # type: ignore[union-attr, arg-type]
    with pytest.raises(RuntimeError, match=f"{STOCK}: logits differ from ours by"):
        head._check(models)


def test_without_mmpretrain_it_is_the_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(ours: nn.Module) -> nn.Module:
        raise ModuleNotFoundError("No module named 'mmpretrain'", name="mmpretrain")

    monkeypatch.setattr(head, "mmpretrains", fail)
    models, (row,), no_peers = head._segmentors()
    assert (list(models), no_peers) == ([OURS, MIXED], (OURS,))
    assert (row.name, row.note) == (STOCK, "mmpretrain is not installed")
