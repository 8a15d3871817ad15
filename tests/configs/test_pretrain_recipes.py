"""Every setting of the pretraining recipes against the paper's table 5 (arXiv:2201.03545, A.1)."""

from __future__ import annotations

import math

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.hooks import EMAHook
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, METRICS, MODELS, PARAM_SCHEDULERS, init_default_scope
from published import build, load
from torch import nn
from torchvision.transforms import InterpolationMode, v2

from mmconvnext.backbones.archs import resolve_arch
from mmconvnext.classification import RandAugment
from mmconvnext.cli.analyze import published_shape
from mmconvnext.compat.config_root import config_root
from mmconvnext.evaluation.complexity import count_complexity

# The column "ConvNeXt-T/S/B/L, ImageNet-1K, 224x224".
TABLE = {
    "optimizer": "AdamW",
    "base learning rate": 4e-3,
    "weight decay": 0.05,
    "optimizer momentum": (0.9, 0.999),
    "batch size": 4096,
    "training epochs": 300,
    "learning rate schedule": "cosine decay",
    "warmup epochs": 20,
    "layer-wise lr decay": None,
    "randaugment": (9, 0.5),
    "mixup": 0.8,
    "cutmix": 1.0,
    "random erasing": 0.25,
    "label smoothing": 0.1,
    "layer scale": 1e-6,
    "gradient clip": None,
    "exp. mov. avg. (EMA)": 0.9999,
}
# Stochastic depth there; depths and channels of section 3; parameters (M), GFLOPs of table 1.
ROWS = {
    "t": (0.1, (3, 3, 9, 3), (96, 192, 384, 768), 29, 4.5),
    "s": (0.4, (3, 3, 27, 3), (96, 192, 384, 768), 50, 8.7),
    "b": (0.5, (3, 3, 27, 3), (128, 256, 512, 1024), 89, 15.4),
    "l": (0.5, (3, 3, 27, 3), (192, 384, 768, 1536), 198, 34.4),
}
NAMES = {size: f"pretrain/convnext_{size}_in1k.py" for size in ROWS}
SIZES = pytest.mark.parametrize("size", ROWS)


def transforms_of(loader: str) -> list[nn.Module]:
    return Compose(load(NAMES["t"])[loader].dataset.pipeline).transforms[1].transform.transforms


def test_there_are_the_four_recipes():
    found = sorted(path.name for path in (config_root() / "pretrain").glob("*.py"))
    assert found == sorted(name.partition("/")[2] for name in NAMES.values())


@SIZES
def test_the_network_is_the_papers(size):
    rate, depths, channels, millions, gflops = ROWS[size]
    model, backbone = build(NAMES[size]), load(NAMES[size]).model.backbone
    assert tuple(resolve_arch(backbone.arch)) == (depths, channels)
    assert (backbone.drop_path_rate, backbone.layer_scale_init_value) == (
        rate,
        TABLE["layer scale"],
    )
    found = count_complexity(model, published_shape(load(NAMES[size])))
    assert (found.shape, round(found.params / 1e6)) == ((224, 224), millions)
    assert round(found.macs / 1e9, 1) == pytest.approx(gflops, abs=0.051)
    assert model.head.weight.shape == (1000, channels[-1])
    assert model.backbone.out_indices == (3,) and model.backbone.gap_before_final_norm
    assert "init_cfg" not in backbone  # from random weights


@SIZES
def test_all_sizes_share_everything_else(size):
    first, other = (load(NAMES[s]).to_dict() for s in ("t", size))
    for cfg in (first, other):
        cfg["model"].pop("in_channels")
        cfg["model"]["backbone"] = {
            k: v for k, v in cfg["model"]["backbone"].items() if k not in ("arch", "drop_path_rate")
        }
    assert first == other


def test_optimizer_and_batch_are_the_tables():
    cfg = load(NAMES["t"])
    assert cfg.optim_wrapper.optimizer == {
        "type": TABLE["optimizer"],
        "lr": TABLE["base learning rate"],
        "betas": TABLE["optimizer momentum"],
        "weight_decay": TABLE["weight decay"],
    }
    assert cfg.optim_wrapper.type == "OptimWrapper"
    assert cfg.optim_wrapper.get("clip_grad") is TABLE["gradient clip"]
    assert cfg.auto_scale_lr.base_batch_size == cfg.train_dataloader.batch_size * 32 == 4096
    assert cfg.train_cfg.max_epochs == TABLE["training epochs"]
    assert cfg.randomness == {"seed": None, "diff_rank_seed": True}  # each GPU mixes by itself
    assert cfg.train_dataloader.drop_last and cfg.train_dataloader.sampler.shuffle


@SIZES
def test_one_rate_for_all_and_no_weight_decay_for_vectors(size):
    cfg, model = load(NAMES[size]), build(NAMES[size])
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert {group["lr"] for group in optimizer.param_groups} == {TABLE["base learning rate"]}
    for name, parameter in model.named_parameters():
        wanted = 0.0 if parameter.ndim == 1 else TABLE["weight decay"]
        assert decay.pop(id(parameter)) == wanted, name
    assert not decay


def test_the_rate_warms_up_over_20_epochs_and_falls_to_0_by_a_cosine():
    epoch = 5  # iterations
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=TABLE["base learning rate"])
    schedulers = []
    for entry in load(NAMES["t"]).param_scheduler:
        settings = {k: v for k, v in entry.items() if k not in ("type", "convert_to_iter_based")}
        assert entry.convert_to_iter_based
        kind = PARAM_SCHEDULERS.get(entry.type)
        schedulers.append(kind.build_iter_from_epoch(optimizer, epoch_length=epoch, **settings))
    optimizer.step()
    warm, whole = TABLE["warmup epochs"] * epoch, TABLE["training epochs"] * epoch
    for iteration in range(whole):
        if iteration < warm:
            share = iteration / (warm - 1)
        else:
            share = (1 + math.cos(math.pi * (iteration - warm) / (whole - warm))) / 2
        written = TABLE["base learning rate"] * share
        assert optimizer.param_groups[0]["lr"] == pytest.approx(written, rel=1e-6, abs=1e-8)
        for scheduler in schedulers:
            scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-8)


def test_pictures_are_augmented_as_the_table_says():
    crop, flip, augment, image, to_dtype, normalise, erase = transforms_of("train_dataloader")
    assert isinstance(crop, v2.RandomResizedCrop) and crop.size == (224, 224)
    assert (tuple(crop.scale), crop.interpolation) == ((0.08, 1), InterpolationMode.BICUBIC)
    assert isinstance(flip, v2.RandomHorizontalFlip) and flip.p == 0.5
    assert isinstance(augment, RandAugment) and augment.num_ops == 2
    assert (augment.magnitude, augment.magnitude_std) == TABLE["randaugment"]
    assert augment.one.interpolation == InterpolationMode.BICUBIC
    assert isinstance(image, v2.ToImage) and to_dtype.scale
    assert normalise.mean == [0.485, 0.456, 0.406] and normalise.std == [0.229, 0.224, 0.225]
    assert isinstance(erase, v2.RandomErasing) and erase.p == TABLE["random erasing"]
    assert erase.value is None  # noise, for each pixel
    assert [round(channel * 255) for channel in normalise.mean] == augment.one.fill


def test_pictures_to_test_with_are_resized_to_256_and_cropped_to_224():
    resize, crop, *rest = transforms_of("test_dataloader")
    assert (resize.size, resize.interpolation) == ([256], InterpolationMode.BICUBIC)
    assert isinstance(crop, v2.CenterCrop) and crop.size == (224, 224)
    assert [type(one) for one in rest] == [v2.ToImage, v2.ToDtype, v2.Normalize]
    assert load(NAMES["t"]).test_dataloader == load(NAMES["t"]).val_dataloader


def test_batches_are_mixed_and_labels_smoothed_as_the_table_says():
    model = build(NAMES["t"])
    assert [(type(one).__name__, one.alpha) for one in model.mix.transforms] == [
        ("MixUp", TABLE["mixup"]),
        ("CutMix", TABLE["cutmix"]),
    ]
    assert model.mix.p == [0.5, 0.5]
    assert model.label_smoothing == TABLE["label smoothing"]


def test_weights_are_averaged_by_mmengine():
    (entry,) = load(NAMES["t"]).custom_hooks
    hook = HOOKS.build(dict(entry))
    assert isinstance(hook, EMAHook)
    averaged = MODELS.build(hook.ema_cfg, default_args={"model": nn.Linear(1, 1)})
    assert isinstance(averaged, ExponentialMovingAverage)
    assert averaged.momentum == pytest.approx(1 - TABLE["exp. mov. avg. (EMA)"])


def test_top1_and_top5_are_evaluated_and_the_best_kept():
    cfg = load(NAMES["t"])
    assert METRICS.build(dict(cfg.val_evaluator)).topk == (1, 5)
    assert cfg.default_hooks.checkpoint.save_best == "accuracy/top1"


def test_the_demos_network_is_the_detection_demos():
    pretraining, detection = (
        Config.fromfile(config_root() / "demo" / f"{name}_convnext_shapes.py").model.backbone
        for name in ("pretrain", "cascade")
    )
    assert pretraining.arch == detection.arch
    init_default_scope("mmengine")
    assert MODELS.build(pretraining).channels == MODELS.build(detection).channels
