"""What the strategy and layer-wise decay refuse; what they do: tests/cli/test_fsdp.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from mmengine.registry import STRATEGIES
from torch import distributed
from torch.distributed.fsdp import FullyShardedDataParallel

from mmconvnext.backbones import ConvNeXt
from mmconvnext.optim import LayerDecayOptimWrapperConstructor


@pytest.fixture
def group() -> Iterator[None]:
    """A process group of this process alone."""
    if not distributed.is_gloo_available():
        pytest.skip("this PyTorch has no gloo")
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_layer_wise_decay_is_not_lost_in_flattened_parameters(group):
    network = ConvNeXt(arch={"depths": [1, 1, 1, 1], "channels": [4, 4, 4, 8]})
    build = LayerDecayOptimWrapperConstructor(
        {"type": "OptimWrapper", "optimizer": {"type": "AdamW", "lr": 1e-4, "weight_decay": 0.05}},
        {"decay_rate": 0.7},
    )
    build(network)
    flattened = FullyShardedDataParallel(
        network, use_orig_params=True, device_id=torch.device("cpu")
    )
    with pytest.raises(ValueError, match="FullyShardedDataParallel: expected parameters in their"):
        build(flattened)


def test_there_is_nothing_to_wrap(tmp_path):
    cfg = {"type": "mmconvnext.FullyShardStrategy", "model_wrapper": {}, "work_dir": str(tmp_path)}
    with pytest.raises(ValueError, match="wraps nothing, expected none, found"):
        STRATEGIES.build(cfg)
