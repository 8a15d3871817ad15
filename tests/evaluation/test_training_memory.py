"""What training a model takes on a GPU: counted on fake tensors, compared with real ones."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config

from mmconvnext.cli.models import build_on
from mmconvnext.evaluation.made_up_inputs import training_data
from mmconvnext.evaluation.training_memory import GIB, Kept, TrainingMemory, count_training_memory

# Wider than what a CPU trains by chunks: there both devices keep the same.
WIDE = {"depths": [1, 1, 1, 1], "channels": [260, 264, 268, 272]}
SEGMENTOR = Config(
    {
        "default_scope": "mmseg",
        "model": {
            "type": "EncoderDecoder",
            "data_preprocessor": {"type": "SegDataPreProcessor", "size": (64, 96)},
            "backbone": {"type": "mmconvnext.ConvNeXt", "arch": WIDE, "drop_path_rate": 0.5},
            "decode_head": {
                "type": "FCNHead",
                "in_channels": 272,
                "channels": 16,
                "num_classes": 5,
                "dropout_ratio": 0.0,
                "norm_cfg": {"type": "BN"},
                "loss_decode": {"type": "CrossEntropyLoss"},
            },
            "train_cfg": {},
            "test_cfg": {"mode": "whole"},
        },
    }
)


def counted(model, batch):
    """Bytes of distinct storages that a real loss keeps."""
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    storages = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            storages[storage.data_ptr()] = storage
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        losses = model(**batch, mode="loss")
    del losses
    return sum(storage.nbytes() for storage in storages.values())


@pytest.fixture(scope="module")
def found():
    return count_training_memory(build_on("meta", SEGMENTOR), (64, 64))


@pytest.mark.parametrize("mode", [None, "activation", "mlp", "block"])
def test_fake_tensors_keep_what_real_ones_keep(mode, found):
    kept = next(k for k in found.kept if k.mode == mode and not k.autocast)
    cfg = SEGMENTOR.copy()
    cfg.model.backbone.update(recompute=mode, drop_path_rate=0.0)
    cfg.model.data_preprocessor.size = (64, 64)
    model = build_on("cpu", cfg).train()
    batch = model.data_preprocessor(training_data(cfg, model, 64), training=True)
    assert kept.whatever + 2 * kept.each == pytest.approx(counted(model, batch), rel=0.03)


def test_autocast_of_a_gpu_halves_most_and_is_left_as_it_was(found):
    assert not torch.is_autocast_enabled("cuda")
    assert len(found.kept) == 8
    for full, half in zip(found.kept[:4], found.kept[4:], strict=True):
        assert (full.mode, full.autocast, half.autocast) == (half.mode, False, True)
        assert 0.4 * full.each < half.each < 0.9 * full.each


def test_the_batch_is_what_is_left_by_hand():
    kept = Kept("mlp", True, each=GIB, whatever=2 * GIB)
    memory = TrainingMemory((8, 8), params=1, weights=3 * GIB, kept=(kept,), whole=True)
    assert memory.pictures(kept, 1 + 3 + 2.3 + 1.15 * 4 + 0.01) == 4
    assert memory.pictures(kept, 1 + 3 + 2.3 + 1.15 * 4 - 0.01) == 3
    assert memory.pictures(kept, 2) == 0


def test_frozen_parameters_need_no_optimizer():
    cfg = SEGMENTOR.copy()
    cfg.model.backbone.frozen_stages = 4
    model = build_on("meta", cfg)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    found = count_training_memory(model, (64, 64))
    assert found.weights == 4 * frozen + 16 * (found.params - frozen)
    assert frozen > found.params / 2
