"""A backbone's maps are found without computing them."""

from __future__ import annotations

import pytest
import torch

from mmconvnext.adapt import levels
from mmconvnext.adapt.levels import Levels, levels_of

VIT = {"type": "VisionTransformer", "img_size": 64, "embed_dims": 64, "num_layers": 2}
VIT |= {"num_heads": 2, "out_indices": (0, 1), "drop_path_rate": 0.1}
BEIT = {"type": "BEiT", "img_size": 64, "embed_dims": 64, "num_layers": 2, "num_heads": 2}
BEIT |= {"out_indices": (0, 1), "drop_path_rate": 0.1, "init_values": 0.1}
SWIN = {"type": "SwinTransformer", "embed_dims": 16, "depths": (1, 1, 1, 1)}
SWIN |= {"num_heads": (1, 1, 2, 2), "drop_path_rate": 0.2}


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        (VIT, Levels((64, 64), (16, 16))),
        (BEIT, Levels((64, 64), (16, 16))),
        (SWIN, Levels((16, 32, 64, 128), (4, 8, 16, 32))),
    ],
)
def test_transformers_are_tried_without_memory(backbone, expected, monkeypatch):
    devices = []
    run = levels._run

    def running(device, *rest):
        devices.append(device)
        return run(device, *rest)

    monkeypatch.setattr(levels, "_run", running)
    assert levels_of(backbone, "model.backbone", "mmseg") == expected
    assert set(devices) == {"meta"}


def test_only_rates_have_values_on_the_meta_device():
    with torch.device("meta"), levels._RatesOnCpu():
        assert torch.linspace(0, 0.3, 4)[-1].item() == pytest.approx(0.3)
        assert torch.linspace(0, 1, 2, device="meta").is_meta
        assert torch.zeros(2).is_meta
