"""What the networks between ResNet and ConvNeXt cost as classifiers, and the paper's figures."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmconvnext.backbones.road import RoadNet
from mmconvnext.backbones.road_stops import STEPS

CLASSES, SIZE = 1000, 224  # ImageNet-1K's


class Published(NamedTuple):
    """Of a stop, in the ConvNeXt paper (arXiv:2201.03545)."""

    top_1: float  # per cent, on ImageNet-1K
    gflops: float


def _published(table: str) -> dict[str, Published]:
    pairs = (pair.split("/") for pair in table.split())
    return {
        step: Published(float(top_1), float(gflops))
        for step, (top_1, gflops) in zip(STEPS, pairs, strict=True)
    }


PUBLISHED = {
    "resnet50": _published(  # table 10; figure 2 rounds it
        "78.82/4.09 79.36/4.53 79.51/4.42 78.28/2.35 80.50/5.27 80.64/4.64 79.92/4.07 80.35/4.10 "
        "80.57/4.15 80.57/4.21 80.47/4.29 80.62/4.15 81.27/4.15 81.41/4.15 81.47/4.46 81.97/4.49"
    ),
    "resnet200": _published(  # table 11
        "81.14/15.01 81.33/14.52 81.59/14.38 80.54/7.23 81.85/16.76 82.64/15.68 82.04/14.63 "
        "82.32/14.70 82.30/14.81 82.27/14.95 82.18/15.13 82.19/14.81 82.71/14.81 83.17/14.81 "
        "83.35/14.81 83.60/15.35"
    ),
}


class Cost(NamedTuple):
    """Parameters, and multiply-accumulates for one picture."""

    params: int
    macs: int


@cache
def classifier_cost(step: str, regime: str) -> Cost:
    """Of a stop's network with ImageNet-1K's classifier, at 224x224; computed without memory."""
    with torch.device("meta"):
        network = RoadNet(step, regime, out_indices=-1).eval()
        classifier = nn.Linear(network.channels[-1], CLASSES)
        with FlopCounterMode(display=False) as counter:
            classifier(network(torch.empty(1, 3, SIZE, SIZE))[0].mean((2, 3)))
    params = sum(p.numel() for part in (network, classifier) for p in part.parameters())
    return Cost(params, counter.get_total_flops() // 2)
