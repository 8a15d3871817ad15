from __future__ import annotations

import torch
from torch import nn

from mmconvnext.evaluation.elementwise import counting_elementwise


def counted(*layers: nn.Module) -> int:
    network = nn.Sequential(*layers).eval()
    with counting_elementwise(network) as count:
        network(torch.zeros(1, 4, 8, 8))
        found = count()
    network(torch.zeros(1, 4, 8, 8))
    assert count() == found  # the hooks are gone
    return found


def test_each_layer_counts_by_its_elements() -> None:
    assert counted(nn.Conv2d(4, 6, 3, bias=False)) == 0
    assert counted(nn.Conv2d(4, 6, 3, padding=1)) == 6 * 64
    assert counted(nn.ConvTranspose2d(4, 2, 2, 2)) == 2 * 256
    assert counted(nn.BatchNorm2d(4)) == 2 * 256
    assert counted(nn.LayerNorm(8, elementwise_affine=False)) == 256
    assert counted(nn.ReLU()) == 256
    assert counted(nn.MaxPool2d(2)) == counted(nn.AdaptiveAvgPool2d(1)) == 256


def test_what_mmcv_does_not_know_costs_nothing() -> None:
    class Norm(nn.LayerNorm):
        pass

    assert counted(nn.SyncBatchNorm(4), nn.GELU(), Norm(8), nn.Softmax(1)) == 0


def test_mmcv_counts_the_same() -> None:
    from mmcv.cnn import get_model_complexity_info

    network = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 4, 1, bias=False), nn.GroupNorm(2, 4), nn.AdaptiveAvgPool2d(1)),
    )
    theirs, _ = get_model_complexity_info(
        network, (3, 16, 16), print_per_layer_stat=False, as_strings=False
    )
    with counting_elementwise(network.eval()) as count:
        network(torch.zeros(1, 3, 16, 16))
        products = 27 * 8 * 256 + 8 * 4 * 64
        assert products + count() == theirs
